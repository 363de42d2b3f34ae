"""Predicted errors hold in the simulated mode."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from wardline.core import UsageError
from wardline.he.compiler import calibration, precision
from wardline.he.compiler.calibration import calibrate
from wardline.he.compiler.convolution import average_pool, convolve
from wardline.he.compiler.layers import Affine, Diagonal, Polynomial
from wardline.he.compiler.precision import predict_precision
from wardline.he.compiler.program import Meaning, Program
from wardline.he.compiler.quantised import Bits, Noise, quantise


def affine(rng: np.random.Generator, inputs: int, outputs: int) -> Affine:
    return Affine(weights=rng.normal(size=(outputs, inputs)) / math.sqrt(inputs), offset=rng.normal(size=outputs))


def polynomial(rng: np.random.Generator, units: int) -> Polynomial:
    degree = int(rng.integers(2, 5))
    powers = (*rng.normal(0, 0.5, size=degree), 0.5 + rng.random())
    return Polynomial(coefficients=(0.0, 0.0, 1.0) if rng.random() < 0.5 else powers, units=units)


def random_program(rng: np.random.Generator) -> Program:
    """A table or images, one to three blocks of a map and a polynomial, and a last map."""
    if rng.random() < 0.3:
        first = convolve(rng.normal(size=(2, 1, 3, 3)) / 3, rng.normal(size=2), input_shape=(1, 6, 6), padding=(1,) * 4)
        layers = [first, polynomial(rng, first.outputs), average_pool(first.output_shape, (2, 2), stride=(2, 2))]
        shape: tuple[int, ...] = first.input_shape
    else:
        shape = (int(rng.integers(2, 12)),)
        layers = [affine(rng, shape[0], int(rng.integers(2, 12)))]
    for _ in range(int(rng.integers(0, 3))):
        width = layers[-1].outputs
        if rng.random() < 0.3:
            layers.append(Diagonal(factors=rng.normal(size=width), offset=rng.normal(size=width)))
        layers.append(polynomial(rng, width))
        layers.append(affine(rng, width, int(rng.integers(2, 12))))
    return Program(input_shape=shape, layers=tuple(layers), meaning=Meaning(gives="values"))


def drawn_bits(rng: np.random.Generator) -> tuple[Bits, Noise]:
    bits = Bits(inputs=int(rng.integers(12, 20)), weights=int(rng.integers(12, 20)), scale=int(rng.integers(18, 30)))
    sizes = 2.0 ** -rng.uniform(12, 22, size=4) * (rng.random(4) < 0.7)
    return bits, Noise(inputs=sizes[0], maps=sizes[1], products=sizes[2], answer=sizes[3])


def trial(seed: int) -> tuple[int, float, float]:
    """Polynomials in the program, the largest error as a share of its bound, and measured over predicted deviation.

    The last is a ratio of root mean squares, the mean over the outputs.
    """
    rng = np.random.default_rng(seed)
    program = random_program(rng)
    x = rng.uniform(-1, 1, size=(250, program.inputs))
    bits, noise = drawn_bits(rng)
    found = predict_precision(program, calibrate(program, x[:200], margin=1.0), bits=bits, noise=noise).output
    new = x[200:]
    error = quantise(program, bits).evaluate(new, noise=noise, random=rng) - program.evaluate(new)
    ratio = math.sqrt(np.mean(np.mean(error**2, axis=0) / found.deviation**2))
    count = sum(isinstance(layer, Polynomial) for layer in program.layers)
    return count, float((np.abs(error) / found.bound).max()), ratio


def test_predictions_hold_in_a_thousand_random_trials() -> None:
    """No error exceeds its bound, and deviations are right within a factor of two but for deep programs.

    Bounds leave out noise beyond nine standard deviations alone: of the fewer than 1e8 draws here one is beyond with
    probability below 1e-10. Deviations are estimates. Where polynomials of high degree follow each other, a few rows
    dominate the mean, and 200 rows do not tell it. Predictions off by a factor of two throughout, on either side, fail.
    """
    trials = [trial(seed) for seed in range(1000)]
    assert max(share for _, share, _ in trials) <= 1.0
    ratios = np.array([ratio for _, _, ratio in trials])
    assert 0.8 < np.median(ratios) < 1.25
    assert np.mean((ratios > 0.5) & (ratios < 2.0)) > 0.9
    shallow = np.array([ratio for count, _, ratio in trials if count <= 1])
    assert len(shallow) > 400
    assert shallow.min() > 0.4
    assert shallow.max() < 2.5


def test_linear_models_are_predicted_to_the_last_digit() -> None:
    """With weights that need no rounding the error is that of inputs and noise alone, and normal.

    A false alarm of 1e-6 at both ends of the chi-square distribution; a deviation that is off by 3 % is outside.
    """
    rng = np.random.default_rng(0)
    program = Program(
        input_shape=(4,),
        layers=(Affine(weights=np.array([[3.0, -2.0, 5.0, 1.0]]), offset=np.array([0.5])),),
        meaning=Meaning(gives="values"),
    )
    x = rng.uniform(-1, 1, size=(50_000, 4))
    noise = Noise(inputs=1e-3, maps=2e-3, answer=3e-3)
    bits = Bits(inputs=30, weights=20, scale=40)
    found = predict_precision(program, calibrate(program, x), bits=bits, noise=noise).output
    error = quantise(program, bits).evaluate(x, noise=noise, random=rng) - program.evaluate(x)
    assert found.deviation[0] == pytest.approx(math.sqrt(39 * 1e-6 + 4e-6 + 9e-6), rel=1e-6)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], len(x))
    total = float((error**2).sum())
    assert low < total / found.deviation[0] ** 2 < high
    assert not low < total / (1.03 * found.deviation[0]) ** 2 < high
    assert not low < total / (0.97 * found.deviation[0]) ** 2 < high


def test_more_bits_are_better_and_noise_is_worse() -> None:
    rng = np.random.default_rng(3)
    program = random_program(rng)
    ranges = calibrate(program, rng.uniform(-1, 1, size=(100, program.inputs)))
    sizes = [
        predict_precision(program, ranges, bits=Bits(inputs=one, weights=one, scale=2 * one), noise=Noise()).output
        for one in (8, 12, 16)
    ]
    for coarse, fine in itertools.pairwise(sizes):
        assert (fine.deviation < coarse.deviation).all()
        assert (fine.bound < coarse.bound).all()
    noisy = predict_precision(program, ranges, bits=Bits(inputs=16, weights=16, scale=32), noise=Noise(inputs=0.01))
    assert (noisy.output.deviation > sizes[2].deviation).all()


def test_wide_layers_take_the_shorter_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit errors are taken as independent of each other: another estimate, the same bound."""
    rng = np.random.default_rng(11)
    program = random_program(rng)
    x = rng.uniform(-1, 1, size=(300, program.inputs))
    bits, noise = Bits(inputs=14, weights=14, scale=20), Noise(inputs=1e-4, maps=1e-4, products=1e-4)
    full = predict_precision(program, calibrate(program, x), bits=bits, noise=noise).output
    for module in (calibration, precision):
        monkeypatch.setattr(module, "LARGEST_PRODUCTS", 1)
    short = predict_precision(program, calibrate(program, x), bits=bits, noise=noise).output
    np.testing.assert_array_equal(short.bound, full.bound)
    ratio = np.sqrt(np.mean(short.deviation**2) / np.mean(full.deviation**2))
    assert 0.3 < ratio < 10


def test_what_is_too_far_off_is_refused_with_the_layer() -> None:
    rng = np.random.default_rng(1)
    program = random_program(rng)
    found = predict_precision(
        program, calibrate(program, rng.uniform(-1, 1, size=(50, program.inputs))), bits=Bits(weights=5), noise=Noise()
    )
    found.check(1e9)
    with pytest.raises(UsageError, match="off by") as refused:
        found.check(1e-9)
    assert refused.value.where in {layer.name for layer in program.layers}
    assert "typical" in str(found.output)


def test_a_calibration_of_another_program() -> None:
    rng = np.random.default_rng(1)
    program = random_program(rng)
    more = Affine(weights=np.eye(program.outputs), offset=np.zeros(program.outputs))
    other = Program(input_shape=program.input_shape, layers=(*program.layers, more), meaning=program.meaning)
    with pytest.raises(ValueError, match="another program"):
        predict_precision(
            other, calibrate(program, rng.uniform(-1, 1, size=(50, program.inputs))), bits=Bits(), noise=Noise()
        )
