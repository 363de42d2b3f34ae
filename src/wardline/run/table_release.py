"""Releasing a table into a folder: one process at a time, charged once, found again if it was made before."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wardline.core import Progress, WorkspaceError, make_folder
from wardline.core.files import workspace_error
from wardline.dp.ledger import Ledger
from wardline.dp.releases import Release, release_planned
from wardline.plan.resolve_release import ResolvedRelease


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReleaseOptions:
    """Where a release goes.

    Attributes:
        out: folder of the result.
        ledger: a file, or a URL ``postgresql://...``.
        form: of the table.
        plot: whether to draw it, too.
    """

    out: Path
    ledger: Path | str
    form: Literal["parquet", "csv"] = "parquet"
    plot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReleaseOutcome:
    """What came of it.

    Attributes:
        release: the published table.
        table: its file.
        picture: the drawing; None if none was asked for.
        charged: whether this call charged the ledger; False if the result was there already.
    """

    release: Release
    table: Path
    picture: Path | None
    charged: bool


def release_table(
    resolved: ResolvedRelease, *, options: TableReleaseOptions, progress: Progress
) -> TableReleaseOutcome:
    """Charge, compute, write and seal; or give what was sealed before for the same release of the same data.

    Args:
        resolved: what is released.
        options: where it goes.
        progress: told which step is under way.

    Raises:
        BudgetError: if the limit would be exceeded; nothing is computed then.
        DataError: if the data does not fit the query; nothing is charged then, unless the table changes under way or
            a range cannot be found privately.
        WorkspaceError: if the folder cannot be written, or another process holds it; nothing is charged then.

    Guarantee: each charge in the ledger leads to at most one table, whatever instant the process is killed at.
    """
    table = options.out / f"{resolved.name}.{options.form}"
    with _locked(options.out):
        ledger = Ledger(options.ledger)
        before = ledger.head()
        made = release_planned(resolved.plan, ledger=ledger, limit=resolved.limit, out=table, progress=progress)
        charged = any(entry.kind == "charge" and entry.seq > before.seq for entry in ledger.entries())
        picture = made.plot(table.with_suffix(".svg"), label=resolved.plot) if options.plot else None
    return TableReleaseOutcome(release=made, table=table, picture=picture, charged=charged)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder; the lock goes with the process, also when it is killed."""
    make_folder(folder)
    try:
        lock = os.open(folder / ".wardline-release.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise workspace_error(error, folder) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise WorkspaceError(
            "another release holds this folder", where=str(folder), hint="wait for it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        os.close(lock)
