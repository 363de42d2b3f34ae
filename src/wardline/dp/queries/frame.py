"""What comes out of an engine before any noise: whole numbers per group, and how far one person can change them.

Nothing here may be shown to anybody: these are true values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wardline.dp.queries.query import Query

if TYPE_CHECKING:
    import pyarrow as pa

    from wardline.dp.queries.aggregates import Aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """How far one person, added or removed, can change a statistic: over all groups (and bins) together, in steps.

    Attributes:
        l1: the sum of the changes at most.
        l2_squared: the sum of their squares at most; a whole number, so that nothing is rounded.
        linf: the largest change at most.
    """

    l1: int
    l2_squared: int
    linf: int

    @property
    def l2(self) -> float:
        """The root of `l2_squared`, rounded up."""
        root = math.sqrt(self.l2_squared)
        return root if int(root) ** 2 == self.l2_squared and root.is_integer() else math.nextafter(root, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One whole number per group, or per group and bin.

    In the column's unit, a sum is ``quantum * values + centre * (the statistic called counts)``.

    Attributes:
        values: int64, of shape (groups,) or (groups, bins).
        per_unit: how far one person can change them.
        quantum: the column's unit per step; 1 for counts.
        centre: what was taken off every value before summing, in the column's unit; 0 for counts.
        counts: the name of the statistic that counts the values summed here; empty for counts.
    """

    values: npt.NDArray[np.int64]
    per_unit: Sensitivity
    quantum: float = 1.0
    centre: float = 0.0
    counts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Statistics over the same groups.

    Attributes:
        keys: one row per group; a column per key, under its column's name (and ``candidate`` last, for a top-k's). For
            a query without keys it has no columns, hence `size`.
        size: how many groups.
        found: whether the groups were found in the data. Which ones there are is then itself private: only those that
            partition selection lets through may be released. If False, `keys` is known without the data.
        statistics: by name; see `names`.
    """

    keys: pa.Table
    size: int
    found: bool
    statistics: Mapping[str, Statistic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """All statistics of a query.

    Attributes:
        query: what was asked.
        groups: one frame for all aggregates but top-k. If its keys are found, it has the statistic ``persons``, too.
        candidates: for each `TopK`, by its place in `query.aggregates`: a frame whose groups are key and candidate,
            with the statistics ``rows`` and, if it is `found`, ``persons``.
    """

    query: Query
    groups: Frame
    candidates: Mapping[int, Frame]

    def names(self, aggregate: Aggregate) -> Mapping[str, str]:
        """The statistics of `groups` that an aggregate is computed from, by their role; see `statistic_names`."""
        from wardline.dp.queries.statistics import statistic_names

        return statistic_names(aggregate)
