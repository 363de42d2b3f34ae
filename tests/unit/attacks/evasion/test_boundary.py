"""The boundary attack against models whose margins are known."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.evasion.boundary import Boundary
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.robust.ball import Ball

WIDTH = 20
SPEC = InputSpec(shape=(WIDTH,), low=-10, high=10)
SLOPE = np.random.default_rng(7).normal(size=WIDTH)


class Line:
    classes, gives = 2, "labels"

    def answer(self, x):
        return (x.astype(np.float64) @ SLOPE + 0.5 > 0).astype(np.int64)


def attacked(*, radius=1.0, queries=2000, seed=3, spec=SPEC):
    x = np.random.default_rng(1).normal(size=(12, WIDTH)).astype(np.float32)
    data = Labelled(x=x, y=Line().answer(x))
    target = Target(Line(), spec)
    return (
        Boundary(ball=Ball(norm="l2", radius=radius), queries=queries).run(target, data, Budget(), seed),
        data,
        target,
    )


def test_distances_approach_the_margin_of_a_linear_model_and_never_fall_below_it():
    result, data, _ = attacked()
    truth = np.abs(data.x.astype(np.float64) @ SLOPE + 0.5) / np.linalg.norm(SLOPE)
    distance = result.examples["distance"]
    assert (distance >= truth * (1 - 1e-4)).all()
    assert np.median(distance / truth) < 1.1


def test_more_questions_bring_it_nearer():
    few, many = (attacked(queries=queries)[0].details["distance"]["quantiles"]["0.5"] for queries in (100, 2000))
    assert many < 0.8 * few


def test_no_example_gets_more_questions_than_it_may_and_equal_seeds_give_equal_json():
    result, data, target = attacked(queries=60)
    assert target.ledger.queries <= 63 * len(data)
    assert result.to_json() == attacked(queries=60)[0].to_json()


def test_success_is_judged_within_the_radius():
    radius = attacked()[0].details["distance"]["quantiles"]["0.5"]
    result, _, _ = attacked(radius=radius)
    assert (result.examples["found"] == (result.examples["distance"] <= radius)).all()
    assert 0 < result.rate < 1
    nothing = attacked(radius=0.0, queries=100)[0]
    assert nothing.rate == 0
    assert nothing.verdict is Verdict.INCONCLUSIVE


def test_what_cannot_be_changed_stays():
    mutable = np.arange(WIDTH) % 2 == 0
    result, data, _ = attacked(
        radius=100.0, queries=200, spec=InputSpec(shape=(WIDTH,), low=-10, high=10, mutable=mutable)
    )
    assert result.rate > 0.5
    assert (result.examples["adversarial"][:, ~mutable] == data.x[:, ~mutable]).all()


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="l2 alone"):
        Boundary(ball=Ball(norm="linf", radius=1))
    with pytest.raises(ValueError, match="between 0 and 1"):
        Boundary(forwards=1.0)
