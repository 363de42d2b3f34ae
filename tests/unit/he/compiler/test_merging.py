"""Simplified programs compute the same with fewer levels, and never with more products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.he.compiler.convolution import Convolution, average_pool, convolve
from wardline.he.compiler.depth import depth_of
from wardline.he.compiler.layers import Affine, Diagonal, Polynomial
from wardline.he.compiler.merging import adds_only, merge, scaled_inputs, simplify
from wardline.he.compiler.program import Meaning, Program


def affine(rng: np.random.Generator, inputs: int, outputs: int) -> Affine:
    return Affine(weights=rng.normal(size=(outputs, inputs)), offset=rng.normal(size=outputs))


def program_of(*layers) -> Program:
    return Program(input_shape=(layers[0].inputs,), layers=layers, meaning=Meaning(gives="values"))


def close(one: Program, other: Program, seed: int = 0) -> None:
    x = np.random.default_rng(seed).normal(size=(7, one.inputs))
    wanted = one.evaluate(x)
    size = 1.0 + np.abs(wanted).max()
    np.testing.assert_allclose(other.evaluate(x) / size, wanted / size, atol=1e-9)


def test_a_bottleneck_is_not_merged_and_the_rest_is() -> None:
    rng = np.random.default_rng(0)
    narrow = (affine(rng, 20, 2), affine(rng, 2, 20))
    assert merge(*narrow) is None
    wide = (affine(rng, 5, 40), affine(rng, 40, 5))
    merged = merge(*wide)
    assert merged is not None
    assert merged.products == 25
    close(program_of(*wide), program_of(merged))
    with pytest.raises(ValueError, match="reads"):
        merge(affine(rng, 3, 4), affine(rng, 5, 6))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    stride=st.integers(1, 2),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    step=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 999),
)
def test_a_pooled_convolution_is_one_convolution(stride: int, padding, window, step, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = convolve(
        rng.normal(size=(3, 2, 3, 2)), rng.normal(size=3), input_shape=(2, 9, 8), stride=(stride, 1), padding=padding
    )
    second = average_pool(first.output_shape, window, stride=step)
    merged = merge(first, second)
    if merged is None:
        return  # overlapping windows may cost more in one
    assert isinstance(merged, Convolution)
    assert merged.products <= first.products + second.products
    close(program_of(first, second), program_of(merged), seed)


def test_convolutions_are_matrices() -> None:
    rng = np.random.default_rng(0)
    layer = convolve(
        rng.normal(size=(4, 1, 3, 3)),
        rng.normal(size=4),
        input_shape=(2, 6, 5),
        stride=(2, 1),
        padding=(1, 0, 2, 1),
        dilation=(1, 2),
        groups=2,
    )
    x = rng.normal(size=(5, layer.inputs))
    np.testing.assert_allclose(layer.apply(x), x @ layer.matrix().T + layer.offset, atol=1e-12)


def test_a_scaler_before_a_padded_convolution() -> None:
    rng = np.random.default_rng(0)
    layer = convolve(rng.normal(size=(2, 2, 3, 3)), None, input_shape=(2, 4, 4), padding=(1, 1, 1, 1))
    same = Diagonal(factors=np.repeat([2.0, -0.5], 16), offset=np.repeat([1.0, 3.0], 16))
    merged = merge(same, layer)
    assert isinstance(merged, Convolution)
    close(program_of(same, layer), program_of(merged))
    differing = Diagonal(factors=rng.normal(size=32), offset=np.zeros(32))
    assert not isinstance(merge(differing, layer), Convolution)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    powers=st.lists(st.floats(-2, 2).map(lambda one: round(one, 2)), min_size=2, max_size=5).filter(lambda p: p[-1]),
    behind=st.booleans(),
    seed=st.integers(0, 999),
)
def test_polynomials_take_as_few_levels_as_they_can(powers: list[float], behind: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = [affine(rng, 4, 5), Polynomial(coefficients=tuple(powers), units=5, interval=(-3.0, 3.0))]
    layers += [affine(rng, 5, 3)] if behind else []
    before, after = program_of(*layers), simplify(program_of(*layers))
    close(before, after, seed)
    if len(powers) == 2:
        assert len(after.layers) == 1
        return
    polynomial = next(layer for layer in after.layers if isinstance(layer, Polynomial))
    levels = next(one.levels for one in depth_of(after) if one.name == polynomial.name)
    if len(powers) == 3 and abs(powers[1] / (2 * powers[2])) <= 14.9:
        assert polynomial.powers[1:] in ((0.0, 1.0), (0.0, -1.0))
        assert levels == 1
    if len(powers) == 5:
        assert levels == 2
    assert depth_of(after)[-1].total <= depth_of(before)[-1].total


def test_a_parabola_that_is_nearly_a_line_is_left() -> None:
    rng = np.random.default_rng(0)
    layers = (affine(rng, 4, 5), Polynomial(coefficients=(0.0, 1.0, 1e-9), units=5), affine(rng, 5, 2))
    after = simplify(program_of(*layers))
    close(program_of(*layers), after)
    assert after.layers[1].powers == (0.0, 1.0, 1e-9)


def test_sums_take_no_level_and_stay_sums_before_a_polynomial() -> None:
    rng = np.random.default_rng(0)
    layers = (
        Polynomial(coefficients=(0.0, 0.0, 1.0), units=32),
        average_pool((2, 4, 4), (2, 2), stride=(2, 2)),
        Polynomial(coefficients=(0.3, -0.2, 0.1, 0.2, 0.7), units=8, interval=(0.0, 9.0)),
        affine(rng, 8, 3),
    )
    after = simplify(program_of(*layers))
    close(program_of(*layers), after)
    assert adds_only(after.layers[1])
    assert depth_of(after)[-1].total == 1 + 0 + 2 + 1


def test_inputs_may_be_scaled() -> None:
    rng = np.random.default_rng(0)
    program = program_of(affine(rng, 4, 3))
    factors, offset = rng.normal(size=4), rng.normal(size=4)
    scaled = scaled_inputs(program, factors, offset)
    assert len(scaled.layers) == 1
    u = rng.normal(size=(6, 4))
    np.testing.assert_allclose(scaled.evaluate(u), program.evaluate(u * factors + offset), atol=1e-12)
    with pytest.raises(ValueError, match="is 0"):
        scaled_inputs(program, np.zeros(4), offset)
