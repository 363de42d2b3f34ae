"""Merging cells by their noisy counts: neighbours of a range until they hold enough, rare categories into one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.dp.synthetic.domain import Attribute
from wardline.dp.synthetic.fitting import Measured

_RARE = 3.0  # a cell whose noisy count is below so many standard deviations of the noise may well be empty
_EMPTY = 2.0  # the same for a stretch of cells
_SURE = 6.0  # beyond the largest gain that noise alone shows over all cuts, in variances of a cell


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coarsening:
    """Which cells of a column are treated as one, and how they share what that one has.

    Attributes:
        groups: for each cell the group that it belongs to, numbered from 0 without a gap.
        shares: for each cell its share of its group, at least 0; the shares of a group sum to one.
    """

    groups: npt.NDArray[np.int64] = field(repr=False)
    shares: npt.NDArray[np.float64] = field(repr=False)

    @property
    def size(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1

    def merge(self, measured: Measured) -> Measured:
        """The counts of the groups, from the noisy counts of the cells."""
        return Measured(
            clique=measured.clique,
            counts=np.bincount(self.groups, weights=measured.counts).astype(np.float64),
            variance=np.bincount(self.groups, weights=measured.variance).astype(np.float64),
        )

    def split(self, groups: npt.NDArray[np.int64], *, random: SecureRandom) -> npt.NDArray[np.int64]:
        """Draw a cell for each row from the shares of its group."""
        order = np.argsort(self.groups, kind="stable")
        # One line of cumulative shares: group g occupies the interval from g to g + 1.
        ends = self.groups[order] + _within(self.shares[order], self.groups[order])
        drawn = np.searchsorted(ends, groups + random.uniform(len(groups)), side="right")
        starts = np.searchsorted(self.groups[order], np.arange(self.size), side="left")
        stops = np.searchsorted(self.groups[order], np.arange(self.size), side="right") - 1
        cells: npt.NDArray[np.int64] = order[np.clip(drawn, starts[groups], stops[groups])]
        return cells


def _within(shares: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Cumulative shares that begin anew with each group; groups stand together."""
    running = np.cumsum(shares)
    first = np.searchsorted(groups, groups, side="left")
    before = np.where(first > 0, running[np.maximum(first - 1, 0)], 0.0)
    return np.minimum(running - before, 1.0)


def identity(size: int) -> Coarsening:
    """Every cell a group of its own."""
    return Coarsening(groups=np.arange(size, dtype=np.int64), shares=np.ones(size))


def coarsen(attribute: Attribute, measured: Measured, *, bins: int, merge_ranges: bool = True) -> Coarsening:
    """Decide which cells of a column to merge, from noisy counts of them.

    - A range of numbers: its histogram is first smoothed into stretches of equal height that differ by more than
      noise explains, so that a value that many rows have, such as 0 or 40, stands alone. Neighbours are then gathered
      from the left until they hold a share of about 1 / bins of the rows and more than noise.
    - A category: values that may well not occur (below three standard deviations of the noise) become one group.
    - The cell of missing values stays alone.

    Args:
        attribute: the column.
        measured: noisy counts of its cells.
        bins: about how many groups a range shall have, at least 2.
        merge_ranges: whether the cells of ranges are merged at all.

    Guarantee: post-processing of the noisy counts.

    References:
        Breiman, Friedman, Olshen and Stone 1984, section 8 (the stretches are a regression tree); Zhang et al. 2021,
        section 4.2 (rare values); McKenna, Miklau and Sheldon 2021, section 3.3.
    """
    counts, variance = measured.counts[: attribute.present], measured.variance[: attribute.present]
    if attribute.ordered and merge_ranges:
        smooth = _smoothed(counts, float(variance.max()))
        groups = _gathered(smooth, float(variance.max()), bins)
    else:
        smooth = counts
        rare = attribute.column.kind == "category"
        groups = _rare(counts, variance) if rare else np.arange(attribute.present, dtype=np.int64)
    if attribute.column.missing:
        groups, smooth = np.append(groups, groups.max() + 1), np.append(smooth, 1.0)
    return Coarsening(groups=groups, shares=_shares(smooth, groups))


def _smoothed(counts: npt.NDArray[np.float64], variance: float) -> npt.NDArray[np.float64]:
    """The histogram as stretches of equal height, none negative, none above zero that noise alone would explain."""
    sums = np.concatenate([[0.0], np.cumsum(counts)])
    worth = variance * (2.0 * math.log(len(counts) + 1) + _SURE)
    heights = np.zeros(len(counts))
    waiting = [(0, len(counts))]
    while waiting:
        start, stop = waiting.pop()
        cut = _best_cut(sums, start, stop, worth)
        if cut is not None:
            waiting += [(start, cut), (cut, stop)]
            continue
        held = float(sums[stop] - sums[start])
        if held > _EMPTY * math.sqrt(variance * (stop - start)):
            heights[start:stop] = held / (stop - start)
    return heights


def _best_cut(sums: npt.NDArray[np.float64], start: int, stop: int, worth: float) -> int | None:
    """Where two heights instead of one lessen the squared deviation most; None if by less than it must be worth."""
    if stop - start < 2:
        return None
    cuts = np.arange(start + 1, stop)
    left, right = sums[cuts] - sums[start], sums[stop] - sums[cuts]
    gains = left**2 / (cuts - start) + right**2 / (stop - cuts) - (left + right) ** 2 / (stop - start)
    best = int(np.argmax(gains))
    return int(cuts[best]) if gains[best] > worth else None


def _gathered(smooth: npt.NDArray[np.float64], variance: float, bins: int) -> npt.NDArray[np.int64]:
    target = float(smooth.sum()) / bins

    def enough(held: float, cells: int) -> bool:
        return held >= max(target, _RARE * math.sqrt(variance * cells)) and cells > 0

    groups = np.zeros(len(smooth), dtype=np.int64)
    group, held, cells = 0, 0.0, 0  # cells that are not empty
    for cell, count in enumerate(smooth.tolist()):
        if enough(held, cells) or (enough(count, 1) and held >= _RARE * math.sqrt(variance * cells) and cells > 0):
            group, held, cells = group + 1, 0.0, 0
        groups[cell] = group
        held, cells = held + count, cells + (count > 0)
    if group and held < _RARE * math.sqrt(variance * cells):
        groups[groups == group] = group - 1
    return groups


def _rare(counts: npt.NDArray[np.float64], variance: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    rare = counts < _RARE * np.sqrt(variance)
    if np.count_nonzero(rare) < 2:
        return np.arange(len(counts), dtype=np.int64)
    groups = np.cumsum(~rare) - 1
    return np.where(rare, groups.max() + 1, groups).astype(np.int64)


def _shares(heights: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How the cells of a group share its rows: as their heights, negative ones as none; equally if nothing is known."""
    positive = np.maximum(heights, 0.0)
    sums = np.bincount(groups, weights=positive)[groups]
    sizes = np.bincount(groups)[groups]
    return np.where(sums > 0, positive / np.where(sums > 0, sums, 1.0), 1.0 / sizes)
