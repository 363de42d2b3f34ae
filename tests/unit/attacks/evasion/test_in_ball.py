"""All attacks within a ball judge a change alike and state the threat alike."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from wardline.attacks.evasion.apgd import Apgd
from wardline.attacks.evasion.autoattack import AutoAttack
from wardline.attacks.evasion.boundary import Boundary
from wardline.attacks.evasion.carlini_wagner import CarliniWagner
from wardline.attacks.evasion.fab import FabTargeted
from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.evasion.hopskipjump import HopSkipJump
from wardline.attacks.evasion.square import Square
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball

UNIT = Ball(norm="l2", radius=1.0)
ATTACKS = [kind(ball=UNIT) for kind in (Pgd, Apgd, AutoAttack, FabTargeted, CarliniWagner, Square)]
ATTACKS += [HopSkipJump(ball=UNIT, queries=70), Boundary(ball=UNIT, queries=70)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.id)
def test_rounding_is_forgiven_alike_and_more_is_not(attack) -> None:
    original = np.zeros((3, 2), dtype=np.float32)
    changed = np.array([[1.0 + 5e-6, 0], [1.0 + 5e-5, 0], [np.nan, 0]], dtype=np.float32)
    assert attack.within(changed, original).tolist() == [True, False, False]
    assert attack.within(changed[:0], original[:0]).tolist() == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.id)
def test_the_threat_tells_access_ball_what_can_be_changed_and_how_often_may_be_asked(attack) -> None:
    spec = InputSpec(shape=(2,), mutable=np.array([True, False]))
    threat = attack.threat(Target(TorchPredictor(nn.Linear(2, 2), classes=2), spec))
    assert threat.goal == "misclassification"
    assert threat.access is attack.needs
    assert threat.limits.startswith("l2 at most 1, 1 of 2 features")
    asks = attack.needs is not Access.WHITE_BOX
    assert threat.limits.endswith(f", {getattr(attack, 'queries', 0)} queries an example") == asks
    assert bool(threat.knowledge) == (attack.needs is Access.LABELS)
