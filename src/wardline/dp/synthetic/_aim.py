"""AIM: round after round the marginal that the model explains worst for its price, until the budget is spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from wardline.core import Progress
from wardline.dp.synthetic._inference import Array
from wardline.dp.synthetic._marginals import marginal, pairs
from wardline.dp.synthetic._private import PrivateRows
from wardline.dp.synthetic._tree import Clique, cells_of, maximal_cliques
from wardline.dp.synthetic.fitting import Fit, Measured, fit

ROUNDS_PER_COLUMN = 16
MEASURING = 0.9
"""The share of each round's budget that goes into the measurement; the rest chooses what to measure."""
SINGLES = 0.2
"""The share of the whole budget that the counts of single columns take. The paper gives them 0.9 / 16; here they decide
which cells are merged as well, and on Adult at epsilon 1 this much halves the error of single columns and lessens
that of pairs."""

_MARGIN = 1 - 1e-9  # against the rounding of shares, so that the last round never asks for more than there is
_STEPS = 100  # of a fit between rounds; the last one is given more


def learn(
    rows: PrivateRows,
    singles: Sequence[Measured],
    *,
    most_cells: int,
    steps: int,
    progress: Progress,
) -> tuple[list[Measured], Fit]:
    """Choose, measure and fit in rounds, with noise that is lessened when a round teaches nothing new.

    The workload is all pairs of columns, each counted once. Candidates are single columns and pairs that keep the model
    within a size that grows with the share of the budget spent.

    Args:
        rows: the private rows, whose purse pays for all of it and is empty afterwards.
        singles: noisy counts of each column.
        most_cells: the most cells of the model's cliques together.
        steps: of the last fit.
        progress: told about each round.

    Guarantee: what the purse held is not exceeded; it is a filter, so that noise chosen on the way is covered.

    References: McKenna, Mullins, Sheldon and Miklau 2022, algorithms 2 to 4.
    """
    columns, purse = len(rows.sizes), rows.purse
    fitted = fit(rows.sizes, singles, steps=steps)
    if columns == 1:
        return [], fitted
    rounds = ROUNDS_PER_COLUMN * columns
    each = purse.total * _MARGIN / rounds
    measured: list[Measured] = []
    progress.start("choose and measure marginals", 100)
    last = False
    while not last:
        if purse.left < 2 * each:
            each, last = purse.left * _MARGIN, True
        sigma = rows.sigma(MEASURING * each)
        allowed = most_cells if last else most_cells * purse.spent_share
        clique = rows.choose(
            _candidates(fitted, [one.clique for one in measured], sigma=sigma, allowed=allowed),
            epsilon=math.sqrt(8 * (1 - MEASURING) * each) * _MARGIN,
        )
        before = _table(fitted, clique)
        measured.append(rows.measure(clique, rho=MEASURING * each))
        fitted = fit(rows.sizes, [*singles, *measured], steps=min(steps, _STEPS), start=fitted.potentials)
        moved = float(np.abs(_table(fitted, clique) - before).sum())
        if moved <= math.sqrt(2 / math.pi) * sigma * before.size:
            each = min(4 * each, purse.left * _MARGIN)  # half the noise, twice the epsilon
        progress.advance(round(100 * purse.spent_share))
    progress.finish()
    return measured, fit(rows.sizes, [*singles, *measured], steps=steps, start=fitted.potentials)


def _table(fitted: Fit, clique: Clique) -> Array:
    return fitted.total * marginal(fitted.tree, fitted.tables, clique)


def _candidates(
    fitted: Fit, measured: Sequence[Clique], *, sigma: float, allowed: float
) -> Iterator[tuple[Clique, Array, int, float]]:
    """Single columns, and pairs that do not make the model too large: with weight 2, as they share two with a pair."""
    sizes, bias = fitted.sizes, math.sqrt(2 / math.pi) * sigma
    for column in range(len(sizes)):
        yield (column,), _table(fitted, (column,)), 1, bias * sizes[column]
    for pair, table in pairs(fitted.tree, fitted.tables):
        if fitted.tree.home(pair) is not None or cells_of(sizes, maximal_cliques(sizes, [*measured, pair])) <= allowed:
            yield pair, fitted.total * table, 2, bias * table.size
