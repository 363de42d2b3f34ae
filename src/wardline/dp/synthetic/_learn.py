"""From rows to a model, whichever the method."""

from __future__ import annotations

from typing import assert_never

from wardline.core import Progress
from wardline.dp.synthetic import _aim, _mst
from wardline.dp.synthetic._private import PrivateRows
from wardline.dp.synthetic.coarsen import coarsen
from wardline.dp.synthetic.domain import Domain
from wardline.dp.synthetic.model import MarginalModel
from wardline.dp.synthetic.plan import Method, SynthesisOptions


def learn_model(
    rows: PrivateRows, domain: Domain, *, method: Method, options: SynthesisOptions, progress: Progress
) -> MarginalModel:
    """Measure each column, merge its cells by what was measured, then let the method choose and measure more.

    Args:
        rows: the private rows; their purse pays for everything.
        domain: the columns and their cells.
        method: which one.
        options: how the model is made.
        progress: told how far it is.

    Guarantee: what the purse held is not exceeded; merging and fitting read noisy counts alone.
    """
    columns = len(domain)
    share = _aim.SINGLES if method == "aim" else _mst.SINGLES
    each = rows.purse.total * (share if columns > 1 else 1.0) * (1 - 1e-9) / columns
    cells = [rows.measure((column,), rho=each) for column in range(columns)]
    coarsenings = tuple(
        coarsen(one, measured, bins=options.bins, merge_ranges=options.merge)
        for one, measured in zip(domain.attributes, cells, strict=True)
    )
    singles = [one.merge(measured) for one, measured in zip(coarsenings, cells, strict=True)]
    merged = rows.coarsened(coarsenings)
    match method:
        case "mst":
            more, fitted = _mst.learn(merged, singles, steps=options.steps, progress=progress)
        case "aim":
            more, fitted = _aim.learn(
                merged, singles, most_cells=options.most_cells, steps=options.steps, progress=progress
            )
        case _:
            assert_never(method)
    return MarginalModel(domain=domain, coarsenings=coarsenings, measurements=(*singles, *more), fitted=fitted)
