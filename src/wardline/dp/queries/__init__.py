"""Questions about tables: what is asked, how far one person counts, and the exact statistics before any noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy
from wardline.dp.queries.aggregates import (
    MAGNITUDES,
    Aggregate,
    Count,
    Histogram,
    Magnitudes,
    Mean,
    Persons,
    Quantiles,
    Sum,
    TopK,
    Variance,
)
from wardline.dp.queries.query import Bound, Key, Query, Table
from wardline.dp.queries.values import KeyValue

if TYPE_CHECKING:
    from wardline.dp.queries.collection import collect
    from wardline.dp.queries.frame import Collected, Frame, Sensitivity, Statistic

__all__ = [
    "MAGNITUDES",
    "Aggregate",
    "Bound",
    "Collected",
    "Count",
    "Frame",
    "Histogram",
    "Key",
    "KeyValue",
    "Magnitudes",
    "Mean",
    "Persons",
    "Quantiles",
    "Query",
    "Sensitivity",
    "Statistic",
    "Sum",
    "Table",
    "TopK",
    "Variance",
    "collect",
]

__getattr__ = lazy(
    __name__,
    {"collection": ("collect",), "frame": ("Collected", "Frame", "Sensitivity", "Statistic")},
    extra="query",
)
