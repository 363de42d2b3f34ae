"""Polynomials in the place of activations: fitted where the values lie, with the error that is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from wardline.core import DataError
from wardline.core.extras import need
from wardline.he.compiler.convolution import Values
from wardline.he.compiler.layers import HIGHEST_DEGREE, Activation, Layer, Polynomial, activation_values
from wardline.he.compiler.program import Program

Method: TypeAlias = Literal["least-squares", "minimax"]

_GRID = 2049
_COARSE_GRID = 513  # of the linear programme, whose time grows faster than the grid
_SPREAD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A polynomial and how far it is from what it stands for.

    Attributes:
        polynomial: in the Chebyshev basis of its interval.
        what: the activation's kind, or another name.
        method: by which it was found.
        largest_error: the most that it differs on a grid of 2,049 points of the interval, the ends included.
        typical_error: the root of the mean squared difference over the sample, or over the grid where there is none.
    """

    polynomial: Polynomial
    what: str
    method: Method
    largest_error: float
    typical_error: float

    def __str__(self) -> str:
        low, high = self.polynomial.interval
        return (
            f"{self.polynomial.name}: {self.what} by degree {self.polynomial.degree} on [{low:.3g}, {high:.3g}] "
            f"({self.method}), error {self.typical_error:.2g} typical, {self.largest_error:.2g} at most"
        )


def fit_polynomial(
    function: Callable[[Values], Values],
    interval: tuple[float, float],
    *,
    degree: int,
    method: Method = "least-squares",
    sample: npt.NDArray[Any] | None = None,
    what: str = "function",
) -> Fit:
    """The polynomial that is nearest to a function on an interval.

    Args:
        function: of an array, number by number.
        interval: low and high, finite.
        degree: 2 to 4. An even or odd function may be fitted by one degree less.
        method: ``least-squares`` weighs every place by how many values of the sample lie there (and all of the
            interval a little, so that it is bound everywhere); ``minimax`` makes the largest error as small as it can
            be, by linear programming over a grid.
        sample: values that the function meets, of any shape; None weighs all places alike.
        what: named in the result.

    Raises:
        ValueError: for a degree or an interval out of range, or a function that is constant there.

    References:
        Trefethen 2013 (Approximation Theory and Approximation Practice), chapters 3, 10 and 16; Cheney 1966, chapter 3.
    """
    low, high = interval
    if not 2 <= degree <= HIGHEST_DEGREE:
        raise ValueError(f"degree must lie between 2 and {HIGHEST_DEGREE}, not {degree}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("the interval must go from a finite low to a higher one")
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}")
    met = np.empty(0) if sample is None else np.clip(np.asarray(sample, dtype=np.float64).ravel(), low, high)
    places = np.cos(np.linspace(math.pi, 0.0, _GRID))  # dense towards the ends, where polynomials run away
    targets = function(_at(places, interval))
    if float(np.ptp(targets)) == 0.0:
        raise ValueError(f"{what} is constant on [{low:.3g}, {high:.3g}]: there is nothing to fit")
    if method == "minimax":
        stride = (_GRID - 1) // (_COARSE_GRID - 1)
        coefficients = _minimax(places[::stride], targets[::stride], degree)
    else:
        coefficients = _least_squares(function, interval, degree=degree, met=met)
    while len(coefficients) > 2 and abs(coefficients[-1]) <= 1e-12 * max(1e-300, float(np.abs(coefficients).max())):
        coefficients = coefficients[:-1]
    found = Polynomial(
        coefficients=tuple(map(float, coefficients)), units=1, basis="chebyshev", interval=(float(low), float(high))
    )
    reference = met if len(met) else np.linspace(low, high, _GRID)
    return Fit(
        polynomial=found,
        what=what,
        method=method,
        largest_error=float(np.abs(chebyshev.chebval(places, coefficients) - targets).max()),
        typical_error=float(np.sqrt(np.mean((found.apply(reference) - function(reference)) ** 2))),
    )


