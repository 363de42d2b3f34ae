"""What noise is added to: whole numbers per group, made from the exact statistics, and how far a person moves them.

A mean needs a sum and a count. Measured one by one, each takes a part of the budget. Instead, each row's clipped value,
as a share u of its range, is split into parts that add up to 1: (1 - u, u), and for a variance ((1 - u)**2,
2 u (1 - u), u**2). A row then moves the parts together by exactly 1, as a count would be moved, so the
sums of the parts cost no more than the count alone; and count, sum and sum of squares are weighted sums of them.
With Laplace noise this halves the variance of a mean against a budget divided between count and centred sum.

Proof that sensitivities carry over: the parts of a row are not negative and add up to W steps. A person with c rows in
a cell moves the parts there by v with sum(v) = c W, so by at most c W in L1, and in L2 no more. Over cells, v's norms
are at most W times those of the vector of row counts, for which `Sensitivity` of the rows holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from wardline.dp.queries.frame import Frame, Sensitivity
from wardline.dp.queries.sensitivity import of_persons, of_rows, reach
from wardline.dp.queries.statistics import PERSONS, ROWS, Quantised, specs
from wardline.dp.releases.noise import IntArray
from wardline.dp.releases.trees import Tree

if TYPE_CHECKING:
    from wardline.dp.queries.aggregates import Histogram, Magnitudes, Mean, Quantiles, Sum, Variance
    from wardline.dp.queries.query import Query


class Measure(Protocol):
    """Whole numbers per group to which independent noise of one scale is added."""

    @property
    def name(self) -> str:
        """What it is called within a release."""

    @property
    def numbers(self) -> int:
        """How many whole numbers a group has."""

    def sensitivity(self, query: Query) -> Sensitivity:
        """How far one person moves all of them together, in steps."""

    def exact(self, frame: Frame) -> IntArray:
        """The exact numbers, of shape (groups, numbers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """How many rows a group has."""

    name: str = field(default="rows", init=False)
    numbers: int = field(default=1, init=False)

    def sensitivity(self, query: Query) -> Sensitivity:
        """A person's rows."""
        return of_rows(query, 1)

    def exact(self, frame: Frame) -> IntArray:
        """The counts."""
        return frame.statistics[ROWS.name].values[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonCount:
    """How many persons a group has."""

    name: str = field(default="persons", init=False)
    numbers: int = field(default=1, init=False)

    def sensitivity(self, query: Query) -> Sensitivity:
        """One in each of a person's groups."""
        return of_persons(query)

    def exact(self, frame: Frame) -> IntArray:
        """The counts."""
        return frame.statistics[PERSONS.name].values[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A sum about 0; with the number of rows at no further cost, where all values have one sign and it is wanted.

    The numbers are the sum in steps; or, with rows, (most * rows - abs(sum), abs(sum)).

    Attributes:
        aggregate: what was asked.
        with_rows: whether the number of rows is wanted, too; it is given only if `sign` is not 0.
    """

    aggregate: Sum
    with_rows: bool

    @property
    def name(self) -> str:
        """Named after the aggregate."""
        return f"sum {self.aggregate.label}"

    @property
    def quantised(self) -> Quantised:
        """How a value becomes a whole number."""
        derived = specs(self.aggregate)["sum"].derived
        assert isinstance(derived, Quantised)
        return derived

    @property
    def sign(self) -> int:
        """The sign that all values have, 0 if they may have either."""
        low, high = (self.quantised.steps(end) for end in (self.quantised.lower, self.quantised.upper))
        return 1 if low >= 0 else -1 if high <= 0 else 0

    @property
    def carries_rows(self) -> bool:
        """Whether the number of rows can be had from it."""
        return self.with_rows and self.sign != 0 and self.quantised.most > 0

    @property
    def numbers(self) -> int:
        """One or two."""
        return 2 if self.carries_rows else 1

    def sensitivity(self, query: Query) -> Sensitivity:
        """The largest value, for each of a person's rows."""
        return of_rows(query, max(1, self.quantised.most))

    def exact(self, frame: Frame) -> IntArray:
        """The sums, perhaps with what they lack of their largest possible value."""
        sums = frame.statistics[specs(self.aggregate)["sum"].name].values
        if not self.carries_rows:
            return sums[:, None]
        sums = sums * self.sign
        return np.stack([frame.statistics[ROWS.name].values * self.quantised.most - sums, sums], axis=1)


_SHIFT = 20  # bits that parts of a variance lose after they were added up, so that they fit 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The parts of clipped values: two for a mean, three for a variance; and the rows without a value, if wanted.

    Attributes:
        aggregate: the mean or variance that was asked for; of several about one column and range, a variance.
        squares: whether there are three parts.
        with_missing: whether the last number is that of rows without a value, which a count of rows needs.
    """

    aggregate: Mean | Variance
    squares: bool
    with_missing: bool

    @property
    def name(self) -> str:
        """Named after the aggregate."""
        return f"values {self.aggregate.label}"

    @property
    def quantised(self) -> Quantised:
        """How a value becomes a whole number, about the middle of its range."""
        derived = specs(self.aggregate)["sum"].derived
        assert isinstance(derived, Quantised)
        return derived

    @property
    def parts(self) -> int:
        """How many parts a value has."""
        return 3 if self.squares else 2

    @property
    def numbers(self) -> int:
        """How many numbers a group has."""
        return self.parts + self.with_missing

    @property
    def span(self) -> tuple[float, float]:
        """The values that u = 0 and u = 1 stand for: the range, rounded to whole steps."""
        reach = self.quantised.quantum * self.quantised.most
        return self.quantised.centre - reach, self.quantised.centre + reach

    @property
    def per_row(self) -> int:
        """W: how many steps the parts of a row add up to."""
        most = self.quantised.most
        return (2 * most) ** 2 >> _SHIFT if self.squares else 2 * most

    def sensitivity(self, query: Query) -> Sensitivity:
        """W for each of a person's rows; for three parts also what rounding can add."""
        if not self.squares:
            return of_rows(query, self.per_row)
        found = reach(query)
        assert found.groups is not None and found.rows_per_group is not None
        # Before the shift a row's parts add up to exactly (2 most)**2. A square is known only to its own quantum, so a
        # part may lie below 0 by `slack` in all; the shift rounds each of three parts in each of a person's groups.
        slack = self._slack()
        rows = of_rows(query, (2 * self.quantised.most) ** 2 + slack)
        ends = 3 * found.groups
        l1 = -(-rows.l1 >> _SHIFT) + ends
        l2 = (math.isqrt(rows.l2_squared) + 1 >> _SHIFT) + 1 + math.isqrt(ends) + 1
        return Sensitivity(l1=l1, l2_squared=l2 * l2, linf=(rows.linf >> _SHIFT) + 2)

    def exact(self, frame: Frame) -> IntArray:
        """The sums of the parts."""
        names = specs(self.aggregate)
        most = self.quantised.most
        values, sums = frame.statistics[names["count"].name].values, frame.statistics[names["sum"].name].values
        if self.squares:
            parts = self._three(frame, values, sums)
        else:
            parts = np.stack([most * values - sums, most * values + sums], axis=1)
        if not self.with_missing:
            return parts
        missing = frame.statistics[ROWS.name].values - values
        return np.concatenate([parts, missing[:, None] * self.per_row], axis=1)

    def _three(self, frame: Frame, values: IntArray, sums: IntArray) -> IntArray:
        squared = self._squared()
        squares = frame.statistics[specs(_as_variance(self.aggregate))["squares"].name].values
        # Python's whole numbers: products of two sums of steps may pass 64 bits before they are shifted.
        count, first = values.astype(object), sums.astype(object)
        second = (squares.astype(object) + squared.offset * count) << self._square_bits()
        most = self.quantised.most
        ends = most * most * count + second
        parts = [ends - 2 * most * first, 2 * (most * most * count - second), ends + 2 * most * first]
        return np.stack([(part >> _SHIFT).astype(np.int64) for part in parts], axis=1)

    def _squared(self) -> Quantised:
        derived = specs(_as_variance(self.aggregate))["squares"].derived
        assert isinstance(derived, Quantised)
        return derived

    def _square_bits(self) -> int:
        """How many bits a square in its own quantum lacks against one in squared steps of the sum."""
        bits = math.frexp(self._squared().quantum / self.quantised.quantum**2)[1] - 1
        assert self._squared().quantum == math.ldexp(self.quantised.quantum**2, bits) and bits >= 0
        return bits

    def _slack(self) -> int:
        """How much larger than the sum of a row's parts the sum of their sizes can be.

        The square is off by half of its quantum, 2**(bits - 1); rounding the value to a step moves its square by
        less than most + 1. A part that these two make negative counts twice, and there are at most four such errors.
        """
        return 8 * ((1 << self._square_bits()) + self.quantised.most + 1)


def _as_variance(aggregate: Mean | Variance) -> Variance:
    from wardline.dp.queries.aggregates import Variance

    return Variance(aggregate.column, lower=aggregate.lower, upper=aggregate.upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinCounts:
    """How many rows each bin has, measured at the levels of a tree.

    Attributes:
        aggregate: what was asked.
        tree: how the bins are measured.
    """

    aggregate: Quantiles | Histogram | Magnitudes
    tree: Tree

    @property
    def name(self) -> str:
        """Named after the aggregate."""
        return f"bins {self.aggregate.label}"

    @property
    def numbers(self) -> int:
        """One for each node."""
        return self.tree.nodes

    def sensitivity(self, query: Query) -> Sensitivity:
        """Each row counts once in each level."""
        rows = of_rows(query, 1)
        levels = self.tree.levels
        return Sensitivity(l1=levels * rows.l1, l2_squared=levels * rows.l2_squared, linf=rows.linf)

    def exact(self, frame: Frame) -> IntArray:
        """The counts of all nodes."""
        return self.tree.measure(frame.statistics[specs(self.aggregate)["bins"].name].values)
