"""Choosing settings on private data: the best of several private runs, at a stated cost."""

from __future__ import annotations

from wardline.dp.tuning.selection import PrivateSelection, Selected, select_privately, selection_cost

__all__ = ["PrivateSelection", "Selected", "select_privately", "selection_cost"]
