"""Totals over keys, made consistent with the groups that they consist of.

The groups of public keys are all combinations of their values, the last key fastest: a tree whose levels are the
groups, what the last key adds up to, and so on up to the whole table. `Tree` measures such levels and fits them.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from wardline.core.rng import SecureRandom
from wardline.dp.queries.aggregates import Count, Mean, Sum, Variance
from wardline.dp.queries.query import Query
from wardline.dp.releases.measures import Measure
from wardline.dp.releases.noise import FloatArray, IntArray, Noise
from wardline.dp.releases.noisy import Noisy
from wardline.dp.releases.trees import Tree


def check_totals(query: Query) -> None:
    """Refuse totals where there is nothing to add up, or where groups do not add up.

    Raises:
        ValueError: naming the reason.
    """
    if not query.by or query.found:
        raise ValueError("totals need keys, all with listed values")
    others = [one.label for one in query.aggregates if not isinstance(one, Count | Sum | Mean | Variance)]
    if others:
        raise ValueError(f"totals are made of counts, sums, means and variances; {others[0]!r} does not add up")


def totals_tree(query: Query) -> Tree:
    """The levels of a query's groups, from the whole table to the single group."""
    sizes = [len(key.values) for key in query.by if key.values is not None]
    widths = [math.prod(sizes[place:]) for place in range(len(sizes) + 1)]
    return Tree(bins=widths[0], blocks=tuple(dict.fromkeys(widths)))


def with_totals(measure: Measure, exact: IntArray, noise: Noise, tree: Tree, random: SecureRandom) -> Noisy:
    """Measure groups and totals, and make them consistent.

    Args:
        measure: whose numbers these are.
        exact: the groups' exact numbers, of shape (groups, numbers).
        noise: of each number, totals included.
        tree: the levels.
        random: where the noise comes from.

    Returns:
        Totals and groups, from the whole table to the single group, and by how much the fit reduced their noise.
    """
    nodes = tree.measure(exact.T)
    fitted = tree.fit(noise.added_to(nodes, random))
    values: list[FloatArray] = []
    shrink: list[FloatArray] = []
    for block in tree.blocks:
        sums = fitted.reshape(len(fitted), -1, block).sum(axis=2)
        values.append(sums.T)
        shrink.append(np.full(sums.shape[1], math.sqrt(tree.block_variance(block))))
    return Noisy(measure=measure, noise=noise, values=np.concatenate(values), shrink=np.concatenate(shrink))


def keys_with_totals(keys: pa.Table, tree: Tree) -> pa.Table:
    """The keys of totals and groups: a key that was added up over is null.

    Args:
        keys: of the groups.
        tree: the levels.
    """
    pieces = []
    for block in tree.blocks:
        part = keys.take(pa.array(np.arange(0, keys.num_rows, block)))
        columns = {}
        for name in part.column_names:
            column = part.column(name)
            # Within a block, a key that takes several values was added up over; so were all keys behind it.
            first = keys.slice(0, block).column(name)
            varies = block > 1 and len(first.unique()) > 1
            columns[name] = pa.nulls(part.num_rows, column.type) if varies else column
        pieces.append(pa.table(columns))
    return pa.concat_tables(pieces)
