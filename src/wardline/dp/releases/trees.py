"""Counts in bins, measured at several widths at once, so that counts of any range of bins have little noise.

A range of k bins, added up bin by bin, has the noise of k figures. Measured as a tree, where a node counts the bins
below it, a range is put together from few nodes; and since nodes of different levels tell of the same rows, least
squares over all of them reduces the noise once more and makes parents equal the sum of their children.

Let the levels be cut into blocks of n_1 > n_2 > ... > 1 bins, each dividing the one before. The projections P_i on
what is constant within the blocks of level i commute, so the least squares solution needs no matrix: on the part of the
space that is constant on blocks of level i and adds up to 0 in those of level i - 1, the normal matrix is the number
n_i + n_{i+1} + ... .
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wardline.dp.releases.noise import FloatArray, IntArray

_BRANCHINGS = (2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """How bins are cut into levels.

    Attributes:
        bins: how many bins there are, at least 1.
        blocks: the width of a block in each measured level, from the widest to 1; each is a multiple of the next.
            (1,) measures the bins alone.
    """

    bins: int
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.bins < 1 or not self.blocks or self.blocks[-1] != 1:
            raise ValueError("a tree has at least one bin, and its last level consists of single bins")
        if any(wide <= narrow or wide % narrow for wide, narrow in zip(self.blocks, self.blocks[1:], strict=False)):
            raise ValueError("each level of a tree divides the blocks of the level above")

    @property
    def padded(self) -> int:
        """The number of bins, rounded up so that the widest level divides it."""
        return -(-self.bins // self.blocks[0]) * self.blocks[0]

    @property
    def nodes(self) -> int:
        """How many figures are measured."""
        return sum(self.padded // block for block in self.blocks)

    @property
    def levels(self) -> int:
        """In how many of them each row counts."""
        return len(self.blocks)

    def measure(self, counts: IntArray) -> IntArray:
        """The exact counts of all nodes, level by level, from those of the bins.

        Args:
            counts: of shape (groups, bins).

        Returns:
            Of shape (groups, nodes).
        """
        groups = counts.shape[0]
        padded = np.zeros((groups, self.padded), dtype=np.int64)
        padded[:, : self.bins] = counts
        return np.concatenate([padded.reshape(groups, -1, block).sum(axis=2) for block in self.blocks], axis=1)

    def fit(self, noisy: FloatArray) -> FloatArray:
        """The counts of the bins that fit all noisy nodes best (least squares: unbiased, least variance of all linear).

        Args:
            noisy: of shape (groups, nodes).

        Returns:
            Of shape (groups, bins). Their sums over blocks are the fitted counts of the nodes.

        References:
            Hay, Rastogi, Miklau and Suciu 2010, section 4 (the same estimate, for trees of one branching).
        """
        groups = noisy.shape[0]
        gathered = np.zeros((groups, self.padded))
        place = 0
        for block in self.blocks:
            width = self.padded // block
            gathered += np.repeat(noisy[:, place : place + width], block, axis=1)
            place += width
        fitted = np.zeros_like(gathered)
        coarser = np.zeros_like(gathered)
        for block, eigenvalue in self._spaces():
            means = np.repeat(gathered.reshape(groups, -1, block).mean(axis=2), block, axis=1)
            fitted += (means - coarser) / eigenvalue
            coarser = means
        return fitted[:, : self.bins]

    def rank_variances(self, prob: float) -> FloatArray:
        """Variance of the fitted number of rows up to each bin, less `prob` times the number of all rows.

        In units of the variance of one node's noise; of shape (bins,). The noise of padding is part of neither.
        """
        weights_before = np.full((self.bins,), 1.0 - prob)
        return self._prefix_forms(weights_before, np.full((self.bins,), -prob))

    def prefix_variances(self) -> FloatArray:
        """Variance of the fitted number of rows up to each bin, in units of the variance of one node's noise."""
        return self._prefix_forms(np.ones(self.bins), np.zeros(self.bins))

    def block_variance(self, width: int = 1) -> float:
        """Variance of the fitted count of a block of one of the levels, in units of the variance of one node's noise.

        Args:
            width: of the block, in bins; by default a single bin.
        """
        total, before = 0.0, 0.0
        for block, eigenvalue in self._spaces():
            square = width * width / block if block > width else float(width)
            total += (square - before) / eigenvalue
            before = square
        return total

    def _spaces(self) -> tuple[tuple[int, int], ...]:
        """Blocks of each space in which the normal matrix is a number, and that number, from constants to bins."""
        sums = [sum(self.blocks[level:]) for level in range(len(self.blocks))]
        spaces = list(zip(self.blocks, sums, strict=True))
        if self.blocks[0] < self.padded:
            # What is constant over all bins is seen by every level, too, as the widest level's blocks are.
            spaces.insert(0, (self.padded, sums[0]))
        return tuple(spaces)

    def _prefix_forms(self, head: FloatArray, tail: FloatArray) -> FloatArray:
        """The quadratic form of weights: head[j] up to bin j, tail[j] from there to the last bin, 0 in the padding."""
        last = np.arange(1, self.bins + 1)  # how many bins have the head's weight
        total = np.zeros(self.bins)
        before = np.zeros(self.bins)
        for block, eigenvalue in self._spaces():
            square = _squared_means(last, self.bins, block, head, tail)
            total += (square - before) / eigenvalue
            before = square
        return total


def _squared_means(last: IntArray, bins: int, block: int, head: FloatArray, tail: FloatArray) -> FloatArray:
    """Block size times the sum, over blocks, of the squared mean weight in the block."""
    # Blocks in full before the change, the one in which it happens, those between it and the end, and the last one.
    changing, inside = np.divmod(last, block)
    ending, rest = divmod(bins, block)
    same = changing == ending
    square = changing * head**2
    at_change = np.where(same, inside * head + (rest - inside) * tail, inside * head + (block - inside) * tail) / block
    square = square + at_change**2
    between = np.where(same, 0, ending - changing - 1)
    square = square + np.maximum(between, 0) * tail**2
    at_end = np.where(same, 0.0, rest / block * tail)
    total: FloatArray = block * (square + at_end**2)
    return total


def best_tree(bins: int, *, growth: float) -> Tree:
    """The tree that gives ranks of rows (and so quantiles) the least noise, on average over the bins.

    Args:
        bins: at least 1.
        growth: how the variance of a node's noise grows with the number k of levels: as k**growth; 2 for Laplace noise,
            whose scale is divided up among levels, 1 for Gaussian noise, whose rho is.
    """
    candidates = {Tree(bins=bins, blocks=(1,))}
    for branching in _BRANCHINGS:
        if branching < bins:
            levels = math.ceil(math.log(bins, branching) - 1e-9)
            blocks = tuple(branching**level for level in range(levels - 1, -1, -1))
            candidates.add(Tree(bins=bins, blocks=blocks))
    return min(
        sorted(candidates, key=lambda tree: tree.levels),
        key=lambda tree: float(tree.rank_variances(0.5).mean()) * tree.levels**growth,
    )