def fit_activations(
    program: Program,
    sample: npt.NDArray[Any],
    *,
    degree: int | Sequence[int] = 2,
    method: Method = "least-squares",
    margin: float = 0.1,
) -> tuple[Program, tuple[Fit, ...]]:
    """Put polynomials in the place of all activations of a program, front to back.

    Each is fitted to the values that come in once the activations before it are polynomials, so that a later one makes
    up for what an earlier one shifted.

    Args:
        program: with activations, or without, when nothing changes.
        sample: rows like those that will be scored, at least two.
        degree: of all, or of each in order; 2 to 4.
        method: see `fit_polynomial`.
        margin: by which share of its width the range of values is widened on each side, at least 0.

    Returns:
        The program that can be computed on ciphertexts, and what each polynomial leaves of its activation.

    Raises:
        ValueError: for arguments out of range.
        DataError: if the sample has fewer than two rows, or values before an activation are all alike.
    """
    if len(sample) < 2:
        raise DataError("a sample of at least two rows is needed to fit activations", hint="give more rows")
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError("margin must be a finite number of at least 0")
    count = sum(isinstance(layer, Activation) for layer in program.layers)
    degrees = [degree] * count if isinstance(degree, int) else list(degree)
    if len(degrees) != count:
        raise ValueError(f"{len(degrees)} degrees do not fit {count} activations")
    values = program.rows(sample)
    layers: list[Layer] = []
    fits: list[Fit] = []
    for layer in program.layers:
        if isinstance(layer, Activation):
            fit = _fit_one(layer, values, degree=degrees[len(fits)], method=method, margin=margin)
            fits.append(fit)
            layers.append(fit.polynomial)
        else:
            layers.append(layer)
        values = layers[-1].apply(values)
    return replace(program, layers=tuple(layers)), tuple(fits)


def _fit_one(layer: Activation, values: Values, *, degree: int, method: Method, margin: float) -> Fit:
    low, high = float(values.min()), float(values.max())
    if not low < high:
        raise DataError(
            f"all values before {layer.name} are alike in the sample", hint="give a sample that shows what varies"
        )
    wide = margin * (high - low)
    fit = fit_polynomial(
        lambda x: activation_values(layer.kind, x),
        (low - wide, high + wide),
        degree=degree,
        method=method,
        sample=values,
        what=layer.kind,
    )
    return replace(fit, polynomial=replace(fit.polynomial, units=layer.units, name=layer.name))


def _at(places: Values, interval: tuple[float, float]) -> Values:
    low, high = interval
    return 0.5 * (low + high) + 0.5 * (high - low) * places


def _least_squares(
    function: Callable[[Values], Values], interval: tuple[float, float], *, degree: int, met: Values
) -> Values:
    # A histogram rather than the values: as many equations for a thousand values as for a billion.
    edges = np.linspace(-1.0, 1.0, _GRID)
    places = 0.5 * (edges[1:] + edges[:-1])
    weights = np.full(len(places), 1.0 / len(places))
    if len(met):
        low, high = interval
        counts, _ = np.histogram((2.0 * met - (low + high)) / (high - low), bins=edges)
        weights = (1.0 - _SPREAD) * counts / len(met) + _SPREAD * weights
    root = np.sqrt(weights)
    table = chebyshev.chebvander(places, degree) * root[:, None]
    solution, *_ = np.linalg.lstsq(table, function(_at(places, interval)) * root, rcond=None)
    return np.asarray(solution, dtype=np.float64)


def _minimax(places: Values, targets: Values, degree: int) -> Values:
    """Coefficients with the least largest error at these places: a linear programme in them and the error."""
    optimize = need("scipy.optimize", extra="torch")
    table = chebyshev.chebvander(places, degree)
    ones = np.ones((len(places), 1))
    solved = optimize.linprog(
        np.append(np.zeros(degree + 1), 1.0),
        A_ub=np.block([[table, -ones], [-table, -ones]]),
        b_ub=np.concatenate([targets, -targets]),
        bounds=[(None, None)] * (degree + 1) + [(0, None)],
        method="highs",
    )
    if not solved.success:
        raise ValueError(f"no minimax polynomial was found: {solved.message}")
    return np.asarray(solved.x[:-1], dtype=np.float64)
