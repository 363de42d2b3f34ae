"""Room `run`: the stages of a run and the folder they work in. Start reading at `stages.py`.

Names are loaded when first used: a table release does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.run.stages import RunOptions, RunOutcome, plan_run, run
    from wardline.run.table_release import TableReleaseOptions, TableReleaseOutcome, release_table

__all__ = [
    "RunOptions",
    "RunOutcome",
    "TableReleaseOptions",
    "TableReleaseOutcome",
    "plan_run",
    "release_table",
    "run",
]

_TABLES = ("TableReleaseOptions", "TableReleaseOutcome", "release_table")

_of_training = lazy(__name__, {"stages": ("RunOptions", "RunOutcome", "plan_run", "run")}, extra="dp")
_of_tables = lazy(__name__, {"table_release": _TABLES}, extra="query")


def __getattr__(name: str) -> object:
    return _of_tables(name) if name in _TABLES else _of_training(name)
