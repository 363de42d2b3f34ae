"""The simulated mode: integers, steps and noise are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wardline.he.compiler.layers import Activation, Affine, Diagonal, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.compiler.quantised import Bits, Noise, integer_weights, layer_noise, quantise, rounded_layer


def network(seed: int = 0) -> Program:
    rng = np.random.default_rng(seed)
    return Program(
        input_shape=(5,),
        layers=(
            Affine(weights=rng.normal(size=(4, 5)), offset=rng.normal(size=4)),
            Polynomial(coefficients=(0.0, 0.0, 1.0), units=4),
            Affine(weights=rng.normal(size=(2, 4)), offset=rng.normal(size=2)),
        ),
        meaning=Meaning(gives="values"),
    )


@settings(max_examples=50, deadline=None, derandomize=True)
@given(bits=st.integers(2, 30), seed=st.integers(0, 999), size=st.floats(1e-6, 1e6))
def test_weights_use_all_their_bits_and_no_more(bits: int, seed: int, size: float) -> None:
    layer = Affine(weights=size * np.random.default_rng(seed).normal(size=(3, 4)), offset=np.zeros(3))
    found = integer_weights(layer, bits)
    assert np.abs(found.integers).max() == 2 ** (bits - 1) - 1
    assert np.abs(found.integers * found.step - layer.weights).max() <= 0.5000001 * found.step


def test_whole_weights_stay_as_they_are() -> None:
    for weights in ([[1.0, -1.0, 0.0]], [[5.0, -7.0, 2.0]], [[0.0, 0.0, 0.0]]):
        found = integer_weights(Affine(weights=np.array(weights), offset=np.zeros(1)), 4)
        assert found.step == 1.0
        np.testing.assert_array_equal(found.integers, weights)
    assert integer_weights(Affine(weights=np.array([[9.0, 2.0]]), offset=np.zeros(1)), 4).step != 1.0


def test_the_simulation_is_integer_arithmetic() -> None:
    """One layer, computed once more in Python's own integers."""
    program = Program(input_shape=(5,), layers=network().layers[:1], meaning=Meaning(gives="values"))
    bits = Bits(inputs=9, weights=7, scale=20)
    x = np.random.default_rng(1).uniform(-1, 1, size=(20, 5))
    weights = integer_weights(program.layers[0], bits.weights)
    offset = [round(float(one) * 2**20) for one in program.layers[0].offset]
    found = quantise(program, bits).evaluate(x)
    for row, outputs in zip(x, found, strict=True):
        inputs = [round(float(one) * 255) for one in row]
        for line, shift, output in zip(weights.integers.tolist(), offset, outputs, strict=True):
            total = sum(one * other for one, other in zip(inputs, line, strict=True))
            assert output == pytest.approx(total * weights.step / 255 + shift / 2**20, abs=1e-12)


def test_many_bits_are_the_plain_program() -> None:
    x = np.random.default_rng(2).uniform(-1, 1, size=(50, 5))
    fine = quantise(network(), Bits(inputs=50, weights=50, scale=50)).evaluate(x)
    np.testing.assert_allclose(fine, network().evaluate(x), atol=1e-11)
    coarse = quantise(network(), Bits(inputs=5, weights=5, scale=8)).evaluate(x)
    assert 1e-3 < np.abs(coarse - network().evaluate(x)).max() < 5


def test_noise_is_drawn_as_large_as_it_is_said_to_be() -> None:
    """The answer's noise alone, against the chi-square distribution; 1e-6, and a scale off by 3 % is outside."""
    x = np.zeros((30_000, 5))
    simulated = quantise(network(), Bits())
    error = simulated.evaluate(x, noise=Noise(answer=0.25), random=np.random.default_rng(0)) - simulated.evaluate(x)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], error.size)
    total = float((error**2).sum())
    assert low < total / 0.25**2 < high
    assert not low < total / (1.03 * 0.25) ** 2 < high


def test_noise_of_layers() -> None:
    noise = Noise(maps=1.0, products=2.0)
    assert layer_noise(Diagonal(factors=np.ones(2), offset=np.zeros(2)), noise) == 0.0
    assert layer_noise(Diagonal(factors=np.full(2, 0.5), offset=np.zeros(2)), noise) == 1.0
    assert layer_noise(Polynomial(coefficients=(0.0, 0.0, 1.0), units=2), noise) == 2.0
    assert layer_noise(Polynomial(coefficients=(0.0, 1.0, 1.0, 1.0), units=2), noise) > 2.0


def test_what_is_refused() -> None:
    bent = Program(input_shape=(5,), layers=(Activation(kind="relu", units=5),), meaning=Meaning(gives="values"))
    with pytest.raises(ValueError, match="fit the program"):
        quantise(bent, Bits())
    with pytest.raises(ValueError, match="lost"):
        rounded_layer(Polynomial(coefficients=(0.0, 1.0, 1e-9), units=1), Bits(scale=10))
    simulated = quantise(network(), Bits())
    for rows, said in ((np.full((1, 5), 1.5), "scale and clip"), (np.full((1, 5), np.nan), "not finite")):
        with pytest.raises(ValueError, match=said):
            simulated.evaluate(rows)
    with pytest.raises(ValueError, match="generator"):
        simulated.evaluate(np.zeros((1, 5)), noise=Noise())
    for bad in ({"inputs": 1}, {"weights": 53}, {"scale": 0}):
        with pytest.raises(ValueError, match="must be"):
            Bits(**bad)
    with pytest.raises(ValueError, match="at least 0"):
        Noise(maps=-1.0)
    assert simulated.evaluate(np.empty((0, 5))).shape == (0, 2)
