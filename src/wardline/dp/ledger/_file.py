"""The ledger's file: an SQLite database with one append-only table whose rows form a hash chain."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from wardline.core.canonical import digest_value
from wardline.core.errors import IntegrityError, WorkspaceError
from wardline.core.files import make_folder, sync_folder, workspace_error

Kind = Literal["open", "charge", "progress", "seal"]
GENESIS = "0" * 64
"""What stands for the previous hash in the first row."""


class Row(NamedTuple):
    """A row as it is stored.

    Attributes:
        seq: its number, from 1 without a gap.
        kind: what it notes.
        release_id, dataset: what it is about; empty in the first row.
        charge: the number of the charge that progress or a seal belongs to.
        body: canonical JSON.
        at: when it was written (UTC, ISO 8601).
        previous: the hash of the row before.
        hash: SHA-256 of the canonical JSON of all columns above.
    """

    seq: int
    kind: Kind
    release_id: str
    dataset: str
    charge: int | None
    body: str
    at: str
    previous: str
    hash: str = ""


_COLUMNS = ", ".join(Row._fields)
_APPLICATION = 0x574C4447  # "WLDG" in the header of the file: no other program's database is taken for a ledger
_VERSION = 1
_BUSY_SECONDS = 60.0
_DIGEST = "NOT GLOB '*[^0-9a-f]*' AND length"

_SCHEMA = {
    "entry": f"""CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('open', 'charge', 'progress', 'seal')),
  release_id TEXT NOT NULL,
  dataset TEXT NOT NULL,
  charge INTEGER REFERENCES entry (seq),
  body TEXT NOT NULL,
  at TEXT NOT NULL,
  previous TEXT NOT NULL UNIQUE,
  hash TEXT NOT NULL UNIQUE CHECK (hash {_DIGEST} (hash) = 64),
  CHECK ((charge IS NOT NULL) = (kind IN ('progress', 'seal')))
) STRICT""",
    "entry_one_charge": "CREATE UNIQUE INDEX entry_one_charge ON entry (release_id) WHERE kind = 'charge'",
    "entry_one_seal": "CREATE UNIQUE INDEX entry_one_seal ON entry (release_id) WHERE kind = 'seal'",
    "entry_no_update": "CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "entry_no_delete": "CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    # INSERT OR REPLACE deletes without firing the trigger above; this one leaves it no row to replace.
    "entry_in_order": "CREATE TRIGGER entry_in_order BEFORE INSERT ON entry "
    "WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM entry) "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
}

_PLACE = {
    sqlite3.SQLITE_FULL: ("the disk is full", "make room on the disk, then run the same command again"),
    sqlite3.SQLITE_READONLY: ("it is read-only", "give write permission to the file and its folder"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "check that it exists and that its folder can be written"),
    sqlite3.SQLITE_PERM: ("permission was denied", "give write permission to the file and its folder"),
    sqlite3.SQLITE_IOERR: ("reading or writing failed", "make room on the disk and check its health"),
    sqlite3.SQLITE_NOMEM: ("memory ran out", "close other programs, then run the same command again"),
    sqlite3.SQLITE_BUSY: ("another process holds it", "wait for that process, then run the same command again"),
    sqlite3.SQLITE_LOCKED: ("another process holds it", "wait for that process, then run the same command again"),
}
_DISTRUST = "do not go on with this ledger; restore it from a copy whose head an evidence bundle confirms"


def row_hash(row: Row) -> str:
    """The hash of a row: over every column but the hash itself, and so over the previous row's hash too."""
    columns = row._asdict()
    del columns["hash"]
    return digest_value(columns)


def create(path: Path, *, at: str, body: str) -> None:
    """Make the ledger if there is none, with its first row; leave alone whatever stands there.

    It is built under another name and then linked to its own, which succeeds for one of several processes that
    arrive at once: nobody ever sees a ledger that is half made, and an empty file is no ledger.

    Args:
        path: the file.
        at: when, for the first row.
        body: the first row's content.

    Raises:
        WorkspaceError: if it cannot be written.
    """
    make_folder(path.parent)
    building = path.parent / f".wardline-{os.urandom(8).hex()}.tmp"
    try:
        if path.exists():
            return
        try:
            _build(building, at=at, body=body)
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(building)
        finally:
            for suffix in ("", "-wal", "-shm"):
                building.with_name(building.name + suffix).unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise workspace_error(error, path) from error


