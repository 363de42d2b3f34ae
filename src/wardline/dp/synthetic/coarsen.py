"""Merging cells by their noisy counts: neighbours of a range until they hold enough, rare categories into one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.dp.synthetic.domain import Attribute
from wardline.dp.synthetic.fit import Measured

_RARE = 3.0  # a cell whose noisy count is below so many standard deviations of the noise may well be empty


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
            counts=np.bincount(self.groups, weights=measured.counts),
            variance=np.bincount(self.groups, weights=measured.variance),
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

    - A range of numbers: neighbours are gathered from the left until they hold a share of about 1 / bins of the rows
      and more than noise. A cell that alone holds so much stays alone: values such as 0 or 40 that many rows have.
    - A category: values that may well not occur (below three standard deviations of the noise) become one group.
    - The cell of missing values stays alone.

    Args:
        attribute: the column.
        measured: noisy counts of its cells.
        bins: about how many groups a range shall have, at least 2.
        merge_ranges: whether the cells of ranges are merged at all.

    Guarantee: post-processing of the noisy counts.

    References: Zhang et al. 2021 (PrivSyn, section 4.2: rare values); McKenna, Miklau and Sheldon 2021, section 3.3.
    """
    counts, variance = measured.counts[: attribute.present], measured.variance[: attribute.present]
    if attribute.ordered and merge_ranges:
        groups = _gathered(counts, variance, bins)
    elif attribute.column.kind == "category":
        groups = _rare(counts, variance)
    else:
        groups = np.arange(attribute.present, dtype=np.int64)
    if attribute.column.missing:
        groups = np.append(groups, groups.max() + 1)
    return Coarsening(groups=groups, shares=_shares(measured, groups))


def _gathered(
    counts: npt.NDArray[np.float64], variance: npt.NDArray[np.float64], bins: int
) -> npt.NDArray[np.int64]:
    target = max(float(counts.sum()) / bins, 0.0)
    groups = np.zeros(len(counts), dtype=np.int64)
    group, held, noise = 0, 0.0, 0.0
    for cell, (count, spread) in enumerate(zip(counts.tolist(), variance.tolist(), strict=True)):
        alone = count >= max(target, _RARE * math.sqrt(spread))
        if noise and alone and held >= _RARE * math.sqrt(noise):
            group, held, noise = group + 1, 0.0, 0.0
        groups[cell] = group
        held, noise = held + count, noise + spread
        if held >= max(target, _RARE * math.sqrt(noise)):
            group, held, noise = group + 1, 0.0, 0.0
    # What is left over at the right end is a group if it is more than noise, else a part of the one before it.
    if noise and group and held < _RARE * math.sqrt(noise):
        groups[groups == group] = group - 1
    return groups


def _rare(counts: npt.NDArray[np.float64], variance: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    rare = counts < _RARE * np.sqrt(variance)
    if np.count_nonzero(rare) < 2:
        return np.arange(len(counts), dtype=np.int64)
    groups = np.cumsum(~rare) - 1
    return np.where(rare, groups.max() + 1, groups).astype(np.int64)


def _shares(measured: Measured, groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How the cells of a group share its rows: their noisy counts, drawn towards equality as far as noise explains them.

    References: James and Stein 1961 (the positive part of the shrinkage).
    """
    shares = np.ones(len(groups))
    for group in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == group)
        if len(members) == 1:
            continue
        counts, noise = measured.counts[members], float(measured.variance[members].mean())
        mean = counts.mean()
        away = counts - mean
        spread = float(away @ away)
        kept = max(0.0, 1.0 - (len(members) - 1) * noise / spread) if spread > 0 else 0.0
        drawn = np.maximum(mean + kept * away, 0.0)
        shares[members] = drawn / drawn.sum() if drawn.sum() > 0 else 1.0 / len(members)
    return shares
