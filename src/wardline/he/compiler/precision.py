"""How far an encrypted answer will be from the plain one, predicted layer by layer."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from wardline.core import UsageError
from wardline.he.compiler.calibration import LARGEST_PRODUCTS, Calibration
from wardline.he.compiler.convolution import Values, frozen_copy
from wardline.he.compiler.layers import Activation, Diagonal, Linear, Polynomial
from wardline.he.compiler.program import Program
from wardline.he.compiler.quantised import Bits, Noise, layer_noise, rounded_layer

TAIL = 9.0
"""Noise is taken to stay within so many standard deviations: beyond lies a normal number once in 4e18 draws."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerError:
    """What is predicted of the errors of what a layer gives.

    Attributes:
        name: of the layer, or ``inputs``.
        deviation: [units], the root of the mean squared error over rows like the sample's, and over the noise.
        bound: [units], not exceeded by any row within the ranges as long as noise stays within nine standard
            deviations.
        scale: [units], the root mean square of the values themselves.
    """

    name: str
    deviation: Values
    bound: Values
    scale: Values

    def __str__(self) -> str:
        size = float(np.sqrt(np.mean(self.scale**2)))
        return (
            f"{self.name}: values of about {size:.2g}, error {float(np.sqrt(np.mean(self.deviation**2))):.2g} typical, "
            f"{float(self.bound.max()):.2g} at most"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Predicted errors of a program in fixed-point numbers under noise.

    Attributes:
        layers: the inputs first, then every layer.
        bits: how finely numbers are written.
        noise: what encryption adds.
    """

    layers: tuple[LayerError, ...]
    bits: Bits
    noise: Noise

    @property
    def output(self) -> LayerError:
        """The last layer's, the noise of the answer included."""
        return self.layers[-1]

    def check(self, largest_deviation: float) -> None:
        """Refuse a program whose answers will be off by more.

        Raises:
            UsageError: naming the layer whose error grows most, and what to do.
        """
        if float(self.output.deviation.max()) <= largest_deviation:
            return
        relative = [
            float(np.sqrt(np.mean(one.deviation**2)) / max(1e-300, float(np.sqrt(np.mean(one.scale**2)))))
            for one in self.layers
        ]
        growth = [after / max(1e-300, before) for before, after in itertools.pairwise(relative)]
        worst = 1 + int(np.argmax(growth)) if growth else 0
        raise UsageError(
            f"answers would be off by {float(self.output.deviation.max()):.2g}, more than {largest_deviation:.2g}",
            where=self.layers[worst].name,
            hint="give inputs, weights or scale more bits, or narrow the ranges before this layer",
        )


def predict_precision(program: Program, calibration: Calibration, *, bits: Bits, noise: Noise) -> Precision:
    """Errors of every layer, as against `Program.evaluate`.

    Args:
        program: for inputs in [-1, 1], its activations polynomials.
        calibration: of this very program.
        bits: how finely numbers are written.
        noise: standard deviations of what encryption adds.

    Returns:
        Deviations and bounds.

    Raises:
        ValueError: if the calibration is one of another program, or an activation is left.

    Guarantee:
        Bounds hold for every row whose inputs and inner values lie within the calibrated ranges, if no noise exceeds
        nine standard deviations; rounding of 64-bit numbers is left out. Deviations are estimates, not bounds. They are
        for rows distributed as the sample, and take errors as independent of the values and of the slopes of
        polynomials. What the rounding of weights does is computed, not modelled, for layers of up to 2,048 numbers;
        beyond, each error is taken as independent of all else. Of 1,000 random programs, those with at most one
        polynomial were off by less than a factor of 2.5, and nine of ten of all, with up to three, by less than 2.
    """
    if len(calibration.ranges) != len(program.layers) + 1:
        raise ValueError("the calibration is one of another program")
    step = bits.input_step
    # Rounding is uniform within half a step on both sides.
    second: Values = np.full(program.inputs, step**2 / 12.0 + noise.inputs**2)
    bound: Values = np.full(program.inputs, 0.5 * step + TAIL * noise.inputs)
    found = [_layer_error("inputs", second, bound, calibration.squares[0])]
    for index, layer in enumerate(program.layers):
        rounded = rounded_layer(layer, bits)
        reach, last = calibration.ranges[index].largest, index + 1 == len(program.layers)
        if index == 0:
            reach = np.minimum(reach, 1.0)  # inputs beyond are clipped or refused
        added = [layer_noise(rounded, noise), noise.answer if last else 0.0]
        if isinstance(layer, Polynomial) and isinstance(rounded, Polynomial):
            bound = _polynomial_bound(layer, rounded, bound=bound, reach=reach)
            usual = np.minimum(reach, 2.0 * np.sqrt(calibration.squares[index]))
            second = _polynomial_second(layer, rounded, second, moments=calibration.moments[index], reach=usual)
        elif not isinstance(layer, (Polynomial, Activation)) and not isinstance(rounded, (Polynomial, Activation)):
            difference = layer.with_coefficients(rounded.coefficients - layer.coefficients)
            difference = difference.with_offset(rounded.offset - layer.offset)
            bound = _map_bound(rounded, difference, bound=bound, reach=reach)
            second = _map_second(
                rounded,
                difference,
                second,
                squares=calibration.squares[index],
                moments=calibration.moments[index],
            )
        bound = bound + TAIL * sum(added)
        second = _plus(second, sum(one**2 for one in added))
        found.append(_layer_error(layer.name, _diagonal(second), bound, calibration.squares[index + 1]))
    return Precision(layers=tuple(found), bits=bits, noise=noise)


def _diagonal(second: Values) -> Values:
    """Mean squares, of a matrix of mean products or of themselves."""
    return second if second.ndim == 1 else np.diag(second).copy()


def _plus(second: Values, more: Values | float) -> Values:
    """Mean products of errors to which others, independent of them and of each other, are added."""
    return second + more if second.ndim == 1 else second + np.diag(np.broadcast_to(more, len(second)))


def _absolute(layer: Linear, x: Values) -> Values:
    return np.asarray(layer.with_coefficients(np.abs(layer.coefficients)).linear(x[None])[0], dtype=np.float64)


def _map_bound(rounded: Linear, difference: Linear, *, bound: Values, reach: Values) -> Values:
    total = _absolute(rounded, bound) + _absolute(difference, reach) + np.abs(difference.offset)
    return np.asarray(total, dtype=np.float64)


def _map_second(
    rounded: Linear, difference: Linear, second: Values, *, squares: Values, moments: Values | None
) -> Values:
    """Mean products of W e + D x + d, where e are the errors that come in and D, d what rounding did to the map."""
    if isinstance(rounded, Diagonal):
        factors = rounded.factors
        carried = second * factors**2 if second.ndim == 1 else second * np.outer(factors, factors)
        return _plus(carried, difference.coefficients**2 * squares + difference.offset**2)
    if max(rounded.inputs, rounded.outputs) > LARGEST_PRODUCTS or moments is None:
        alone = rounded.with_coefficients(rounded.coefficients**2).linear(_diagonal(second)[None])[0]
        of_weights = difference.with_coefficients(difference.coefficients**2).linear(squares[None])[0]
        return np.asarray(alone + of_weights + difference.offset**2, dtype=np.float64)
    weights, changes = rounded.matrix(), difference.matrix()
    carried = (weights * second) @ weights.T if second.ndim == 1 else weights @ second @ weights.T
    offsets = np.outer(difference.offset, difference.offset)
    return np.asarray(carried + changes @ moments @ changes.T + offsets, dtype=np.float64)


def _coefficient_error(layer: Polynomial, rounded: Polynomial, reach: Values) -> Values:
    pairs = zip(layer.powers, rounded.powers, strict=True)
    return np.asarray(sum(abs(one - other) * reach**power for power, (one, other) in enumerate(pairs)))


def _polynomial_bound(layer: Polynomial, rounded: Polynomial, *, bound: Values, reach: Values) -> Values:
    slope = sum(power * abs(one) * (reach + bound) ** (power - 1) for power, one in enumerate(rounded.powers) if power)
    return np.asarray(slope * bound + _coefficient_error(layer, rounded, reach), dtype=np.float64)


def _polynomial_second(
    layer: Polynomial, rounded: Polynomial, second: Values, *, moments: Values | None, reach: Values
) -> Values:
    """Mean products of p'(x) e, of which those of the slopes are known from the sample, or taken at the usual reach."""
    if moments is None:
        slopes = sum(power * abs(one) * reach ** (power - 1) for power, one in enumerate(layer.powers) if power)
        carried = _diagonal(second) * np.asarray(slopes) ** 2
    else:
        carried = second * (np.diag(moments) if second.ndim == 1 else moments)
    return _plus(carried, _coefficient_error(layer, rounded, reach) ** 2)


def _layer_error(name: str, second: Values, bound: Values, squares: Values) -> LayerError:
    return LayerError(
        name=name,
        deviation=frozen_copy(np.sqrt(second), "deviations"),
        bound=frozen_copy(bound, "bounds"),
        scale=frozen_copy(np.sqrt(squares), "scales"),
    )
