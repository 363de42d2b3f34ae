"""The plan of a network: secure, precise enough, and with noise above what tells of the weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import UsageError
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network
from wardline.he.network.noise import FRESH, TAIL, gains_of, largest_size, rescaling
from wardline.he.network.plan import FLOOD_BITS
from wardline.he.parameters import MOST_BITS


@pytest.mark.parametrize(("seed", "squares"), [(1, 0), (2, 1), (3, 2)])
def test_simulated_outputs_are_as_near_as_predicted(program, rows, seed: int, squares: int) -> None:
    model, sample = program(seed, squares=squares), rows(seed, 3)
    plain = model.evaluate(sample)
    for choose in (plan_network, unsafe_plan_unprotected_network):
        plan, secret = choose(model, sample)
        assert plan.error <= 2e-3 * math.sqrt(plain.var(axis=0).mean())
        assert plan.parameters.bits <= MOST_BITS[plan.parameters.degree]
        off = secret.simulate(sample, plan, random=np.random.default_rng(seed)) - plain
        # Of 600 errors; that their mean square is a third above its expectation is less likely than 1e-6.
        assert np.sqrt((off**2).mean()) <= 1.33 * plan.error
        assert np.abs(off).max() <= plan.worst
        exact = secret.simulate(sample, plan) - plain
        assert np.sqrt((exact**2).mean(axis=0)).max() <= plan.error


def test_the_added_noise_is_forty_bits_above_what_tells_of_the_weights(program, rows) -> None:
    model, sample = program(5), rows(5, 3)
    plan, secret = plan_network(model, sample)
    first, last = (layer.stage() for layer in secret.layers)
    # A bound by hand: fresh noise and the first rounding through |W2| (2 |y| + |s|), all signs against us.
    unit = np.clip((sample - plan.centre) / plan.half_width, -1, 1)
    reach = np.abs(first.linear(unit)).max(axis=0)
    steep = np.abs(last.weights) * (2 * reach + abs(first.slope or 0.0))
    degree, scales = plan.parameters.degree, [layer.scale for layer in plan.layers]
    fresh = ((steep @ np.abs(first.weights)) ** 2).sum(axis=1) * (FRESH / plan.input_scale) ** 2
    rounded = (steep**2).sum(axis=1) * (rescaling(degree) / scales[0]) ** 2
    telling = TAIL * math.sqrt(float((fresh + rounded).max()) + (rescaling(degree) / scales[1]) ** 2) * scales[1]
    assert plan.flood_bits is not None
    assert 2.0**FLOOD_BITS <= 2.0**plan.flood_bits / telling <= 2.0 ** (FLOOD_BITS + 2)
    # and an answer with it never wraps around
    modulus = math.prod(plan.parameters.moduli[: plan.reply_limbs])
    assert 2 * plan.reply_scale * (plan.reach + plan.worst) < modulus


def test_protection_costs_scale_and_says_so(program, rows) -> None:
    model, sample = program(6), rows(6, 3)
    plan, _ = plan_network(model, sample)
    bare, _ = unsafe_plan_unprotected_network(model, sample)
    assert bare.flood_bits is None
    assert plan.flood_bits is not None
    assert bare.layers[-1].scale < 2.0**-20 * plan.layers[-1].scale
    assert bare.parameters.bits < plan.parameters.bits
    assert "no protection" in bare.explain()
    assert f"2^{plan.flood_bits}" in plan.explain()
    assert len(plan.explain().splitlines()) == 6 + 1


def test_gains_are_slopes(program, rows) -> None:
    """Noise of one input, put in by hand, arrives as large as the gains say."""
    model, sample = program(7, squares=2), rows(7, 3)
    _, secret = plan_network(model, sample, error=0.05)
    stages = tuple(layer.stage() for layer in secret.layers)
    few = sample[:4] / 4
    reach, values = [], few
    for stage in stages:
        reach.append(np.abs(stage.linear(values)).max(axis=0))
        values = stage.bend(stage.linear(values))
    gains = gains_of(stages, tuple(reach), few)[-1]
    h, slopes = 1e-6, []
    for place in range(3):
        moved = few.copy()
        moved[:, place] += h
        for stage in stages:
            moved = stage.bend(stage.linear(moved))
        slopes.append((moved - values) / h)
    np.testing.assert_allclose(gains[0].typical, (np.array(slopes) ** 2).sum(axis=0).mean(axis=0), rtol=1e-3)
    assert (gains[0].bound >= (np.array(slopes) ** 2).sum(axis=0).max(axis=0)).all()
    np.testing.assert_array_equal(gains[-1].bound, 1.0)


@pytest.mark.parametrize("degrees", [(3,), (4,), (2, 4), (4, 3)])
def test_higher_degrees_are_as_near_as_predicted(program, rows, degrees: tuple[int, ...]) -> None:
    model, sample = program(21, degrees=degrees), rows(21, 3)
    plain = model.evaluate(sample)
    for choose in (plan_network, unsafe_plan_unprotected_network):
        plan, secret = choose(model, sample)
        assert tuple(layer.second.degree if layer.second else 2 for layer in plan.layers[:-1]) == degrees
        assert all(one.left == other.limbs for one, other in itertools.pairwise(plan.layers))
        off = secret.simulate(sample, plan, random=np.random.default_rng(1)) - plain
        assert np.sqrt((off**2).mean()) <= 1.33 * plan.error
        assert np.abs(off).max() <= plan.worst
        text = plan.explain()
        for degree in degrees:
            assert "squared" in text if degree == 2 else f"polynomial of degree {degree}" in text
        assert len(text.splitlines()) == 6 + len(degrees) + sum(degree > 2 for degree in degrees)


@pytest.mark.parametrize("degrees", [(3, 2), (4,), (2, 4)])
def test_gains_of_two_products_are_slopes(program, rows, degrees: tuple[int, ...]) -> None:
    """Noise of an input and of each first product, put in by hand, arrives as large as the gains say, and no larger."""
    model, sample = program(22, degrees=degrees), rows(22, 3)
    _, secret = unsafe_plan_unprotected_network(model, sample)
    stages = tuple(layer.stage() for layer in secret.layers)
    few = np.clip(sample[:8] / 4, -1, 1)

    def through(values: np.ndarray, product: int, unit: int, h: float) -> np.ndarray:
        for index, stage in enumerate(stages):
            y = stage.linear(values)
            u = y * (y + (stage.slope or 0.0))
            if index == product:
                u[:, unit] += h
            match stage.degree:
                case 1:
                    values = y
                case 2:
                    values = u
                case 3:
                    values = y * (u + stage.second.slope)
                case _:
                    values = u * (u + stage.second.factor) + stage.second.slope * y
        return values

    reach, values = [], few
    for stage in stages:
        reach.append(np.abs(stage.linear(values)).max(axis=0))
        values = stage.bend(stage.linear(values))
    np.testing.assert_allclose(through(few, -1, 0, 0.0), values, rtol=1e-9)
    gains = gains_of(stages, tuple(reach), few)[-1]
    assert len(gains) == 1 + len(stages) + sum(degree > 2 for degree in degrees)
    h, source = 1e-6, 0
    for index, stage in enumerate(stages):
        source += 1  # of the inputs, or of the stage before
        if stage.second is None:
            continue
        source += 1
        slopes = [(through(few, index, unit, h) - through(few, index, unit, -h)) / (2 * h) for unit in range(4)]
        squares = (np.array(slopes) ** 2).sum(axis=0)
        np.testing.assert_allclose(gains[source].typical, squares.mean(axis=0), rtol=1e-3)
        assert (gains[source].bound >= squares.max(axis=0)).all()
    slopes = [(through(few + h * one, -1, 0, 0.0) - through(few - h * one, -1, 0, 0.0)) / (2 * h) for one in np.eye(3)]
    squares = (np.array(slopes) ** 2).sum(axis=0)
    np.testing.assert_allclose(gains[0].typical, squares.mean(axis=0), rtol=1e-3)
    assert (gains[0].bound >= squares.max(axis=0)).all()


@given(
    powers=st.lists(st.floats(-2, 2), min_size=1, max_size=4),
    reach=st.floats(0.01, 3),
    place=st.floats(-1, 1),
)
@settings(max_examples=100, deadline=None)
def test_a_polynomial_is_never_larger_than_said(powers: list[float], reach: float, place: float) -> None:
    powers = [*powers, 1.0]
    values = np.polynomial.polynomial.polyval(np.linspace(-reach, reach, 2001), powers)
    most = largest_size(np.array(powers), np.array([reach]))[0]
    assert most >= abs(np.polynomial.polynomial.polyval(place * reach, powers)) * (1 - 1e-9) - 1e-9
    assert most <= np.abs(values).max() + 1e-4  # 2,001 places miss an extremum by no more


def test_depth_that_no_ring_bears_names_the_layer() -> None:
    dense = Affine(weights=np.full((3, 3), 0.3), offset=np.array([0.1, 0.0, -0.1]))
    bend = Polynomial(coefficients=(0.0, 0.8, 0.0, 0.0, 0.1), units=3)
    model = Program(input_shape=(3,), layers=(*(dense, bend) * 12, dense), meaning=Meaning(gives="values"))
    sample = np.random.default_rng(23).normal(size=(50, 3))
    with pytest.raises(UsageError, match=r"layer \d+ of 13 lies deeper than any ring") as caught:
        plan_network(model, sample)
    assert "lower degree" in str(caught.value.hint)
    assert caught.value.where == "dense"


def test_an_error_out_of_reach_is_refused(program, rows) -> None:
    with pytest.raises(OverflowError, match="an error of 1e-13 was asked for"):
        plan_network(program(8), rows(8, 3), error=1e-13)
    with pytest.raises(ValueError, match="error must be finite"):
        plan_network(program(8), rows(8, 3), error=math.nan)


def test_outputs_that_never_vary_need_an_error() -> None:
    model = Program(
        input_shape=(2,),
        layers=(Affine(weights=np.zeros((1, 2)), offset=np.ones(1)),),
        meaning=Meaning(gives="values"),
    )
    with pytest.raises(ValueError, match="say which error"):
        plan_network(model, np.random.default_rng(0).normal(size=(9, 2)))


def test_secrets_are_not_printed(program, rows) -> None:
    plan, secret = plan_network(program(9), rows(9, 3))
    weight = str(int(np.abs(secret.layers[0].weights).max()))
    assert weight not in repr(secret)
    assert weight not in repr(plan)
