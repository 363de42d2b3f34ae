"""From rows to a model, whichever the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

from wardline.core import Progress
from wardline.dp.synthetic import _aim, _mst
from wardline.dp.synthetic._private import PrivateRows
from wardline.dp.synthetic.coarsen import coarsen
from wardline.dp.synthetic.domain import Domain
from wardline.dp.synthetic.model import MarginalModel

Method = Literal["aim", "mst"]


def learn_model(rows: PrivateRows, domain: Domain, *, method: Method, bins: int, merge_ranges: bool, steps: int, most_cells: int, progress: Progress) -> MarginalModel:
    columns = len(domain)
    share = (_aim.SINGLES if method == "aim" else _mst.SHARES[0]) if columns > 1 else 1.0
    each = rows.purse.total * share * (1 - 1e-9) / columns
    cells = [rows.measure((column,), rho=each) for column in range(columns)]
    coarsenings = tuple(
        coarsen(one, measured, bins=bins, merge_ranges=merge_ranges)
        for one, measured in zip(domain.attributes, cells, strict=True)
    )
    singles = [one.merge(measured) for one, measured in zip(coarsenings, cells, strict=True)]
    merged = rows.coarsened(coarsenings)
    match method:
        case "mst":
            measured, fitted = _mst.learn(merged, singles, steps=steps, progress=progress)
        case "aim":
            measured, fitted = _aim.learn(merged, singles, most_cells=most_cells, steps=steps, progress=progress)
        case _:
            assert_never(method)
    return MarginalModel(domain=domain, coarsenings=coarsenings, measurements=(*singles, *measured), fitted=fitted)
