"""A fitted distribution over the whole table: noisy marginals, the answers that it gives, and rows drawn from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.checks import at_least
from wardline.dp.synthetic._inference import Array
from wardline.dp.synthetic._marginals import given, marginal
from wardline.dp.synthetic._tree import Clique
from wardline.dp.synthetic.coarsen import Coarsening
from wardline.dp.synthetic.domain import Domain
from wardline.dp.synthetic.fitting import Fit, Measured

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarginalModel:
    """What was learned about the table. All of it is covered by the claim and may be published.

    Attributes:
        domain: the columns and their cells.
        coarsenings: for each column, which of its cells the model treats as one.
        measurements: the noisy counts that the model rests on, in the order in which they were taken.
        fitted: the distribution.
    """

    domain: Domain
    coarsenings: tuple[Coarsening, ...] = field(repr=False)
    measurements: tuple[Measured, ...] = field(repr=False)
    fitted: Fit = field(repr=False)

    @property
    def total(self) -> float:
        """How many rows the table has, as the noisy counts tell it."""
        return self.fitted.total

    @property
    def measured(self) -> tuple[tuple[str, ...], ...]:
        """The names of the columns of each measurement, in order."""
        names = self.domain.names
        return tuple(tuple(names[column] for column in one.clique) for one in self.measurements)

    def marginal(self, *columns: str) -> npt.NDArray[np.float64]:
        """The distribution of some columns over their cells, in the order in which they are named; it sums to one.

        Raises:
            KeyError: for a column that is not in the table.
            ValueError: for a column that is named twice.
        """
        places = []
        for name in columns:
            if name not in self.domain.names:
                raise KeyError(name)
            places.append(self.domain.names.index(name))
        if len(set(places)) != len(places):
            raise ValueError("each column is named once")
        clique = tuple(sorted(places))
        table = marginal(self.fitted.tree, self.fitted.tables, clique)
        for axis, column in enumerate(clique):
            coarse = self.coarsenings[column]
            shape = [-1 if other == axis else 1 for other in range(len(clique))]
            table = np.take(table, coarse.groups, axis=axis) * coarse.shares.reshape(shape)
        return np.transpose(table, [clique.index(place) for place in places])

    def sample(self, rows: int, *, random: SecureRandom) -> pa.Table:
        """Draw a table.

        Within each combination of what is already drawn, the values of the next columns are given out in proportion to
        their chances, one row more or less by lot, so that the table's marginals are those of the model up to
        rounding, and then shuffled.

        Args:
            rows: how many, at least 1.
            random: decides.

        Guarantee: post-processing.
        """
        at_least("rows", rows, 1)
        drawn: list[npt.NDArray[np.int64] | None] = [None] * len(self.domain)
        tree = self.fitted.tree
        for clique, separator, table in zip(tree.cliques, tree.separators, self.fitted.tables, strict=True):
            known = [drawn[column] for column in separator]
            _draw(drawn, clique, separator, given(table, clique, separator), known, rows=rows, random=random)
        cells = [
            coarse.split(column, random=random)
            for coarse, column in zip(self.coarsenings, drawn, strict=True)
            if column is not None
        ]
        return self.domain.decode(cells, random=random)

    def to_json(self) -> dict[str, Any]:
        """The noisy counts by column names, for who wants to fit another model to them."""
        return {
            "total": self.total,
            "measurements": [
                {"columns": list(names), "counts": one.counts.tolist(), "variance": one.variance.tolist()}
                for names, one in zip(self.measured, self.measurements, strict=True)
            ],
            "cells": [
                {"column": name, "groups": one.groups.tolist(), "shares": one.shares.tolist()}
                for name, one in zip(self.domain.names, self.coarsenings, strict=True)
            ],
        }


def _draw(
    drawn: list[npt.NDArray[np.int64] | None],
    clique: Clique,
    separator: Clique,
    table: Array,
    known: Sequence[npt.NDArray[np.int64] | None],
    *,
    rows: int,
    random: SecureRandom,
) -> None:
    """Fill in the columns of a clique that are not in its separator, given those that are."""
    fresh = tuple(column for column in clique if column not in separator)
    order = [clique.index(column) for column in (*separator, *fresh)]
    shape = [table.shape[place] for place in order]
    before, after = math.prod(shape[: len(separator)]), math.prod(shape[len(separator) :])
    chances = np.transpose(table, order).reshape(before, after)
    base = np.zeros(rows, dtype=np.int64)
    for given_cells, size in zip(known, shape, strict=False):
        assert given_cells is not None
        base = base * size + given_cells
    value = _stratified(chances, base, random=random)
    for column, size in zip(reversed(fresh), reversed(shape), strict=False):
        drawn[column], value = value % size, value // size


def _stratified(chances: Array, base: npt.NDArray[np.int64], *, random: SecureRandom) -> npt.NDArray[np.int64]:
    """One value for each row from the line of chances that its base names, by systematic sampling within a base."""
    rows = len(base)
    order = np.lexsort((random.uint64(rows), base))
    grouped = base[order]
    groups = len(chances)
    starts = np.searchsorted(grouped, np.arange(groups))
    counts = np.bincount(base, minlength=groups)
    rank = np.arange(rows) - starts[grouped]
    place = (rank + random.uniform(groups)[grouped]) / counts[grouped]
    sums = chances.sum(axis=1, keepdims=True)
    even = np.full_like(chances, 1.0 / chances.shape[1])
    ends = np.cumsum(np.divide(chances, sums, out=even, where=sums > 0), axis=1)
    ends[:, -1] = 1.0
    line = (np.minimum(ends, 1.0) + np.arange(groups)[:, None]).ravel()
    found = np.searchsorted(line, grouped + place, side="right") - grouped * chances.shape[1]
    values = np.empty(rows, dtype=np.int64)
    values[order] = np.clip(found, 0, chances.shape[1] - 1)
    return values