def _build(path: Path, *, at: str, body: str) -> None:
    with translated(path.parent), contextlib.closing(_connect(path, "rwc")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.values():
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {_VERSION}")
        append(db, None, "open", at=at, body=body)
        db.execute("COMMIT")


def read(path: Path) -> list[Row]:
    """All rows, verified.

    Raises:
        IntegrityError: at the first row that is not what it was.
        WorkspaceError: if the file cannot be read.
    """
    with translated(path), contextlib.closing(_connect(path, "rw")) as db:
        db.execute("BEGIN")
        return verified_rows(db, path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[tuple[sqlite3.Connection, list[Row]]]:
    """A write transaction that nobody else can enter, and the verified rows; committed unless an error leaves it.

    Raises:
        IntegrityError: at the first row that is not what it was.
        WorkspaceError: if the file cannot be written.
    """
    with translated(path), contextlib.closing(_connect(path, "rw")) as db:
        db.execute("BEGIN IMMEDIATE")
        # Closing without a commit rolls back, so an error on the way leaves nothing behind.
        yield db, verified_rows(db, path)
        db.execute("COMMIT")


def append(
    db: sqlite3.Connection,
    last: Row | None,
    kind: Kind,
    *,
    at: str,
    body: str,
    release_id: str = "",
    dataset: str = "",
    charge: int | None = None,
) -> Row:
    """Add a row after the last one, inside a write transaction."""
    seq, previous = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
    row = Row(seq, kind, release_id, dataset, charge, body, at, previous)
    row = row._replace(hash=row_hash(row))
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO entry ({_COLUMNS}) VALUES ({marks})", row)  # noqa: S608 (constants)
    return row


def verified_rows(db: sqlite3.Connection, path: Path) -> list[Row]:
    """All rows in order, if they and the table's own rules are what they were when they were written."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION or version != _VERSION:
        raise IntegrityError(
            f"this is not a ledger of version {_VERSION}", where=str(path), hint="name another file, or update wardline"
        )
    present = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if present != _SCHEMA:
        differing = sorted(name for name in present.keys() | _SCHEMA if present.get(name) != _SCHEMA.get(name))
        raise IntegrityError(
            f"the ledger's own rules were changed: {', '.join(differing)}", where=str(path), hint=_DISTRUST
        )
    rows = [Row._make(row) for row in db.execute(f"SELECT {_COLUMNS} FROM entry ORDER BY seq")]  # noqa: S608
    previous = GENESIS
    for number, row in enumerate(rows, start=1):
        if row.seq != number or row.previous != previous or row.hash != _hash_or_none(row):
            raise IntegrityError("a row was changed, moved or removed", where=f"{path}: row {number}", hint=_DISTRUST)
        previous = row.hash
    if not rows:
        raise IntegrityError("the ledger has lost its first row", where=f"{path}: row 1", hint=_DISTRUST)
    return rows


def check_pages(path: Path) -> None:
    """Let SQLite check its own pages and indices.

    Raises:
        IntegrityError: if they disagree.
    """
    with translated(path), contextlib.closing(_connect(path, "rw")) as db:
        found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise IntegrityError("the database file is damaged", where=str(path), hint=_DISTRUST)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one error that names the place and a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary code. Whatever is not the place's fault is the content's.
        code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
        if code in _PLACE:
            reason, hint = _PLACE[code]
            raise WorkspaceError(f"the ledger cannot be used: {reason}", where=str(path), hint=hint) from error
        raise IntegrityError("this is not a sound ledger", where=str(path), hint=_DISTRUST) from error


def _connect(path: Path, mode: Literal["rw", "rwc"]) -> sqlite3.Connection:
    # A connection for each operation: nothing is shared across threads or forks, and a file that was removed
    # meanwhile is missed (mode rw) rather than replaced by an empty one.
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=_BUSY_SECONDS
    )
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _hash_or_none(row: Row) -> str | None:
    try:
        return row_hash(row)
    except (TypeError, ValueError):
        return None  # a value that no row of ours can hold
