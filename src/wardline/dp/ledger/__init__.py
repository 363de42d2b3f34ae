"""The budget ledger: what has been released about each data set."""

from __future__ import annotations

from wardline.dp.ledger.book import Ledger
from wardline.dp.ledger.release import Charge, Dataset, Entry, Head, Limit, PlannedRelease, Spent, dataset_key
from wardline.dp.ledger.statement import read_statement

__all__ = [
    "Charge",
    "Dataset",
    "Entry",
    "Head",
    "Ledger",
    "Limit",
    "PlannedRelease",
    "Spent",
    "dataset_key",
    "read_statement",
]
