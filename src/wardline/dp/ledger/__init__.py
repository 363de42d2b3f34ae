"""The budget ledger: what has been released about each data set."""

from __future__ import annotations

from wardline.dp.ledger.book import Charge, Entry, Head, Ledger, Limit, PlannedRelease, Spent, dataset_key

__all__ = ["Charge", "Entry", "Head", "Ledger", "Limit", "PlannedRelease", "Spent", "dataset_key"]
