"""The plan of a linear model: integers that fit, and errors as predicted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.he.linear.plan import FLOOD_BITS, FRESH_NOISE, LEFT_OUT, encode, plan_linear
from wardline.he.parameters import MOST_BITS


def random_model(seed: int, *, features: int = 20, outputs: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scales = 10.0 ** generator.uniform(-2, 3, features)
    rows = generator.normal(size=(500, features)) * scales + generator.normal(size=features) * scales
    return generator.normal(size=(outputs, features)) / scales, generator.normal(size=outputs), rows


@given(seed=st.integers(0, 10_000), features=st.integers(1, 60), outputs=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_integers_alone_are_nearer_than_predicted(seed: int, features: int, outputs: int) -> None:
    weights, bias, rows = random_model(seed, features=features, outputs=outputs)
    plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    exact = rows @ weights.T + bias
    off = secret.scores(encode(plan, rows), plan) - exact
    assert np.abs(exact).max() <= plan.bound * (1 + 1e-12)
    assert np.abs(off).max() <= plan.worst
    assert (np.sqrt((off**2).mean(axis=0)) <= plan.error * plan.units).all()
    assert (plan.error * plan.units <= 2e-3 * exact.std(axis=0) * (1 + 1e-12)).all()
    assert plan.parameters.bits <= MOST_BITS[plan.parameters.degree]


def test_the_added_noise_is_forty_bits_above_what_tells_of_the_weights() -> None:
    weights, bias, rows = random_model(1)
    plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    telling = np.abs(secret.weights).sum() * (FRESH_NOISE + 1 + 2 ** (LEFT_OUT - 1))
    assert 2**FLOOD_BITS <= 2.0**plan.flood_bits / telling < 2 ** (FLOOD_BITS + 1)
    # and neither noise nor score ever leaves the plain modulus
    whole = plan.bound * plan.scale + 2.0**plan.flood_bits * plan.parameters.plain_modulus / math.prod(
        plan.parameters.moduli
    )
    assert whole < plan.parameters.plain_modulus / 2


def test_a_feature_that_never_varies_costs_nothing() -> None:
    weights, bias, rows = random_model(2)
    rows[:, 3] = 7.0
    plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    off = secret.scores(encode(plan, rows), plan) - (rows @ weights.T + bias)
    assert np.abs(off).max() <= plan.worst


def test_rows_out_of_range_are_clipped_to_it() -> None:
    weights, bias, rows = random_model(3)
    plan, _ = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    assert np.array_equal(encode(plan, rows * 1e6), encode(plan, np.where(rows > 0, 1, -1) * 1e30))


def test_an_error_out_of_reach_is_refused_with_the_best_one() -> None:
    weights, bias, rows = random_model(4)
    with pytest.raises(OverflowError, match="the best that can be had is"):
        plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows, error=1e-12)


@pytest.mark.parametrize("wrong", ["nan", "shape", "order"])
def test_wrong_arguments_are_refused(wrong: str) -> None:
    weights, bias, rows = random_model(5)
    low, high = rows.min(0), rows.max(0)
    if wrong == "nan":
        weights[0, 0] = np.nan
    if wrong == "shape":
        bias = bias[:0]
    if wrong == "order":
        low, high = high, low
    with pytest.raises(ValueError, match="must"):
        plan_linear(weights, bias, low=low, high=high, sample=rows)


def test_outputs_of_very_different_sizes_have_their_own_units() -> None:
    weights, bias, rows = random_model(6, outputs=3)
    sizes = np.array([1.0, 1e-7, 300.0])
    weights, bias = weights * sizes[:, None], bias * sizes
    plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    exact = rows @ weights.T + bias
    off = secret.scores(encode(plan, rows), plan) - exact
    assert (np.abs(off) <= plan.worst * plan.units).all()
    assert (plan.error * plan.units <= 2e-3 * exact.std(axis=0) * (1 + 1e-12)).all()
    assert (np.frexp(plan.units)[0] == 0.5).all()
    assert plan.units.max() == 1.0
    assert plan.rounded(exact)[:, 1].any(), "the smallest output is not rounded away"
