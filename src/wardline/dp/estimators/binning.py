"""Bins of features: where they lie is public or paid for, never read from the data for free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64, UInt8

FINE_BINS = 512
"""Equal-width bins of a numeric feature, whose noisy counts decide which of them are joined."""

TARGET_BINS = 128
"""About as many joined bins are made of a numeric feature, fewer where noise hides the rows."""

MOST_CATEGORIES = 256
_WIDEST_CELLS = 16  # of a joined bin, so that sparse stretches, such as high incomes, are still told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The public grid that all features are read on.

    Attributes:
        lower, upper: bounds of each feature.
        categorical: which features are codes of categories, whole numbers from lower to upper.
    """

    lower: Float64[np.ndarray, " columns"]
    upper: Float64[np.ndarray, " columns"]
    categorical: npt.NDArray[np.bool_]

    def cells(self, feature: int) -> int:
        """How many cells a feature has."""
        if self.categorical[feature]:
            return int(self.upper[feature] - self.lower[feature]) + 1
        return FINE_BINS

    def read(self, feature: int, values: Float64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        """The cell of each value; values beyond the bounds are in the outermost cells.

        Raises:
            ValueError: for a code that is no whole number or lies outside of the bounds.
        """
        low, high = self.lower[feature], self.upper[feature]
        if self.categorical[feature]:
            if not ((values == np.rint(values)) & (values >= low) & (values <= high)).all():
                raise ValueError(f"categorical feature {feature} has a code that is not one of {low:g} to {high:g}")
            codes: Int64[np.ndarray, " rows"] = (values - low).astype(np.int64)
            return codes
        cells = (np.clip(values, low, high) - low) / (high - low) * FINE_BINS
        found: Int64[np.ndarray, " rows"] = np.minimum(cells.astype(np.int64), FINE_BINS - 1)
        return found


def check_categorical(
    chosen: Sequence[int | str] | None,
    names: npt.NDArray[Any] | None,
    *,
    lower: Float64[np.ndarray, " columns"],
    upper: Float64[np.ndarray, " columns"],
) -> npt.NDArray[np.bool_]:
    """Which features are categorical.

    Args:
        chosen: their places or names; None for none.
        names: the names of all features, if they have any.
        lower: their lower bounds.
        upper: their upper bounds.

    Raises:
        ValueError: for a feature that does not exist, or bounds that are no range of codes.
    """
    columns = len(lower)
    categorical = np.zeros(columns, dtype=np.bool_)
    known = {} if names is None else {name: place for place, name in enumerate(names)}
    for one in () if chosen is None else chosen:
        place = known.get(one) if isinstance(one, str) else int(one)
        if place is None or not 0 <= place < columns:
            raise ValueError(f"categorical_features names {one!r}, which is no feature")
        low, high = lower[place], upper[place]
        if low != round(low) or high != round(high) or high - low >= MOST_CATEGORIES:
            raise ValueError(
                f"the bounds of categorical feature {one!r} must be whole numbers, the first and the last code, "
                f"with at most {MOST_CATEGORIES} codes"
            )
        categorical[place] = True
    return categorical


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """The bins of one feature.

    Attributes:
        of_cell: for each cell of the grid, its bin.
        mass: for each bin, the noisy number of units in it, which may be negative.
        ordered: whether neighbouring bins are alike; False for categories.
    """

    of_cell: UInt8[np.ndarray, " cells"]
    mass: Float64[np.ndarray, " bins"]
    ordered: bool


def make_bins(counts: Float64[np.ndarray, " cells"], *, noise: float, categorical: bool) -> Bins:
    """Join cells into bins, by their noisy counts alone.

    A bin is closed once it holds enough rows and stands out from the noise of its cells, or is wide. A bin need not be
    told from noise by itself: trees take many bins together.

    Args:
        counts: noisy counts of the cells.
        noise: the standard deviation of one cell's noise.
        categorical: whether every cell stays a bin of its own.

    Guarantee: post-processing of the counts.
    """
    if categorical:
        return Bins(of_cell=np.arange(len(counts), dtype=np.uint8), mass=counts, ordered=False)
    enough = max(float(counts.sum()), 0.0) / TARGET_BINS
    of_cell = np.zeros(len(counts), dtype=np.uint8)
    current, held, cells = 0, 0.0, 0
    for place, count in enumerate(counts.tolist()):
        of_cell[place] = current
        held, cells = held + count, cells + 1
        full = held >= max(enough, noise * cells**0.5) or cells == _WIDEST_CELLS
        if full and place < len(counts) - 1 and current < MOST_CATEGORIES - 1:
            current, held, cells = current + 1, 0.0, 0
    mass = np.bincount(of_cell, weights=counts, minlength=current + 1)
    return Bins(of_cell=of_cell, mass=mass, ordered=True)


def edges(grid: Grid, feature: int, bins: Bins) -> Float64[np.ndarray, " ends"]:
    """Where a numeric feature's bins begin and the last one ends; the codes of a categorical one."""
    low, high = grid.lower[feature], grid.upper[feature]
    if not bins.ordered:
        return np.arange(low, high + 1)
    starts = np.flatnonzero(np.diff(bins.of_cell, prepend=np.uint8(255)) != 0)
    return np.append(low + (high - low) * starts / FINE_BINS, high)
