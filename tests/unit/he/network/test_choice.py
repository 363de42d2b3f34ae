"""The plan of a network: secure, precise enough, and with noise above what tells of the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wardline.he.compiler.layers import Affine
from wardline.he.compiler.program import Meaning, Program
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network
from wardline.he.network.noise import FRESH, TAIL, gains_of, rescaling
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
