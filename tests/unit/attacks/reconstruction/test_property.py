from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.attacks.reconstruction.property import PropertyData, PropertyInference, sorted_weights
from wardline.core import Seeds, Verdict, canonical_json
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Logistic, Mlp, TrainedModel, build, torch_generator
from wardline.models.torch_predictor import TorchPredictor

ARCHITECTURE = Mlp(inputs=8, hidden=(8,), classes=2)
RECIPE = ReferenceRecipe(architecture=ARCHITECTURE, training=PlainConfig(batch=32, epochs=6, learning_rate=0.02))
GENERATOR = np.random.default_rng(3)
GROUP = GENERATOR.random(1600) < 0.5
X = GENERATOR.normal(size=(1600, 8)).astype(np.float32)
# In the group another column decides, so that its share shows in what is learned.
Y = np.where(GROUP, X[:, 0] > 0, X[:, 1] > 0).astype(np.int64)
POOL = Examples(
    x=X, y=Y, unit=np.arange(1600, dtype=np.int64), features=tuple(f"f{i}" for i in range(8)), classes=("no", "yes")
)
DATA = PropertyData(pool=POOL, group=GROUP, shares=(0.3, 0.7), rows=300, recipe=RECIPE)
ATTACK = PropertyInference(shadows=64, trials=40, probes=40)


def _trained(share: float) -> TrainedModel:
    inside, outside = np.flatnonzero(GROUP), np.flatnonzero(~GROUP)
    count = round(300 * share)
    rows = np.concatenate([inside[:count], outside[: 300 - count]])
    return train_plain(ARCHITECTURE, POOL.take(rows), config=RECIPE.training, seeds=Seeds(0))


def _target(model: TrainedModel) -> Target:
    return Target(TorchPredictor.of(model), InputSpec(shape=(8,), low=-8, high=8))


@pytest.mark.parametrize("features", ["answers", "weights"])
def test_the_share_of_a_group_shows_in_the_model(features: str) -> None:
    attack = dataclasses.replace(ATTACK, features=features)
    for share in (0.3, 0.7):
        result = attack.run(_target(_trained(share)), DATA, Budget(), 0)
        assert result.interval.low > 0.5
        assert result.verdict is Verdict.FAIL
        assert set(result.details["guess"]) == {"share", "probability_of_second"}
        if features == "answers":
            assert result.details["guess"]["share"] == share
    assert attack.needs is (Access.SCORES if features == "answers" else Access.WHITE_BOX)


def test_shares_that_change_nothing_cannot_be_told() -> None:
    """A group drawn by coin: 40 trials, and the lower end of a 95 % interval above one half has a chance of 2.5 %."""
    coin = np.random.default_rng(9).random(1600) < 0.5
    data = dataclasses.replace(DATA, group=coin)
    result = ATTACK.run(_target(_trained(0.5)), data, Budget(), 0)
    assert result.interval.low <= 0.5
    assert {check.name: check.outcome for check in result.checks}["control"] is Verdict.INCONCLUSIVE


def test_models_that_are_retrained_under_protection_are_what_the_figure_is_about() -> None:
    """The twin here learns nothing at all, which hides every share; the control shows that the classifier works."""

    def blank(examples: Examples, seeds: Seeds) -> TrainedModel:
        network = build(ARCHITECTURE, generator=torch_generator(seeds, "blank"))
        return TrainedModel(
            architecture=ARCHITECTURE,
            parameters={name: value.detach().numpy() for name, value in network.named_parameters()},
            features=examples.features,
            classes=examples.classes,
        )

    result = ATTACK.run(_target(_trained(0.3)), dataclasses.replace(DATA, retrain=blank), Budget(), 0)
    assert result.interval.low <= 0.5
    assert {check.name: check.outcome for check in result.checks}["control"] is Verdict.PASS
    assert result.details["tried_on"] == "models trained as the target"


def test_sorted_weights_do_not_depend_on_how_units_are_numbered() -> None:
    network = build(Mlp(inputs=8, hidden=(6, 5), classes=3), generator=torch_generator(Seeds(1), "n"))
    values = {name: value.detach().numpy() for name, value in network.named_parameters()}
    renumbered = dict(values)
    for one, following, units in (("dense0", "dense1", 6), ("dense1", "head", 5)):
        order = np.random.default_rng(units).permutation(units)
        for kind in ("weight", "bias"):
            renumbered[f"{one}.{kind}"] = renumbered[f"{one}.{kind}"][order]
        renumbered[f"{following}.weight"] = renumbered[f"{following}.weight"][:, order]
    assert not np.array_equal(values["dense0.weight"], renumbered["dense0.weight"])
    np.testing.assert_allclose(sorted_weights(renumbered), sorted_weights(values), atol=1e-7)


def test_the_same_seed_gives_the_same_json() -> None:
    small = PropertyInference(shadows=8, trials=4, probes=10)
    first, second = (small.run(_target(_trained(0.3)), DATA, Budget(), 1).to_json() for _ in range(2))
    assert canonical_json(first) == canonical_json(second)


def test_what_cannot_be_done_is_refused() -> None:
    weights = dataclasses.replace(ATTACK, features="weights")
    blind = Target(TorchPredictor.of(_trained(0.3)), InputSpec(shape=(8,), low=-8, high=8), access=Access.SCORES)
    with pytest.raises(AccessDenied):
        weights.run(blind, DATA, Budget(), 0)
    linear = dataclasses.replace(RECIPE, architecture=Logistic(inputs=8, classes=2))
    with pytest.raises(ValueError, match="perceptron"):
        weights.run(_target(_trained(0.3)), dataclasses.replace(DATA, recipe=linear), Budget(), 0)
    for wrong in ({"shares": (0.3, 0.3)}, {"rows": 3}, {"rows": 1200}, {"group": GROUP[:5]}):
        with pytest.raises(ValueError):
            dataclasses.replace(DATA, **wrong)
    with pytest.raises(ValueError, match="even"):
        PropertyInference(shadows=5)
