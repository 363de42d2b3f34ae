"""Programs in fixed-point numbers: what ciphertexts compute, without ciphertexts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core.checks import at_least
from wardline.he.compiler.convolution import Values
from wardline.he.compiler.layers import Activation, Layer, Linear, Polynomial
from wardline.he.compiler.merging import adds_only
from wardline.he.compiler.program import Program

_MOST_BITS = 52


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """How finely numbers are written.

    Attributes:
        inputs: of an input, its sign included: 2 to 52. Inputs in [-1, 1] are multiples of 1 / (2^(inputs - 1) - 1).
        weights: of a weight, its sign included: 2 to 52. The largest weight of a layer gets all of them.
        scale: offsets and the coefficients of polynomials are multiples of 2^-scale; 1 to 52.

    Raises:
        ValueError: for a figure out of range.
    """

    inputs: int = 16
    weights: int = 12
    scale: int = 26

    def __post_init__(self) -> None:
        for name, least in (("inputs", 2), ("weights", 2), ("scale", 1)):
            if at_least(name, getattr(self, name), least) > _MOST_BITS:
                raise ValueError(f"{name} must be at most {_MOST_BITS} bits")

    @property
    def input_step(self) -> float:
        """Between two inputs that can be told apart."""
        return float(1.0 / (2 ** (self.inputs - 1) - 1))

    @property
    def scale_step(self) -> float:
        """Between two offsets that can be told apart."""
        return math.ldexp(1.0, -self.scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What encryption adds, as standard deviations of the values themselves (noise over scale).

    Attributes:
        inputs: of a fresh ciphertext.
        maps: of a linear map that uses up a level: rounding when the scale is taken away.
        products: of a product of ciphertexts: switching keys and rounding.
        answer: of what is added to an answer to hide the weights.

    Raises:
        ValueError: for a figure that is negative or not finite.
    """

    inputs: float = 0.0
    maps: float = 0.0
    products: float = 0.0
    answer: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(one) and one >= 0 for one in (self.inputs, self.maps, self.products, self.answer)):
            raise ValueError("standard deviations are finite and at least 0")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerWeights:
    """A linear map's weights as integers.

    Attributes:
        integers: shaped as the layer's coefficients, within +-(2^(bits - 1) - 1).
        step: what one stands for.
    """

    integers: npt.NDArray[np.int64]
    step: float


def integer_weights(layer: Linear, bits: int) -> IntegerWeights:
    """Weights rounded to integers; those that are 0, 1 and -1 only stay what they are.

    Args:
        layer: a linear map.
        bits: of an integer, its sign included, from 2 to 52.
    """
    largest = float(np.abs(layer.coefficients).max())
    whole = bool((layer.coefficients == np.round(layer.coefficients)).all()) and largest < 2 ** (bits - 1)
    step = 1.0 if whole or largest == 0.0 else largest / (2 ** (bits - 1) - 1)
    integers = np.round(layer.coefficients / step).astype(np.int64)
    integers.setflags(write=False)
    return IntegerWeights(integers=integers, step=step)


def rounded_layer(layer: Layer, bits: Bits) -> Layer:
    """A layer with weights, offsets and coefficients as they are written.

    Raises:
        ValueError: for an activation.
    """
    match layer:
        case Activation():
            raise ValueError(f"{layer.name} is no polynomial: fit the program's activations first")
        case Polynomial():
            powers = [bits.scale_step * round(one / bits.scale_step) for one in layer.powers]
            if powers[-1] == 0:
                raise ValueError(f"the last coefficient of {layer.name} is lost at a scale of {bits.scale} bits")
            return Polynomial(coefficients=tuple(powers), units=layer.units, interval=layer.interval, name=layer.name)
        case _:
            weights = integer_weights(layer, bits.weights)
            offset = np.round(layer.offset / bits.scale_step) * bits.scale_step
            rounded = np.asarray(weights.integers * weights.step, dtype=np.float64)
            return layer.with_coefficients(rounded).with_offset(offset)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantisedProgram:
    """A program as ciphertexts compute it, in the clear: the simulated mode.

    Attributes:
        program: the plain one, for inputs in [-1, 1] (see `unit_inputs`), its activations polynomials.
        bits: how finely numbers are written.
        layers: its layers, rounded.

    Raises:
        ValueError: if an activation is left, or a coefficient is lost.
    """

    program: Program
    bits: Bits
    layers: tuple[Layer, ...]

    def rows(self, x: npt.NDArray[Any]) -> Values:
        """Rows as they are encrypted: multiples of the input step.

        Raises:
            ValueError: for another shape, a number that is not finite or one beyond [-1, 1].
        """
        rows = self.program.rows(x)
        if bool((np.abs(rows) > 1.0 + 1e-9).any()):
            raise ValueError("inputs of a quantised program lie in [-1, 1]: scale and clip rows first")
        return np.asarray(np.round(rows / self.bits.input_step) * self.bits.input_step, dtype=np.float64)

    def evaluate(
        self, x: npt.NDArray[Any], *, noise: Noise | None = None, random: np.random.Generator | None = None
    ) -> Values:
        """Outputs of rounded rows through rounded layers.

        Args:
            x: [rows, inputs] in [-1, 1].
            noise: what encryption would add, drawn as normal numbers; None adds nothing.
            random: where it is drawn from: an experiment, not a protection. Needed with noise.

        Returns:
            [rows, outputs].

        Raises:
            ValueError: for rows that do not fit, or noise without a generator.
        """
        if noise is not None and random is None:
            raise ValueError("noise needs a generator to be drawn from")
        values = self.rows(x)
        if noise is None or random is None:
            for layer in self.layers:
                values = layer.apply(values)
            return values
        values = values + random.normal(0.0, noise.inputs, values.shape)
        for layer in self.layers:
            values = layer.apply(values)
            values = values + random.normal(0.0, layer_noise(layer, noise), values.shape)
        return np.asarray(values + random.normal(0.0, noise.answer, values.shape), dtype=np.float64)


def quantise(program: Program, bits: Bits) -> QuantisedProgram:
    """The program in fixed-point numbers.

    Args:
        program: for inputs in [-1, 1], without activations that are no polynomials.
        bits: how finely.

    Raises:
        ValueError: if an activation is left, or a coefficient is lost.
    """
    layers = tuple(rounded_layer(layer, bits) for layer in program.layers)
    return QuantisedProgram(program=program, bits=bits, layers=layers)


def layer_noise(layer: Layer, noise: Noise) -> float:
    """The standard deviation of what encryption adds in a layer: nothing for a map that only adds.

    A polynomial's is that of its last product, and that of x^2 times what it is multiplied by within the interval.
    """
    match layer:
        case Polynomial():
            _, _, *higher = (*layer.powers, 0.0, 0.0, 0.0)
            reach = max(map(abs, layer.interval))
            if layer.degree <= 2:
                return noise.products * max(1.0, abs(higher[0]))
            gain = abs(higher[0]) + reach * abs(higher[1]) + 2.0 * reach**2 * abs(higher[2])
            return noise.products * math.hypot(1.0, gain)
        case Activation():
            raise ValueError(f"{layer.name} is no polynomial: fit the program's activations first")
        case _:
            return 0.0 if adds_only(layer) else noise.maps
