"""Marginals of columns that share no clique, from a calibrated junction tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wardline.dp.synthetic._inference import Array, project
from wardline.dp.synthetic._tree import Clique, Tree

MOST_CELLS_OF_A_PAIR = 1 << 22
"""A pair of columns with more cells is not looked at: its counts would be noise, and its table would fill memory."""

_FIRST_LETTER = ord("a")  # 26 columns in two cliques have more cells than any memory


def marginal(tree: Tree, tables: Sequence[Array], wanted: Clique) -> Array:
    """The marginal of any columns, also of those that share no clique.

    The cliques are visited from the leaves to the roots; each hands its parent its own distribution given their
    separator, with all columns summed out that neither the parent nor the answer needs.

    Args:
        tree: the junction tree.
        tables: the marginals of its cliques.
        wanted: columns, ascending.

    References: Koller and Friedman 2009, section 10.3.3.
    """
    home = tree.home(wanted)
    if home is not None:
        return project(tables[home], tree.cliques[home], wanted)
    asked = set(wanted)
    held = [
        (given(table, clique, separator), clique)
        for table, clique, separator in zip(tables, tree.cliques, tree.separators, strict=True)
    ]
    answer, answered = np.ones(()), Clique()
    for place in range(len(held) - 1, -1, -1):
        table, clique = held[place]
        separator, parent = set(tree.separators[place]), tree.parents[place]
        kept = tuple(column for column in clique if column in asked | separator)
        if not asked & set(kept) - separator:
            continue  # what it would hand up sums to one
        table = project(table, clique, kept)
        if parent < 0:
            onto = tuple(sorted(asked & {*answered, *kept}))
            answer, answered = product(answer, answered, table, kept, onto), onto
        else:
            above, around = held[parent]
            onto = tuple(sorted({*around, *(asked & set(kept))}))
            held[parent] = product(above, around, table, kept, onto), onto
    return answer


def given(table: Array, clique: Clique, separator: Clique) -> Array:
    """The distribution of a clique given its separator; the marginal itself if that is empty."""
    if not separator:
        return table
    shape = [size if column in separator else 1 for column, size in zip(clique, table.shape, strict=True)]
    below = np.broadcast_to(project(table, clique, separator).reshape(shape), table.shape)
    shares: Array = np.divide(table, below, out=np.zeros_like(table), where=below > 0)
    return shares


def product(one: Array, its: Clique, other: Array, others: Clique, onto: Clique) -> Array:
    """The product of two tables, summed over the columns that are not asked for."""
    letters = {column: chr(_FIRST_LETTER + place) for place, column in enumerate(dict.fromkeys((*its, *others)))}
    spelled = ["".join(letters[column] for column in clique) for clique in (its, others, onto)]
    result: Array = np.einsum(f"{spelled[0]},{spelled[1]}->{spelled[2]}", one, other, optimize=True)
    return result


def pairs(
    tree: Tree, tables: Sequence[Array], *, most_cells: int = MOST_CELLS_OF_A_PAIR
) -> Iterator[tuple[Clique, Array]]:
    """The marginals of all pairs of columns, each once, ascending within the pair; too large ones are left out.

    From each column its joint table with the separator is carried along the tree, and each clique on the way turns it
    into pairs with its own columns: one pass over the tree for each column.

    Args:
        tree: the junction tree.
        tables: the marginals of its cliques.
        most_cells: of a pair.
    """
    walk = _Walk(tree, tables, most_cells)
    columns = sorted({column for clique in tree.cliques for column in clique})
    for column in columns:
        reached = {column}
        for other, table in walk.outward(column, reached):
            yield (column, other), table
        for other in columns:
            if other > column and other not in reached and walk.fits(column, other):
                # Of another tree of the forest: independent.
                yield (column, other), np.outer(walk.single(column), walk.single(other))


class _Walk:
    """Passes over a tree in all directions; conditional tables are made once for each direction."""

    def __init__(self, tree: Tree, tables: Sequence[Array], most_cells: int) -> None:
        self._tree = tree
        self._tables = tables
        self._most_cells = most_cells
        self._sizes: dict[int, int] = {
            column: size
            for clique, table in zip(tree.cliques, tables, strict=True)
            for column, size in zip(clique, table.shape, strict=True)
        }
        self._links: list[list[tuple[int, Clique]]] = [[] for _ in tree.cliques]
        for place, (parent, separator) in enumerate(zip(tree.parents, tree.separators, strict=True)):
            if parent >= 0:
                self._links[place].append((parent, separator))
                self._links[parent].append((place, separator))
        self._passages: dict[tuple[int, Clique, Clique], Array] = {}

    def single(self, column: int) -> Array:
        return marginal(self._tree, self._tables, (column,))

    def fits(self, one: int, other: int) -> bool:
        return self._sizes[one] * self._sizes[other] <= self._most_cells

    def outward(self, column: int, done: set[int]) -> Iterator[tuple[int, Array]]:
        """The joint table of a column with each later one of its tree; all of the tree are noted as done."""
        start = self._tree.home((column,))
        assert start is not None
        waiting: list[tuple[int, int, Clique, Array]] = [(start, -1, (), np.ones(()))]
        while waiting:
            place, before, way, carried = waiting.pop()
            clique = self._tree.cliques[place]
            for other in clique:
                if other not in done:
                    done.add(other)
                    if other > column and self.fits(column, other):
                        yield other, self._joint(column, place, way, carried, (other,))
            for after, separator in self._links[place]:
                if after != before:
                    ahead = np.ones(()) if column in separator else self._joint(column, place, way, carried, separator)
                    waiting.append((after, place, separator, ahead))

    def _joint(self, column: int, place: int, way: Clique, carried: Array, onto: Clique) -> Array:
        """P(column, onto) for columns of a clique, given P(column, way) where the column is not in the clique."""
        clique = self._tree.cliques[place]
        if column in clique:
            wanted = tuple(sorted({column, *onto}))
            table = project(self._tables[place], clique, wanted)
            return np.moveaxis(table, wanted.index(column), 0)
        through = tuple(sorted({*way, *onto}))
        key = (place, way, onto)
        if key not in self._passages:
            conditional = given(self._tables[place], clique, way)
            self._passages[key] = project(conditional, clique, through)
        return product(carried, (column, *way), self._passages[key], through, (column, *onto))
