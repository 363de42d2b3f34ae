from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.membership.candidates import Candidates
from wardline.attacks.membership.driver import Limits, MembershipData
from wardline.attacks.membership.label_only import LabelOnly
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import NoProgress, Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig
from wardline.models import Mlp
from wardline.models.torch_predictor import TorchPredictor


def _plane(features: int) -> TorchPredictor:
    """Tells classes apart by the first feature alone: the distance to the boundary is its absolute value."""
    layer = nn.Linear(features, 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[1, 0] = 1.0
    return TorchPredictor(nn.Sequential(nn.Flatten(), layer), classes=2)


def _examples(x: np.ndarray, y: np.ndarray) -> Examples:
    return Examples(
        x=x.astype(np.float32),
        y=y.astype(np.int64),
        unit=np.arange(len(x), dtype=np.int64),
        features=tuple(f"f{i}" for i in range(x.shape[1])),
        classes=("no", "yes"),
    )


def _scores(attack: LabelOnly, target: Target, examples: Examples) -> np.ndarray:
    candidates = Candidates(examples=examples, members=1, companions=examples.take(np.zeros(0, dtype=np.int64)))
    data = MembershipData(members=examples, non_members=examples)
    sides = attack.score(target, candidates, data, seeds=Seeds(0), progress=NoProgress())
    return np.concatenate([sides.members, sides.non_members])


def test_walks_find_the_distance_to_a_plane_and_wrong_rows_score_lowest() -> None:
    """Of one feature alone every walk leads straight through the boundary."""
    x = np.random.default_rng(0).uniform(-1, 1, size=(200, 1))
    y = (x[:, 0] > 0).astype(np.int64)
    y[:20] = 1 - y[:20]
    target = Target(_plane(1), InputSpec(shape=(1,), low=-1, high=1), access=Access.LABELS)
    scores = _scores(LabelOnly(halvings=14), target, _examples(x, y))
    assert (scores[:20] == -1).all()
    np.testing.assert_allclose(scores[20:], np.abs(x[20:, 0]) / x.std(), atol=2e-3)
    assert target.ledger.queries == 200 + 4 * 14 * 180


def test_noisy_copies_keep_the_class_of_rows_far_from_the_boundary() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, size=(300, 3))
    target = Target(_plane(3), InputSpec(shape=(3,), low=-1, high=1), access=Access.LABELS)
    scores = _scores(LabelOnly(disturbance="noise", partners=8), target, _examples(x, x[:, 0] > 0))
    far, near = np.abs(x[:, 0]) > 0.8, np.abs(x[:, 0]) < 0.2
    assert scores[far].min() > scores[near].mean()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_shifted_pictures_keep_their_class_if_nothing_near_them_changes_it() -> None:
    """The model looks at one corner: a broad bright corner endures shifts, a bright pixel does not."""
    pictures = np.zeros((4, 1, 6, 6), dtype=np.float32)
    pictures[0, 0, :4, :4] = 1.0
    pictures[1, 0, 0, 0] = 1.0
    layer = nn.Linear(36, 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1, 0] = 1.0
        layer.bias.copy_(torch.tensor([0.0, -0.5]))
    target = Target(TorchPredictor(nn.Sequential(nn.Flatten(), layer), classes=2), InputSpec(shape=(1, 6, 6)))
    scores = _scores(
        LabelOnly(disturbance="shift", partners=2), target, _examples(pictures.reshape(4, 36), np.array([1, 1, 0, 0]))
    )
    assert scores[0] == 1.0
    assert scores[1] < 0.5
    with pytest.raises(ValueError, match="need images"):
        _scores(
            LabelOnly(disturbance="shift"), Target(_plane(2), InputSpec(shape=(2,))), _examples(np.eye(2), np.ones(2))
        )


def test_only_rows_that_the_target_takes_are_asked_about() -> None:
    """One-hot groups stay one-hot: an endpoint would refuse anything else, and the attack would learn nothing."""
    spec = InputSpec(shape=(4,), low=-1, high=1, groups=((1, 2, 3),))

    class Strict(TorchPredictor):
        def answer(self, x: np.ndarray) -> np.ndarray:
            spec.check(x)
            return super().answer(x)

    generator = np.random.default_rng(0)
    x = np.concatenate([generator.uniform(-1, 1, size=(50, 1)), np.eye(3)[generator.integers(3, size=50)]], axis=1)
    predictor = Strict(nn.Linear(4, 2), classes=2)
    for disturbance in ("boundary", "noise"):
        attack = LabelOnly(disturbance=disturbance, partners=2)
        assert len(_scores(attack, Target(predictor, spec), _examples(x, x[:, 0] > 0))) == 50


def test_its_control_is_a_model_that_memorises() -> None:
    generator = np.random.default_rng(1)
    examples = _examples(generator.normal(size=(300, 20)), generator.integers(2, size=300))
    recipe = ReferenceRecipe(
        architecture=Mlp(inputs=20, hidden=(64,), classes=2),
        training=PlainConfig(batch=32, epochs=5, learning_rate=0.01),
    )
    candidates = Candidates(examples=examples, members=150, companions=examples.take(np.zeros(0, dtype=np.int64)))
    target = Target(_plane(20), InputSpec(shape=(20,), low=-8, high=8))
    sides = LabelOnly().control(target, candidates, recipe, seeds=Seeds(0), progress=NoProgress())
    assert len(sides.members) == len(sides.non_members) == 150
    assert sides.details["accuracy_on_members"] > 0.95
    assert (sides.members[:, None] > sides.non_members[None]).mean() > 0.65
    assert target.ledger.queries == 0


def test_bad_settings_are_refused() -> None:
    for wrong in ({"partners": 0}, {"halvings": 0}):
        with pytest.raises(ValueError):
            LabelOnly(**wrong)
    assert dataclasses.replace(LabelOnly(), limits=Limits(fpr=0.05)).limits.fpr == 0.05
