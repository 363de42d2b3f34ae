"""Room `data`: pinned sources, tables, contracts, and rows encoded for training.

`Examples` needs NumPy alone. Everything that leans on Arrow, pandera or scikit-learn is imported when it is
first used, so that `from wardline.data import Examples` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy
from wardline.data.contract import Column, Contract
from wardline.data.examples import Examples

if TYPE_CHECKING:
    from wardline.data.description import Description, describe
    from wardline.data.digest import table_digest
    from wardline.data.encode import Encoder
    from wardline.data.enforcement import enforce
    from wardline.data.sources import Source, fetch
    from wardline.data.split import Split, bound_contribution, bounded_rows, split_by_unit
    from wardline.data.tables import parse_table, read_table

__all__ = [
    "Column",
    "Contract",
    "Description",
    "Encoder",
    "Examples",
    "Source",
    "Split",
    "bound_contribution",
    "bounded_rows",
    "describe",
    "enforce",
    "fetch",
    "parse_table",
    "read_table",
    "split_by_unit",
    "table_digest",
]

__getattr__ = lazy(
    __name__,
    {
        "description": (
            "Description",
            "describe",
        ),
        "digest": ("table_digest",),
        "encode": ("Encoder",),
        "enforcement": ("enforce",),
        "sources": (
            "Source",
            "fetch",
        ),
        "split": (
            "Split",
            "bound_contribution",
            "bounded_rows",
            "split_by_unit",
        ),
        "tables": (
            "parse_table",
            "read_table",
        ),
    },
)
