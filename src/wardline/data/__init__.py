"""Room `data`: pinned sources, tables, contracts, and rows encoded for training.

`Examples` needs NumPy alone. Everything that leans on Arrow, pandera or scikit-learn is imported when it is
first used, so that `from wardline.data import Examples` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "Description": "description",
    "Encoder": "encode",
    "Source": "sources",
    "Split": "split",
    "bound_contribution": "split",
    "bounded_rows": "split",
    "describe": "description",
    "enforce": "enforcement",
    "fetch": "sources",
    "parse_table": "tables",
    "read_table": "tables",
    "split_by_unit": "split",
    "table_digest": "digest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wardline.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"wardline.data.{_HOMES[name]}"), name)
