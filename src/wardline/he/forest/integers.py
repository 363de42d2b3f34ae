"""Forests of integers: thresholds as numbered bits, values of leaves as multiples of a step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.he.forest.trees import LEAF, Floats, Forest, Indices, Number

Integers = npt.NDArray[np.int64]

MOST_SUM = 1 << 62
"""No sum of leaves' integers may be larger in size, whatever the plain modulus."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerTree:
    """A tree on bits: rows whose bit is 1 go left.

    Attributes:
        bit: of each node, `LEAF` at leaves: [nodes].
        left, right: children, whose numbers are above their parent's: [nodes].
        value: of leaves, in steps: [nodes, outputs].
    """

    bit: Indices = field(repr=False)
    left: Indices = field(repr=False)
    right: Indices = field(repr=False)
    value: Integers = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thresholds:
    """What a client compares its rows with. Bit number i is whether a feature is at most threshold i.

    Attributes:
        feature: of each bit, rising: [bits].
        threshold: of each bit, rising among those of one feature: [bits].
        number: what features are cast to before.

    Raises:
        ValueError: for thresholds in another order.
    """

    feature: Indices
    threshold: Floats
    number: Number

    def __post_init__(self) -> None:
        if self.feature.shape != self.threshold.shape or self.feature.ndim != 1 or not len(self.feature):
            raise ValueError("every threshold has a feature, and there is at least one")
        if self.feature.min() < 0 or not np.isfinite(self.threshold).all():
            raise ValueError("thresholds are finite, and features counted from 0")
        step, rise = np.diff(self.feature), np.diff(self.threshold)
        if (step < 0).any() or ((step == 0) & (rise <= 0)).any():
            raise ValueError("thresholds rise from feature to feature, and within a feature")

    def __len__(self) -> int:
        return len(self.feature)

    def bits(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Whether each row's feature is at most each threshold, compared as the plain model does: [rows, bits].

        Args:
            rows: finite numbers [rows, features].
        """
        return np.asarray(np.asarray(rows).astype(self.number)[:, self.feature] <= self.threshold)


def thresholds_of(forest: Forest, *, decoys: int = 0, sample: Floats | None = None) -> Thresholds:
    """All thresholds that a forest uses, and others among which they hide.

    Args:
        forest: any.
        decoys: how many thresholds to add for each feature, at most, as quantiles of the sample: features that are not
            used get them too.
        sample: rows [rows, features], needed for decoys.

    Raises:
        ValueError: for decoys without a sample, or fewer than 0.
    """
    if decoys < 0 or (decoys and sample is None):
        raise ValueError("decoys are at least 0, and are drawn from a sample")
    found: list[Floats] = []
    for feature in range(forest.features):
        used = [tree.threshold[tree.feature == feature] for tree in forest.trees]
        if decoys and sample is not None:
            levels = np.arange(1, decoys + 1) / (decoys + 1)
            # Between neighbouring values, as a model's own are.
            ordered = np.unique(forest.cast(sample[:, feature]).astype(np.float64))
            middles = (ordered[1:] + ordered[:-1]) / 2
            used += [np.unique(np.quantile(middles, levels, method="nearest"))] if len(middles) else []
        found.append(np.unique(canonical(np.concatenate(used), forest.number)))
    counts = [len(one) for one in found]
    return Thresholds(
        feature=np.repeat(np.arange(forest.features), counts),
        threshold=np.concatenate(found),
        number=forest.number,
    )


def canonical(thresholds: Floats, number: Number) -> Floats:
    """The largest number of the type that is not above each threshold: all comparisons stay what they were."""
    if number == "float64":
        return thresholds
    limits = np.finfo(np.float32)
    rounded = np.clip(thresholds, limits.min, limits.max).astype(np.float32)
    with np.errstate(over="ignore"):
        down = np.nextafter(rounded, np.float32(-np.inf))
    # Below the least number nothing is at most the threshold: that number itself is kept, and cannot be told apart.
    chosen = np.where((rounded.astype(np.float64) > thresholds) & np.isfinite(down), down, rounded)
    return np.asarray(chosen.astype(np.float64), dtype=np.float64)


def to_integers(
    forest: Forest, thresholds: Thresholds, *, step: float, centre: Floats
) -> tuple[tuple[IntegerTree, ...], Integers]:
    """The trees with values rounded to multiples of a step, and what is added to their sum, [outputs].

    Args:
        forest: the plain one.
        thresholds: which hold all of its own.
        step: above 0.
        centre: what the number 0 stands for, [outputs].

    Raises:
        OverflowError: for a step so small that integers do not fit 62 bits.
    """
    largest = sum(float(np.abs(tree.value).max()) for tree in forest.trees)
    if (largest + float(np.abs(forest.offset - centre).max())) / step >= MOST_SUM:
        raise OverflowError("so small a step makes integers that do not fit 62 bits")
    first = np.searchsorted(thresholds.feature, np.arange(forest.features + 1))
    found = []
    for tree in forest.trees:
        bit = np.full(len(tree.feature), LEAF, dtype=np.int64)
        exact = canonical(tree.threshold, forest.number)
        for feature in np.unique(tree.feature[tree.feature != LEAF]).tolist():
            at = np.flatnonzero(tree.feature == feature)
            own = thresholds.threshold[first[feature] : first[feature + 1]]
            bit[at] = first[feature] + np.searchsorted(own, exact[at])
        value = np.rint(np.where((bit == LEAF)[:, None], tree.value, 0.0) / step).astype(np.int64)
        found.append(IntegerTree(bit=bit, left=tree.left, right=tree.right, value=value))
    return tuple(found), np.rint((forest.offset - centre) / step).astype(np.int64)


def sums(trees: tuple[IntegerTree, ...], base: Integers, bits: npt.NDArray[np.bool_]) -> Integers:
    """What the forest of integers gives for rows' bits, exactly: [rows, outputs]."""
    found = np.repeat(base[None], len(bits), axis=0)
    every = np.arange(len(bits))
    for tree in trees:
        at = np.zeros(len(bits), dtype=np.int64)
        while (moving := tree.bit[at] != LEAF).any():
            here = at[moving]
            at[moving] = np.where(bits[every[moving], tree.bit[here]], tree.left[here], tree.right[here])
        found += tree.value[at]
    return found


def reach(trees: tuple[IntegerTree, ...], base: Integers) -> Integers:
    """No sum is larger in size, for any row: [outputs]."""
    low, high = base.copy(), base.copy()
    for tree in trees:
        leaves = tree.value[tree.bit == LEAF]
        low += leaves.min(axis=0)
        high += leaves.max(axis=0)
    return np.maximum(np.abs(low), np.abs(high))
