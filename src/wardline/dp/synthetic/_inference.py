"""Exact inference on a junction tree: from potentials to the marginals of its cliques."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wardline.dp.synthetic._tree import Clique, Tree

Array = npt.NDArray[np.float64]

_LEAST_LOG = -100.0
"""Potentials are kept within this distance of a clique's largest: smaller chances than e**-100 are none, and products
of a tree's messages stay within the range of doubles."""


def project(table: Array, clique: Clique, onto: Clique) -> Array:
    """Sum a table over all columns but some; those are given in ascending order, as the table's are."""
    away = tuple(axis for axis, column in enumerate(clique) if column not in onto)
    return table.sum(axis=away) if away else table


def spread_shape(sizes: Sequence[int], clique: Clique, part: Clique) -> tuple[int, ...]:
    """The shape in which a table over a part of a clique is broadcast over the clique."""
    return tuple(sizes[column] if column in part else 1 for column in clique)


class Calibrator:
    """Belief propagation on one tree, prepared once and run many times.

    Args:
        sizes: how many cells each column has.
        tree: the junction tree.
        parts: the cliques that have potentials; each lies in a clique of the tree.
    """

    def __init__(self, sizes: Sequence[int], tree: Tree, parts: Sequence[Clique]) -> None:
        self.tree = tree
        self.sizes = tuple(sizes)
        self._homes: list[tuple[int, tuple[int, ...]]] = []
        for part in parts:
            home = tree.home(part)
            if home is None:
                raise ValueError("a potential lies in no clique of the tree")
            self._homes.append((home, spread_shape(sizes, tree.cliques[home], part)))
        self._parts = tuple(parts)
        self._up: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self._down: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for clique, parent, separator in zip(tree.cliques, tree.parents, tree.separators, strict=True):
            above = tree.cliques[parent] if parent >= 0 else ()
            self._up.append((_others(clique, separator), spread_shape(sizes, above, separator)))
            self._down.append((_others(above, separator), spread_shape(sizes, clique, separator)))

    def run(self, potentials: Sequence[Array]) -> list[Array]:
        """The marginals of the tree's cliques, each summing to one, in the tree's order.

        Args:
            potentials: logarithms, one table for each part; the distribution is proportional to the exponential of
                their sum.

        References: Jensen, Lauritzen and Olesen 1990 (Hugin propagation).
        """
        tables = self._products(potentials)
        messages: list[Array | float] = [1.0] * len(tables)
        for place in range(len(tables) - 1, -1, -1):
            parent = self.tree.parents[place]
            away, shape = self._up[place]
            if parent < 0:
                tables[place] /= tables[place].sum()
                continue
            message = tables[place].sum(axis=away)
            scale = message.max()
            messages[place] = message
            tables[parent] *= (message / scale).reshape(shape)
        for place, parent in enumerate(self.tree.parents):
            if parent < 0:
                continue
            away, shape = self._down[place]
            above = tables[parent].sum(axis=away)
            message = np.asarray(messages[place])
            ratio = np.divide(above, message, out=np.zeros_like(above), where=message > 0)
            tables[place] *= ratio.reshape(shape)
        return tables

    def parts_of(self, tables: Sequence[Array]) -> list[Array]:
        """The marginals of the parts, from those of the tree's cliques."""
        return [
            project(tables[home], self.tree.cliques[home], part)
            for part, (home, _) in zip(self._parts, self._homes, strict=True)
        ]

    def _products(self, potentials: Sequence[Array]) -> list[Array]:
        tables = [np.zeros([self.sizes[column] for column in clique]) for clique in self.tree.cliques]
        for potential, (home, shape) in zip(potentials, self._homes, strict=True):
            tables[home] += potential.reshape(shape)
        for table in tables:
            table -= table.max()
            np.maximum(table, _LEAST_LOG, out=table)
            np.exp(table, out=table)
        return tables


def _others(clique: Clique, part: Clique) -> tuple[int, ...]:
    return tuple(axis for axis, column in enumerate(clique) if column not in part)
