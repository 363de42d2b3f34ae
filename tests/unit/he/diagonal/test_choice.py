"""The plan of a network for one row: secure, precise enough, few rotations, and noise above what tells of weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from wardline.core.errors import UsageError
from wardline.he.compiler.convolution import convolve
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.diagonal.chains import switching
from wardline.he.diagonal.choice import plan_diagonal, unsafe_plan_unprotected_diagonal
from wardline.he.diagonal.plan import DiagonalWeights
from wardline.he.network.noise import FRESH, relinearising, rescaling
from wardline.he.network.plan import FLOOD_BITS
from wardline.he.parameters import MOST_BITS, Parameters, find_primes


@pytest.mark.parametrize(("seed", "widths"), [(1, (3, 2)), (2, (5, 8, 3)), (3, (4, 7, 6, 1))])
def test_simulated_outputs_are_as_near_as_predicted(network, seed: int, widths: tuple[int, ...]) -> None:
    program, sample = network(seed, widths=widths)
    plain = program.evaluate(sample)
    for choose in (plan_diagonal, unsafe_plan_unprotected_diagonal):
        plan, secret = choose(program, sample)
        assert plan.error <= 2e-3 * math.sqrt(plain.var(axis=0).mean())
        assert plan.parameters.bits <= MOST_BITS[plan.parameters.degree]
        off = secret.simulate(sample, plan, random=np.random.default_rng(seed)) - plain
        # Of 300 errors or more; that their mean square is a half above its expectation is less likely than 1e-6.
        assert np.sqrt((off**2).mean()) <= 1.23 * plan.error
        assert np.abs(off).max() <= plan.worst
        exact = secret.simulate(sample, plan) - plain
        assert np.sqrt((exact**2).mean(axis=0)).max() <= plan.error
        assert 0 not in plan.steps
        again = DiagonalWeights.of(plan, secret.stages)
        for one, other in zip(again.layers, secret.layers, strict=True):
            np.testing.assert_array_equal(one.factors, other.factors)


def test_the_added_noise_is_forty_bits_above_what_tells_of_the_weights(network) -> None:
    program, sample = network(5, widths=(3, 4, 2))
    plan, secret = plan_diagonal(program, sample)
    first, last = secret.stages
    # A bound by hand: fresh noise and the first rounding through |W2| (2 |y| + |s|), all signs against us.
    unit = np.clip((sample - plan.centre) / plan.half_width, -1, 1)
    reach = np.abs(first.linear(unit)).max(axis=0)
    steep = np.abs(last.weights) * (2 * reach + abs(first.slope or 0.0))
    degree, scales = plan.parameters.degree, [layer.scale for layer in plan.layers]
    fresh = ((steep @ np.abs(first.weights)) ** 2).sum(axis=1) * (FRESH / plan.input_scale) ** 2
    rounded = (steep**2).sum(axis=1) * (rescaling(degree) / scales[0]) ** 2
    summed = plan.repeated * (rescaling(degree) / scales[1]) ** 2
    telling = 20 * math.sqrt(float((fresh + rounded).max()) + summed) * math.sqrt(degree / 2)
    telling *= scales[1] / plan.repeated
    assert plan.flood_bits is not None
    assert 2.0**FLOOD_BITS <= 2.0**plan.flood_bits / telling <= 2.0 ** (FLOOD_BITS + 2)
    # and an answer with it never wraps around
    modulus = math.prod(plan.parameters.moduli[: plan.reply_limbs])
    assert 2 * plan.reply_scale / plan.repeated * (plan.reach + plan.worst) < modulus


def test_zeros_among_weights_are_not_told(network) -> None:
    """A dense layer is sent for as such, whatever its weights: pruning is a secret of the server's."""
    program, sample = network(6, widths=(6, 4, 2))
    first = program.layers[0]
    assert isinstance(first, Affine)
    pruned = replace(first, weights=np.where(np.arange(24).reshape(4, 6) % 3, first.weights, 0.0))
    plan, _ = unsafe_plan_unprotected_diagonal(replace(program, layers=(pruned, *program.layers[1:])), sample)
    assert plan.reads is None or (plan.reads == np.arange(6)).all()


def test_windows_are_told(network) -> None:
    del network
    generator = np.random.default_rng(7)
    kernel = generator.normal(size=(2, 1, 3, 3))
    kernel[:, :, 1, 1] = 0.0
    image = convolve(kernel, None, input_shape=(1, 9, 9), stride=(3, 3))
    square = Polynomial(coefficients=(0.0, 0.0, 1.0), units=18, interval=(-9.0, 9.0))
    dense = Affine(weights=generator.normal(size=(2, 18)), offset=np.zeros(2))
    program = Program(input_shape=(1, 9, 9), layers=(image, square, dense), meaning=Meaning(gives="values"))
    plan, _ = unsafe_plan_unprotected_diagonal(program, generator.random((30, 81)))
    assert plan.reads is not None
    assert plan.reads.shape == (18, 9)  # the middle of each window too, though its weight is 0
    assert plan.input_places.max() == 80


def test_noise_of_digits() -> None:
    special, *moduli = find_primes(8192, (31, 25, 25, 25, 25))
    parameters = Parameters(scheme="ckks", degree=8192, moduli=tuple(moduli), special=special)
    # No prime above the special one: at most what is said of those.
    assert switching(parameters, 4, 1) <= relinearising(8192, 4)
    assert switching(parameters, 4, 2) > 2**17 * switching(parameters, 4, 1) / 2**6
    assert switching(parameters, 4, 2) < switching(parameters, 4, 4)


def test_plans_that_do_not_fit_together_are_refused(network) -> None:
    program, sample = network(8, widths=(3, 4, 2))
    plan, secret = unsafe_plan_unprotected_diagonal(program, sample)
    first, last = plan.layers
    for wrong in (
        {"layers": (first,)},
        {"layers": (last, first)},
        {"ciphertexts": 33},
        {"reply_limbs": 9},
        {"centre": plan.centre[:2]},
        {"layers": (first, replace(last, limbs=last.limbs + 1))},
        {"layers": (first, replace(last, move=replace(last.move, last=False)))},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            replace(plan, **wrong)
    with pytest.raises(ValueError, match="another number of layers"):
        DiagonalWeights.of(plan, secret.stages[:1])
    with pytest.raises(ValueError, match="another shape"):
        DiagonalWeights.of(plan, secret.stages[::-1])


def test_what_cannot_be_planned_is_refused(network) -> None:
    program, sample = network(9, widths=(3, 4, 2))
    with pytest.raises(ValueError, match="error must be"):
        plan_diagonal(program, sample, error=0.0)
    with pytest.raises(OverflowError, match="128 bits"):
        plan_diagonal(program, sample, error=1e-15)
    first, _, last = program.layers
    cubic = Polynomial(coefficients=(0.0, 0.0, 0.0, 1.0), units=4, interval=(-4.0, 4.0))
    with pytest.raises(UsageError, match="degree 3"):
        plan_diagonal(replace(program, layers=(first, cubic, last)), sample)


def test_the_plan_is_explained(network) -> None:
    plan, secret = plan_diagonal(*network(10, widths=(3, 4, 2)))
    text = plan.explain()
    for told in (
        "one row at a time",
        "rotations",
        f"{len(plan.steps) + 1} keys",
        f"2^{plan.flood_bits}",
        "server memory",
    ):
        assert told in text
    assert "unsafe" not in text
    assert "no protection" in unsafe_plan_unprotected_diagonal(*network(10, widths=(3, 4, 2)))[0].explain()
    assert str(secret.stages[0].weights[0, 0]) not in repr(secret)
