"""Junction trees: how a set of cliques is arranged so that exact inference visits each of them twice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Clique = tuple[int, ...]
"""Columns, by their number, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A junction tree, or a forest of them: rooted, parents before children.

    Attributes:
        cliques: the maximal cliques of a triangulated graph; every column stands in at least one.
        parents: for each clique, the place of its parent; -1 for a root.
        separators: for each clique, the columns that it shares with its parent; empty for a root.
    """

    cliques: tuple[Clique, ...]
    parents: tuple[int, ...]
    separators: tuple[Clique, ...]

    def home(self, clique: Iterable[int]) -> int | None:
        """The place of the smallest clique that holds these columns; None if none does."""
        wanted = set(clique)
        fitting = [(len(one), place) for place, one in enumerate(self.cliques) if wanted <= set(one)]
        return min(fitting)[1] if fitting else None


def maximal_cliques(sizes: Sequence[int], cliques: Iterable[Clique]) -> tuple[Clique, ...]:
    """The maximal cliques of a triangulated graph in which each given clique is complete.

    Columns are eliminated greedily, the one first whose neighbourhood then has the fewest cells (minimum weight), ties
    by number.

    References: Koller and Friedman 2009, section 9.4.3.
    """
    neighbours: list[set[int]] = [set() for _ in sizes]
    for clique in cliques:
        for one in clique:
            neighbours[one].update(clique)
    for column, around in enumerate(neighbours):
        around.discard(column)
    logs = [math.log(size) for size in sizes]
    weight = [logs[column] + sum(logs[one] for one in around) for column, around in enumerate(neighbours)]
    left = set(range(len(sizes)))
    found: list[set[int]] = []
    while left:
        column = min(left, key=lambda one: (weight[one], one))
        around = neighbours[column]
        clique_now = around | {column}
        if not any(clique_now <= one for one in found):
            found.append(clique_now)
        left.discard(column)
        for one in around:
            neighbours[one] |= around
            neighbours[one] -= {one, column}
            weight[one] = logs[one] + sum(logs[other] for other in neighbours[one])
    return tuple(tuple(sorted(one)) for one in found)


def cells_of(sizes: Sequence[int], cliques: Iterable[Clique]) -> int:
    """How many cells the cliques have together."""
    return sum(math.prod(sizes[column] for column in clique) for clique in cliques)


def junction_tree(sizes: Sequence[int], cliques: Iterable[Clique]) -> Tree:
    """Arrange cliques in a junction tree: a maximum spanning tree over the sizes of separators (Prim).

    References: Koller and Friedman 2009, section 10.4.2.
    """
    nodes = maximal_cliques(sizes, cliques)
    order, parents = [0], [-1]
    separators: list[Clique] = [()]
    shared: list[tuple[int, int]] = [(len(set(nodes[0]) & set(node)), 0) for node in nodes]
    waiting = set(range(1, len(nodes)))
    while waiting:
        place = max(waiting, key=lambda one: (shared[one][0], -one))
        waiting.discard(place)
        count, parent = shared[place]
        # Without a column in common it is the root of another tree.
        parents.append(order.index(parent) if count else -1)
        separators.append(tuple(sorted(set(nodes[place]) & set(nodes[parent]))) if count else ())
        order.append(place)
        for one in waiting:
            shared[one] = max(shared[one], (len(set(nodes[place]) & set(nodes[one])), place), key=lambda pair: pair[0])
    return Tree(cliques=tuple(nodes[one] for one in order), parents=tuple(parents), separators=tuple(separators))
