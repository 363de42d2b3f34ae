"""FAB: distances with a known truth, and curves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from torch import nn

from digits_net import SPEC, digits, target_of, trained
from linear_model import linear_examples, linear_target
from wardline.attacks.evasion.apgd import ApgdTargeted
from wardline.attacks.evasion.fab import FabTargeted
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import NORMS, Ball, Norm

NARROW: dict[Norm, float] = {"linf": 0.08, "l2": 0.5, "l1": 1.5}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def data() -> Labelled:
    x, y = digits()
    return Labelled(x=x[1297:1377], y=y[1297:1377])


@pytest.mark.parametrize("norm", NORMS)
def test_distances_of_a_linear_model_are_its_margins(norm: Norm) -> None:
    examples, margins = linear_examples(norm)
    result = FabTargeted(ball=Ball(norm=norm, radius=float(np.median(margins))), steps=30).run(
        linear_target(), examples, Budget(), 0
    )
    np.testing.assert_allclose(result.examples["distance"], margins, rtol=0.03)
    assert (result.examples["distance"] >= margins * (1 - 1e-4)).all()
    assert result.rate == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("norm", NORMS)
def test_it_breaks_about_as_much_as_auto_pgd(net: nn.Module, data: Labelled, norm: Norm) -> None:
    ball = Ball(norm=norm, radius=NARROW[norm])
    fab = FabTargeted(ball=ball, steps=50).run(target_of(net), data, Budget(), 0)
    apgd = ApgdTargeted(ball=ball, steps=50).run(target_of(net), data, Budget(), 0)
    assert 0.2 < apgd.examples["found"].mean() < 0.9
    assert fab.examples["found"].sum() >= apgd.examples["found"].sum() - 4


def test_the_curve_agrees_with_the_distances_and_the_rate(net: nn.Module, data: Labelled) -> None:
    ball = Ball(norm="l2", radius=0.5)
    result = FabTargeted(ball=ball, steps=30, targets=3).run(target_of(net), data, Budget(batch=30), 0)
    distance, right = result.examples["distance"], result.examples["right"]
    assert np.isnan(distance[~right]).all()
    assert np.array_equal(distance[right] <= ball.radius, result.examples["found"][right])
    curve = result.details["curve"]
    assert curve[0]["accuracy"] == result.details["clean_accuracy"]["value"]
    assert [point["accuracy"] for point in curve] == sorted((point["accuracy"] for point in curve), reverse=True)
    for point in curve:
        assert point["accuracy"] == (distance[right] > point["radius"]).sum() / len(data)
        assert point["interval"].low <= point["accuracy"] <= point["interval"].high


def test_rows_that_stop_at_the_radius_cost_less_and_lose_no_success(net: nn.Module, data: Labelled) -> None:
    ball = Ball(norm="linf", radius=0.1)
    whole = FabTargeted(ball=ball, steps=30).run(target_of(net), data, Budget(), 0)
    stopped = FabTargeted(ball=ball, steps=30, stop=True).run(target_of(net), data, Budget(), 0)
    assert stopped.queries < 0.7 * whole.queries
    assert np.array_equal(stopped.examples["found"], whole.examples["found"])


def test_a_budget_that_ends_in_the_middle_keeps_distances_and_says_so(net: nn.Module, data: Labelled) -> None:
    target = Target(TorchPredictor(net, classes=10), SPEC, ledger=QueryLedger(cap=3000))
    result = FabTargeted(ball=Ball(norm="l2", radius=0.5)).run(target, data, Budget(), 0)
    assert target.ledger.queries <= 3000
    assert result.examples["found"].any()
    assert np.isfinite(result.examples["distance"]).any()
    assert result.checks[0].outcome is Verdict.INCONCLUSIVE


def test_equal_runs_give_equal_json(net: nn.Module, data: Labelled) -> None:
    fab = FabTargeted(ball=Ball(norm="l1", radius=1.0), steps=5, targets=2)
    one, other = (fab.run(target_of(net), data, Budget(), 0) for _ in range(2))
    assert json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)


def test_at_radius_zero_the_accuracy_is_the_clean_one(net: nn.Module, data: Labelled) -> None:
    result = FabTargeted(ball=Ball(norm="l2", radius=0.0), steps=10, targets=2).run(target_of(net), data, Budget(), 0)
    assert result.details["robust_accuracy"] == result.details["clean_accuracy"]
    assert np.isfinite(result.examples["distance"]).any()
