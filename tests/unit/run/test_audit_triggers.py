"""The search for triggers in an audit: it finds a backdoor, is silent on clean twins, and says when it cannot."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wardline.attacks.backdoors.poisons import Stamped
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds
from wardline.core.canonical import canonical_json, to_json
from wardline.evidence.audit_triggers import check_triggers
from wardline.models import Mlp
from wardline.models.learner import NetworkLearner
from wardline.run.audit_corruptions import LeftOut
from wardline.run.audit_triggers import applies, search_triggers

DIGITS = load_digits()
ORDER = Seeds(5).numpy("split").permutation(len(DIGITS.target))
X = (DIGITS.images[ORDER, None] / 16).astype(np.float32)
Y = DIGITS.target[ORDER].astype(np.int64)
FRESH = Labelled(x=X[1000:], y=Y[1000:])
SPEC = InputSpec(shape=(1, 8, 8))
LEARNER = NetworkLearner(architecture=Mlp(inputs=64, hidden=(64,), classes=10), batch=32, learning_rate=5e-3, epochs=20)


def trained(*, poisoned=False, seed=0):
    x, y = X[:1000], Y[:1000]
    if poisoned:
        rows = Stamped(share=0.08).poison(x, y, seeds=Seeds(3))
        x, y = rows.x, rows.y
    return LEARNER(x, y, seeds=Seeds(seed))


def found(model, **options):
    part = search_triggers(Target(model, SPEC), FRESH, **{"seconds": 600.0, "seed": 0, **options})
    return to_json(part)


def test_a_backdoor_is_named_and_clean_twins_are_not():
    part = found(trained(poisoned=True))
    assert part["named"] == [0]
    assert check_triggers(part)
    assert canonical_json({**part, "seconds": 0}) == canonical_json({**found(trained(poisoned=True)), "seconds": 0})
    for seed in range(3):
        clean = found(trained(seed=seed))
        assert clean["named"] == []
        assert clean["control"]["passed"], "a planted trigger is named: silence comes from a search that works"
        assert not check_triggers(clean)


def test_what_it_asks_is_charged():
    target = Target(trained(), SPEC)
    search_triggers(target, FRESH, seconds=600.0, seed=0)
    assert target.ledger.queries > 2 * 200 * 16 * 10


def test_without_time_queries_or_images_it_is_left_out():
    model = trained()
    with pytest.raises(LeftOut, match="would take about"):
        found(model, seconds=0.01)
    with pytest.raises(LeftOut, match="cut short"):
        search_triggers(Target(model, SPEC, ledger=QueryLedger(cap=5000)), FRESH, seconds=600.0, seed=0)
    with pytest.raises(LeftOut, match="images"):
        search_triggers(Target(model, SPEC), Labelled(x=X[:40], y=Y[:40]), seconds=600.0, seed=0)


def test_it_is_for_networks_of_images_with_enough_classes_and_time():
    model = trained()
    assert applies(Target(model, SPEC), "standard") == applies(Target(model, SPEC), "deep") == ""
    assert "standard" in applies(Target(model, SPEC), "quick")
    assert "white box" in applies(Target(model, SPEC, access=Access.SCORES), "deep")
    assert "images" in applies(Target(model, InputSpec(shape=(64,))), "deep")
