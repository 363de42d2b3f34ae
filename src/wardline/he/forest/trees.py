"""Decision trees as plain arrays: what a model is read into, and what it computes in the clear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.he.compiler.program import Meaning

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

Number: TypeAlias = Literal["float32", "float64"]
"""The type that a feature is cast to before it is compared with a threshold of 64 bits."""

LEAF = -1

MOST_DEPTH = 64
"""Splits one after the other; more are refused before anything is computed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """One tree: at a split, rows whose feature is at most the threshold go left.

    Attributes:
        feature: of each node's split, `LEAF` at leaves: [nodes].
        threshold: finite at splits: [nodes].
        left, right: children, whose numbers are above their parent's: [nodes].
        value: of each leaf, its share in the forest's sum: [nodes, outputs].

    Raises:
        ValueError: for arrays that are no tree.
    """

    feature: Indices = field(repr=False)
    threshold: Floats = field(repr=False)
    left: Indices = field(repr=False)
    right: Indices = field(repr=False)
    value: Floats = field(repr=False)

    def __post_init__(self) -> None:
        count = len(self.feature)
        shapes = {self.feature.shape, self.threshold.shape, self.left.shape, self.right.shape}
        if not count or shapes != {(count,)} or self.value.ndim != 2 or len(self.value) != count:
            raise ValueError("a tree is arrays of one length, at least 1, and values [nodes, outputs]")
        inner = np.flatnonzero(self.feature != LEAF)
        if (self.feature[inner] < 0).any() or not np.isfinite(self.threshold[inner]).all():
            raise ValueError("splits need a feature and a finite threshold")
        if not np.isfinite(self.value[self.feature == LEAF]).all():
            raise ValueError("values of leaves must be finite")
        children = np.concatenate([self.left[inner], self.right[inner]])
        later = (self.left[inner] > inner) & (self.right[inner] > inner)
        if not later.all() or not np.array_equal(np.sort(children), np.arange(1, count)):
            raise ValueError("every node but the first has one parent, with a smaller number")

    @property
    def depth(self) -> int:
        """The most splits on a way from the root to a leaf."""
        depths = np.zeros(len(self.feature), dtype=np.int64)
        for node in np.flatnonzero(self.feature != LEAF).tolist():
            depths[self.left[node]] = depths[self.right[node]] = depths[node] + 1
        return int(depths.max())

    @property
    def leaves(self) -> int:
        """How many there are."""
        return int((self.feature == LEAF).sum())

    def leaf_of(self, rows: Floats | npt.NDArray[np.float32]) -> Indices:
        """The leaf that each row falls into, [rows]."""
        at = np.zeros(len(rows), dtype=np.int64)
        every = np.arange(len(rows))
        for _ in range(self.depth):
            moving = self.feature[at] != LEAF
            here = at[moving]
            goes_left = rows[every[moving], self.feature[here]] <= self.threshold[here]
            at[moving] = np.where(goes_left, self.left[here], self.right[here])
        return at


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest:
    """A sum of trees.

    Attributes:
        trees: at least one.
        features: how many numbers a row has.
        offset: what is added to the sum: [outputs].
        number: what features are cast to before they are compared.
        meaning: of the outputs.
        names: of the features; none, or one each.

    Raises:
        ValueError: for parts that do not fit.
    """

    trees: tuple[Tree, ...] = field(repr=False)
    features: int
    offset: Floats = field(repr=False)
    number: Number
    meaning: Meaning
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.trees or self.features < 1 or self.offset.ndim != 1 or not np.isfinite(self.offset).all():
            raise ValueError("a forest needs trees, features and a finite offset for each output")
        if any(one.value.shape[1] != self.outputs or one.feature.max() >= self.features for one in self.trees):
            raise ValueError("a tree has another number of outputs, or a feature that the rows lack")
        if self.names and len(self.names) != self.features:
            raise ValueError(f"{len(self.names)} names do not fit {self.features} features")
        if self.meaning.gives == "decision" and self.outputs != 1:
            raise ValueError("a decision is one output")
        if self.meaning.gives == "logits" and self.outputs != len(self.meaning.classes):
            raise ValueError("there is one output a class")

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        return len(self.offset)

    def cast(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Rows as they are compared; what is too large for the type becomes infinite."""
        with np.errstate(over="ignore"):
            return np.asarray(rows).astype(self.number)

    def evaluate(self, rows: Floats) -> Floats:
        """What the forest gives in the clear: [rows, outputs].

        Args:
            rows: finite numbers [rows, features].
        """
        given = self.cast(rows)
        found = np.repeat(self.offset[None], len(rows), axis=0)
        for tree in self.trees:
            found += tree.value[tree.leaf_of(given)]
        return found
