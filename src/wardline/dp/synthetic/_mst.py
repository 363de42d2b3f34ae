"""MST: a tree of pairs that are worst explained by independence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from wardline.core import Progress
from wardline.dp.synthetic._inference import Array
from wardline.dp.synthetic._marginals import MOST_CELLS_OF_A_PAIR
from wardline.dp.synthetic._private import PrivateRows
from wardline.dp.synthetic._tree import Clique
from wardline.dp.synthetic.fitting import Fit, Measured, fit

SINGLES = 1 / 3
"""The share of the whole budget that the counts of single columns take. Choosing pairs takes as much, and measuring
them the rest."""


def learn(
    rows: PrivateRows, singles: Sequence[Measured], *, steps: int, progress: Progress
) -> tuple[list[Measured], Fit]:
    """Choose a spanning tree of pairs, measure them, and fit.

    Args:
        rows: the private rows, whose purse pays for all of it and is empty afterwards.
        singles: noisy counts of each column.
        steps: of the fit.
        progress: told about each pair.

    Guarantee: what the purse held is not exceeded.

    References: McKenna, Miklau and Sheldon 2021, algorithms 1 and 2.
    """
    columns = len(rows.sizes)
    if columns == 1:
        return [], fit(rows.sizes, singles, steps=steps)
    each = 0.5 * rows.purse.left * (1 - 1e-9) / (columns - 1)
    epsilon = math.sqrt(8 * each) * (1 - 1e-9)
    independent = fit(rows.sizes, singles, steps=steps)
    alone = dict(zip(independent.tree.cliques, independent.tables, strict=True))
    component = list(range(columns))

    def candidates() -> Iterator[tuple[Clique, Array, int, float]]:
        for one in range(columns):
            for other in range(one + 1, columns):
                cells = rows.sizes[one] * rows.sizes[other]
                if component[one] != component[other] and cells <= MOST_CELLS_OF_A_PAIR:
                    yield (one, other), independent.total * np.outer(alone[one,], alone[other,]), 1, 0.0

    progress.start("choose and measure pairs", columns - 1)
    measured: list[Measured] = []
    for done in range(columns - 1):
        if next(candidates(), None) is None:
            break  # only pairs that are too large are left; what was meant for them stays unspent
        one, other = rows.choose(candidates(), epsilon=epsilon)
        joined = component[other]
        component = [component[one] if group == joined else group for group in component]
        measured.append(rows.measure((one, other), rho=each))
        progress.advance(done + 1)
    progress.finish()
    return measured, fit(rows.sizes, [*singles, *measured], steps=steps, start=independent.potentials)
