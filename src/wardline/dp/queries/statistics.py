"""Which statistics an aggregate is computed from, and the whole number that each row adds to each of them.

A value x becomes a whole number by IEEE 754 operations on doubles alone: compare, subtract, multiply, divide, add, and
floor. Each is rounded correctly and in the same way on every engine, so that all engines get the same number. As each
is monotone, so is their chain: the largest number that a clipped value can become is that of an end of the range, and
the sensitivity computed here from the ends is exact. Sums of whole numbers do not depend on their order.

Mean and variance are computed about the middle of the range, which halves the size of what is summed; the count that
this needs is needed anyway. A sum alone is computed about 0, since centring it would need a noisy count besides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from wardline.dp.queries.aggregates import (
    MAGNITUDES,
    Aggregate,
    Count,
    Histogram,
    Magnitudes,
    Mean,
    Persons,
    Quantiles,
    Ranged,
    Sum,
    TopK,
    Variance,
)

STEPS = 2**20
"""A clipped value becomes a whole number of at most this size, unless a quantum is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """How a value x becomes a whole number: floor((clip(x, lower, upper) - centre + quantum / 2) / quantum).

    If `squared`, the square of such a number, made with the quantum `fine`, is divided by quantum / fine**2, rounded in
    the same way, and diminished by `offset`. Neither form can underflow, which one of the engines takes for an error.

    Attributes:
        column: what x is.
        lower, upper: what it is clipped to.
        centre: what is taken off, in the column's unit.
        quantum: the unit of one step (squared, if `squared`).
        fine: for squares, the quantum before squaring, a power of two; 0 if no square is taken.
        offset: steps taken off a square, half of the largest one.
    """

    column: str
    lower: float
    upper: float
    centre: float
    quantum: float
    fine: float = 0.0
    offset: int = 0

    @property
    def squared(self) -> bool:
        """Whether the square is taken."""
        return self.fine > 0

    def steps(self, value: float) -> int:
        """The whole number for a value within the range: the same chain of operations as in SQL."""
        distance = value - self.centre
        if not self.squared:
            return math.floor((distance + self.quantum / 2) / self.quantum)
        z = float(math.floor((distance + self.fine / 2) / self.fine))
        return math.floor(z * z / (self.quantum / self.fine**2) + 0.5) - self.offset

    @property
    def most(self) -> int:
        """The largest size of such a number."""
        ends = [self.steps(self.lower), self.steps(self.upper)]
        return max(map(abs, [*ends, -self.offset] if self.squared else ends))


@dataclass(frozen=True, slots=True, kw_only=True)
class Binned:
    """How a value x becomes the number of a bin: from 0, ascending.

    Attributes:
        column: what x is.
        edges: the edges of the bins; for `even` bins, the two ends of the range.
        even: 0, or the number of bins of equal width between two ends, to which x is clipped.
        open: whether there is a bin below the first edge and one from the last edge on. If not, a value there is in no
            bin, and the last edge belongs to the last bin.
    """

    column: str
    edges: tuple[float, ...]
    even: int = 0
    open: bool = False

    @property
    def bins(self) -> int:
        """How many bins."""
        return self.even or len(self.edges) + (1 if self.open else -1)

    @property
    def width(self) -> float:
        """The width of even bins, in the column's unit."""
        return (self.edges[-1] - self.edges[0]) / self.even


Derived = Quantised | Binned


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One statistic.

    Attributes:
        name: under which the frame holds it.
        kind: ``rows`` counts rows, ``persons`` persons, ``values`` the rows whose derived number is present; ``sum``
            adds derived numbers up; ``bins`` counts rows by them.
        derived: the number that each row has; None for rows and persons.
    """

    name: str
    kind: Literal["rows", "persons", "values", "sum", "bins"]
    derived: Derived | None = None


ROWS = Spec(name="rows", kind="rows")
PERSONS = Spec(name="persons", kind="persons")


def specs(aggregate: Aggregate) -> Mapping[str, Spec]:
    """The statistics that an aggregate is computed from, by their role. Empty for a top-k, which has its own frame.

    Raises:
        ValueError: if the aggregate lacks its range.
    """
    match aggregate:
        case Count():
            return {"count": ROWS}
        case Persons():
            return {"persons": PERSONS}
        case Sum():
            return {"sum": _spec("sum", _about(aggregate, centred=False))}
        case Mean():
            first = _about(aggregate, centred=True)
            return {"count": _values(first), "sum": _spec("sum", first)}
        case Variance():
            first = _about(aggregate, centred=True)
            return {"count": _values(first), "sum": _spec("sum", first), "squares": _spec("sum", _square(first))}
        case Quantiles():
            ends = _range(aggregate)
            return {"bins": _spec("bins", Binned(column=aggregate.column, edges=ends, even=aggregate.bins))}
        case Histogram():
            return {"bins": _spec("bins", Binned(column=aggregate.column, edges=tuple(aggregate.edges)))}
        case Magnitudes():
            return {"bins": _spec("bins", Binned(column=aggregate.column, edges=MAGNITUDES, open=True))}
        case TopK():
            return {}
        case _:
            assert_never(aggregate)


def statistic_names(aggregate: Aggregate) -> Mapping[str, str]:
    """The names of the statistics that an aggregate is computed from, by their role.

    Raises:
        ValueError: if the aggregate lacks its range.
    """
    return {role: spec.name for role, spec in specs(aggregate).items()}


def _values(derived: Quantised) -> Spec:
    return Spec(name=f"values of {derived.column!r}", kind="values", derived=derived)


def _spec(kind: Literal["sum", "bins"], derived: Derived) -> Spec:
    if isinstance(derived, Binned):
        what = f"{derived.even} of [{derived.edges[0]!r}, {derived.edges[-1]!r}]" if derived.even else derived.edges
        return Spec(name=f"bins of {derived.column!r}: {what}", kind=kind, derived=derived)
    power = "**2" if derived.squared else ""
    about = f"[{derived.lower!r}, {derived.upper!r}] about {derived.centre!r} in {derived.quantum!r}"
    return Spec(name=f"sum of {derived.column!r}{power}: {about}", kind=kind, derived=derived)


def _range(aggregate: Ranged) -> tuple[float, float]:
    if aggregate.lower is None or aggregate.upper is None:
        raise ValueError(f"{aggregate.label!r} has no range yet; give lower and upper, or find them first")
    return aggregate.lower, aggregate.upper


def _about(aggregate: Sum | Mean | Variance, *, centred: bool) -> Quantised:
    lower, upper = _range(aggregate)
    centre = lower + (upper - lower) / 2 if centred else 0.0
    most = max(abs(lower - centre), abs(upper - centre))
    quantum = aggregate.quantum if isinstance(aggregate, Sum) and aggregate.quantum else _power_of_two(most)
    return Quantised(column=aggregate.column, lower=lower, upper=upper, centre=centre, quantum=quantum)


def _square(first: Quantised) -> Quantised:
    # Squares of numbers up to 2**31 are divided by 2**42: again at most STEPS of them.
    fine = _power_of_two(max(abs(first.lower - first.centre), abs(first.upper - first.centre))) / 2**11
    plain = replace(first, fine=fine, quantum=fine**2 * 2**42)
    return replace(plain, offset=max(plain.steps(first.lower), plain.steps(first.upper)) // 2)


def _power_of_two(most: float) -> float:
    """The least power of two of which `STEPS` cover `most`: division by it rounds nothing."""
    fraction, exponent = math.frexp(most)
    return math.ldexp(1.0, (exponent - 1 if fraction == 0.5 else exponent) - STEPS.bit_length() + 1)
