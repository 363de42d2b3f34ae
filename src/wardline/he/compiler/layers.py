"""Layers of a program: linear maps, polynomials, and activations that still have to become polynomials.

Values are rows of numbers: what has a shape (images) is flattened, channels first, and the layers that need the shape
know it. All arrays are read-only copies in 64-bit numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev, polynomial

from wardline.core.extras import need
from wardline.he.compiler.convolution import Convolution, Values, frozen_copy

Basis: TypeAlias = Literal["power", "chebyshev"]
Kind: TypeAlias = Literal["relu", "tanh", "sigmoid", "gelu", "gelu-tanh"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HIGHEST_DEGREE = 4
"""Of a polynomial activation: each doubling costs a level of every model that has it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Affine:
    """Every output a weighted sum of all inputs, plus an offset.

    Attributes:
        weights: [outputs, inputs], finite.
        offset: [outputs], finite.
        name: as people call the layer.

    Raises:
        ValueError: for other shapes, or a number that is not finite.
    """

    weights: Values
    offset: Values
    name: str = "dense"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen_copy(self.weights, f"the weights of {self.name}"))
        object.__setattr__(self, "offset", frozen_copy(self.offset, f"the offset of {self.name}"))
        if self.weights.ndim != 2 or 0 in self.weights.shape or self.offset.shape != self.weights.shape[:1]:
            raise ValueError(f"{self.name} needs weights [outputs, inputs] and an offset [outputs]")

    @property
    def inputs(self) -> int:
        """Numbers that it reads."""
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        """Numbers that it gives."""
        return int(self.weights.shape[0])

    @property
    def products(self) -> int:
        """Multiplications by a weight that is not 0, for one row."""
        return int(np.count_nonzero(self.weights))

    @property
    def coefficients(self) -> Values:
        """The distinct weights, as they are stored."""
        return self.weights

    def with_coefficients(self, coefficients: Values) -> Affine:
        """The same map with other weights of the same shape."""
        return Affine(weights=coefficients, offset=self.offset, name=self.name)

    def with_offset(self, offset: Values) -> Affine:
        """The same map with another offset."""
        return Affine(weights=self.weights, offset=offset, name=self.name)

    def matrix(self) -> Values:
        """The weights [outputs, inputs]."""
        return self.weights

    def linear(self, x: Values) -> Values:
        """[rows, inputs] to [rows, outputs], without the offset."""
        product: Values = x @ self.weights.T
        return product

    def apply(self, x: Values) -> Values:
        """[rows, inputs] to [rows, outputs]."""
        return self.linear(x) + self.offset


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Diagonal:
    """Every number multiplied by a factor of its own, plus an offset: scalers and batch normalisation.

    Attributes:
        factors: [units], finite.
        offset: [units], finite.
        name: as people call the layer.

    Raises:
        ValueError: for other shapes, or a number that is not finite.
    """

    factors: Values
    offset: Values
    name: str = "scaling"

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", frozen_copy(self.factors, f"the factors of {self.name}"))
        object.__setattr__(self, "offset", frozen_copy(self.offset, f"the offset of {self.name}"))
        if self.factors.ndim != 1 or not len(self.factors) or self.offset.shape != self.factors.shape:
            raise ValueError(f"{self.name} needs a factor and an offset for each number")

    @property
    def inputs(self) -> int:
        """Numbers that it reads."""
        return len(self.factors)

    @property
    def outputs(self) -> int:
        """Numbers that it gives: as many."""
        return len(self.factors)

    @property
    def products(self) -> int:
        """Multiplications by a factor that is not 0, for one row."""
        return int(np.count_nonzero(self.factors))

    @property
    def coefficients(self) -> Values:
        """The factors."""
        return self.factors

    def with_coefficients(self, coefficients: Values) -> Diagonal:
        """The same map with other factors."""
        return Diagonal(factors=coefficients, offset=self.offset, name=self.name)

    def with_offset(self, offset: Values) -> Diagonal:
        """The same map with another offset."""
        return Diagonal(factors=self.factors, offset=offset, name=self.name)

    def matrix(self) -> Values:
        """The factors as a matrix [units, units]."""
        return np.diag(self.factors)

    def linear(self, x: Values) -> Values:
        """[rows, units] to the same, without the offset."""
        return x * self.factors

    def apply(self, x: Values) -> Values:
        """[rows, units] to the same."""
        return x * self.factors + self.offset


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polynomial:
    """One polynomial of every number.

    Attributes:
        coefficients: of the lowest degree first; the last one is not 0. Degree 1 to 4.
        basis: ``power`` of x itself, or ``chebyshev`` polynomials of the interval mapped to [-1, 1].
        interval: where it stands for what it replaced; outside of it nothing is promised.
        units: numbers that it reads.
        name: as people call the layer.

    Raises:
        ValueError: for anything else.
    """

    coefficients: tuple[float, ...]
    units: int
    basis: Basis = "power"
    interval: tuple[float, float] = (-1.0, 1.0)
    name: str = "polynomial"

    def __post_init__(self) -> None:
        if not 2 <= len(self.coefficients) <= HIGHEST_DEGREE + 1 or self.coefficients[-1] == 0:
            raise ValueError(f"{self.name} must be a polynomial of degree 1 to {HIGHEST_DEGREE}, its last term not 0")
        if not all(map(math.isfinite, (*self.coefficients, *self.interval))) or self.units < 1:
            raise ValueError(f"{self.name} needs finite coefficients and at least one number to read")
        if self.basis not in get_args(Basis) or not self.interval[0] < self.interval[1]:
            raise ValueError(f"{self.name} needs a basis (power or chebyshev) and an interval from low to high")

    @property
    def inputs(self) -> int:
        """Numbers that it reads."""
        return self.units

    @property
    def outputs(self) -> int:
        """Numbers that it gives: as many."""
        return self.units

    @property
    def degree(self) -> int:
        """Its degree."""
        return len(self.coefficients) - 1

    @property
    def powers(self) -> tuple[float, ...]:
        """The coefficients of 1, x, x^2, ...: what is computed on ciphertexts."""
        if self.basis == "power":
            return self.coefficients
        low, high = self.interval
        inner = np.array([-(high + low) / (high - low), 2.0 / (high - low)])
        total = np.zeros(1)
        for coefficient in chebyshev.cheb2poly(np.array(self.coefficients))[::-1]:
            total = polynomial.polyadd(polynomial.polymul(total, inner), [coefficient])
        total = np.pad(total, (0, max(0, len(self.coefficients) - len(total))))
        return tuple(float(one) for one in total[: len(self.coefficients)])

    def apply(self, x: Values) -> Values:
        """[rows, units] to the same."""
        if self.basis == "power":
            return np.asarray(polynomial.polyval(x, np.array(self.coefficients)), dtype=np.float64)
        low, high = self.interval
        inner = (2.0 * x - (high + low)) / (high - low)
        return np.asarray(chebyshev.chebval(inner, np.array(self.coefficients)), dtype=np.float64)

    def slope(self, x: Values) -> Values:
        """Its derivative at each number, shaped as `x`."""
        return np.asarray(polynomial.polyval(x, polynomial.polyder(np.array(self.powers))), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A function of every number that is no polynomial: a program with one is the plain reference, and no more.

    `wardline.he.compiler.polynomials.fit_activations` puts a polynomial in its place.

    Attributes:
        kind: ``gelu`` is the exact one (by erf), ``gelu-tanh`` its usual approximation.
        units: numbers that it reads.
        name: as people call the layer.

    Raises:
        ValueError: for another kind, or no units.
    """

    kind: Kind
    units: int
    name: str = "activation"

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.units < 1:
            raise ValueError(f"{self.name} must be one of {', '.join(KINDS)} of at least one number")

    @property
    def inputs(self) -> int:
        """Numbers that it reads."""
        return self.units

    @property
    def outputs(self) -> int:
        """Numbers that it gives: as many."""
        return self.units

    def apply(self, x: Values) -> Values:
        """[rows, units] to the same."""
        return activation_values(self.kind, x)


Linear: TypeAlias = Affine | Diagonal | Convolution
"""What merges with its like."""

Layer: TypeAlias = Affine | Diagonal | Convolution | Polynomial | Activation


def activation_values(kind: Kind, x: npt.NDArray[Any]) -> Values:
    """A named activation of each number, in 64-bit numbers."""
    return _FUNCTIONS[kind](np.asarray(x, dtype=np.float64))


def _sigmoid(x: Values) -> Values:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # never overflows


def _gelu(x: Values) -> Values:
    return np.asarray(x * need("scipy.special", extra="torch").ndtr(x), dtype=np.float64)


def _gelu_tanh(x: Values) -> Values:
    return np.asarray(0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))), dtype=np.float64)


_FUNCTIONS: Mapping[Kind, Callable[[Values], Values]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "gelu-tanh": _gelu_tanh,
}
