"""What can be computed per group. Each is a frozen value that names a column and the range that its values count in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from wardline.core.checks import at_least, positive
from wardline.dp.queries.values import KeyValue, check_name, checked_values

MAGNITUDES = tuple(-(2.0**e) for e in range(62, -31, -1)) + tuple(2.0**e for e in range(-30, 63))
"""Edges of the bins of `Magnitudes`, from -2**62 to 2**62; below the first and above the last are bins, too.

Bin i holds the values x with MAGNITUDES[i - 1] <= x < MAGNITUDES[i]; bin len(MAGNITUDES) // 2 is the one around zero.
"""

MOST_BINS = 1_000_000


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows a group has."""

    _: KW_ONLY
    label: str = "count"

    def __post_init__(self) -> None:
        check_name("label", self.label)


@dataclass(frozen=True, slots=True)
class Persons:
    """How many different persons a group has."""

    _: KW_ONLY
    label: str = "persons"

    def __post_init__(self) -> None:
        check_name("label", self.label)


@dataclass(frozen=True, slots=True)
class _Ranged:
    """What the aggregates of a clipped number have in common.

    Attributes:
        column: a column of numbers.
        lower, upper: values beyond them are clipped to them, in the column's unit, lower < upper. None, both of them:
            found privately, which is charged.
        label: what the result's column is called; empty for a name made of the aggregate and the column.
    """

    column: str
    _: KW_ONLY
    lower: float | None = None
    upper: float | None = None
    label: str = ""

    def __post_init__(self) -> None:
        check_name("column", self.column)
        if (self.lower is None) != (self.upper is None):
            raise ValueError(f"{self.column!r}: give both lower and upper, or neither")
        if self.lower is not None and self.upper is not None:
            if not (math.isfinite(self.lower) and math.isfinite(self.upper)):
                raise ValueError(f"{self.column!r}: lower and upper must be finite")
            if not self.lower < self.upper:
                raise ValueError(f"{self.column!r}: lower must be below upper, not {self.lower} and {self.upper}")
            # Kept as floats, so that 0 and 0.0 are one query with one digest.
            object.__setattr__(self, "lower", float(self.lower))
            object.__setattr__(self, "upper", float(self.upper))
            if not self.lower < self.upper or not 1e-150 < self.upper - self.lower < 1e150:
                raise ValueError(f"{self.column!r}: lower and upper must lie between 1e-150 and 1e150 apart")
        if not self.label:
            object.__setattr__(self, "label", f"{self.column}_{type(self).__name__.lower()}")
        check_name("label", self.label, longest=2048)


@dataclass(frozen=True, slots=True)
class Sum(_Ranged):
    """The sum of a column's values, clipped.

    Attributes:
        quantum: values are rounded to multiples of it (after the middle of the range was taken off); None picks a power
            of two that is at most a millionth of the range.
    """

    quantum: float | None = None

    def __post_init__(self) -> None:
        _Ranged.__post_init__(self)
        if self.quantum is not None:
            positive("quantum", self.quantum)
            if self.lower is None or self.upper is None:
                raise ValueError(f"{self.column!r}: a quantum needs lower and upper")
            if not 1 <= (self.upper - self.lower) / self.quantum <= 2.0**53:
                raise ValueError(f"{self.column!r}: the range must hold 1 to 2**53 quanta")


@dataclass(frozen=True, slots=True)
class Mean(_Ranged):
    """The mean of a column's values, clipped."""


@dataclass(frozen=True, slots=True)
class Variance(_Ranged):
    """The variance of a column's values, clipped."""


@dataclass(frozen=True, slots=True)
class Quantiles(_Ranged):
    """Quantiles of a column's values, clipped.

    Attributes:
        probs: which, each in (0, 1), ascending; 0.5 is the median.
        bins: into how many bins of equal width the range is cut; a quantile is known to about one bin.
    """

    probs: tuple[float, ...] = (0.25, 0.5, 0.75)
    bins: int = 1024

    def __post_init__(self) -> None:
        _Ranged.__post_init__(self)
        object.__setattr__(self, "probs", tuple(float(prob) for prob in self.probs))
        if not self.probs or not all(0 < prob < 1 for prob in self.probs):
            raise ValueError("the probs of quantiles lie strictly between 0 and 1; give at least one")
        if list(self.probs) != sorted(set(self.probs)):
            raise ValueError("the probs of quantiles ascend")
        if at_least("bins", self.bins, 2) > MOST_BINS:
            raise ValueError(f"bins must be at most {MOST_BINS}")


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many rows have a value in each bin.

    Attributes:
        column: a column of numbers.
        edges: ascending, finite, at least two, in the column's unit. A bin holds its lower edge and not its upper one,
            but for the last, which holds both. Values outside are not counted.
        label: as for the others.
    """

    column: str
    _: KW_ONLY
    edges: Sequence[float]
    label: str = ""

    def __post_init__(self) -> None:
        check_name("column", self.column)
        edges = tuple(float(edge) for edge in self.edges)
        if len(edges) < 2 or not all(math.isfinite(edge) for edge in edges):
            raise ValueError(f"{self.column!r}: a histogram has at least two edges, all finite")
        if list(edges) != sorted(set(edges)):
            raise ValueError(f"{self.column!r}: the edges of a histogram ascend")
        if len(edges) > 10_001:
            raise ValueError(f"{self.column!r}: a histogram has at most 10,000 bins; Quantiles takes more")
        object.__setattr__(self, "edges", edges)
        if not self.label:
            object.__setattr__(self, "label", f"{self.column}_histogram")
        check_name("label", self.label, longest=2048)

    @property
    def bins(self) -> int:
        """How many bins."""
        return len(self.edges) - 1


@dataclass(frozen=True, slots=True)
class TopK:
    """The values that most rows have.

    Attributes:
        column: a column of whole numbers, text, dates or truth values.
        k: how many of them, at least 1.
        values: the candidates, if they are known without looking at the data; None: whatever stands there.
        label: as for the others.
    """

    column: str
    _: KW_ONLY
    k: int
    values: Sequence[KeyValue] | None = None
    label: str = ""

    def __post_init__(self) -> None:
        check_name("column", self.column)
        at_least("k", self.k, 1)
        if self.values is not None:
            object.__setattr__(self, "values", checked_values(self.column, self.values))
            if len(self.values) < self.k:
                raise ValueError(f"{self.column!r}: there are fewer candidates than k")
        if not self.label:
            object.__setattr__(self, "label", f"{self.column}_top")
        check_name("label", self.label, longest=2048)


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """How many rows have a value of each sign and power of two (bins: `MAGNITUDES`).

    Noisy, these counts tell a range in which most values lie: lower and upper bounds found privately.

    Attributes:
        column: a column of numbers.
        label: as for the others.
    """

    column: str
    _: KW_ONLY
    label: str = ""

    def __post_init__(self) -> None:
        check_name("column", self.column)
        if not self.label:
            object.__setattr__(self, "label", f"{self.column}_magnitudes")
        check_name("label", self.label, longest=2048)

    @property
    def bins(self) -> int:
        """How many bins."""
        return len(MAGNITUDES) + 1


Aggregate = Count | Persons | Sum | Mean | Variance | Quantiles | Histogram | TopK | Magnitudes
Ranged = Sum | Mean | Variance | Quantiles
