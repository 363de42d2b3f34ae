"""The ledger as a file: an SQLite database with one append-only table."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from wardline.core.errors import IntegrityError, WorkspaceError
from wardline.core.files import make_folder, sync_folder, workspace_error
from wardline.dp.ledger._chain import COLUMNS, DISTRUST, Row, next_row, verify_chain

VERSION = 2
"""The version of the format. A file of version 1 is brought to it when it is opened: no row changes."""

_APPLICATION = 0x574C4447  # "WLDG" in the header of the file: no other program's database is taken for a ledger
_BUSY_SECONDS = 60.0
_DIGEST = "NOT GLOB '*[^0-9a-f]*' AND length"


def _table(kinds: str) -> str:
    return f"""CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ({kinds})),
  release_id TEXT NOT NULL,
  dataset TEXT NOT NULL,
  charge INTEGER REFERENCES entry (seq),
  body TEXT NOT NULL,
  at TEXT NOT NULL,
  previous TEXT NOT NULL UNIQUE,
  hash TEXT NOT NULL UNIQUE CHECK (hash {_DIGEST} (hash) = 64),
  CHECK ((charge IS NOT NULL) = (kind IN ('progress', 'seal')))
) STRICT"""


_RULES = {
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
SCHEMAS = {
    1: {"entry": _table("'open', 'charge', 'progress', 'seal'"), **_RULES},
    VERSION: {"entry": _table("'open', 'charge', 'progress', 'seal', 'limit'"), **_RULES},
}
"""The statements that make a ledger, by version."""

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

_left_to_parents: list[sqlite3.Connection] = []  # never closed here: that would drop the parent's locks


class SqliteStore:
    """One file, which several processes may use at once; it must lie on a local disk.

    One connection is kept for each store and process. It is opened anew after a fork, after an error, and when the
    path names another file than it did.

    Durability: a commit appends to SQLite's write-ahead log, and `writing` syncs that file before it ends. SQLite
    itself (``synchronous = FULL``) would sync while it holds the lock, so that processes would wait for the disk one
    after the other; here they wait together, and one sync serves all. What is synced last covers all rows before
    it, and a row that others see before it is on the disk can only make them more careful. Before its log is
    written over, SQLite syncs what it held (``synchronous = NORMAL``).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int, int] = (0, 0, 0)  # process, device and inode of the connection
        self._seen: tuple[int, int] | None = None  # SQLite's counters of changes at the end of the last session
        self._log: int | None = None  # descriptor of the write-ahead log

    def create(self, *, at: str, body: str) -> None:
        """Make the ledger if there is none, with its first row; bring an older format to the present one.

        It is built under another name and then linked to its own, which succeeds for one of several processes that
        arrive at once: nobody ever sees a ledger that is half made, and an empty file is no ledger.

        Raises:
            WorkspaceError: if it cannot be written.
            IntegrityError: if what stands there is no ledger.
        """
        folder = make_folder(self.path.parent)
        building = folder / f".wardline-{os.urandom(8).hex()}.tmp"
        try:
            if not self.path.exists():
                try:
                    _build(building, at=at, body=body)
                    with contextlib.suppress(FileExistsError):
                        self.path.hardlink_to(building)
                finally:
                    for suffix in ("", "-wal", "-shm"):
                        building.with_name(building.name + suffix).unlink(missing_ok=True)
                sync_folder(folder)
        except OSError as error:
            raise workspace_error(error, self.path) from error
        with self._session("BEGIN") as session:
            version = session.version()
        if version == 1:
            self._upgrade()

    @contextlib.contextmanager
    def reading(self) -> Iterator[SqliteSession]:
        """A consistent look at the rows.

        Raises:
            IntegrityError: if the file is damaged or no ledger.
            WorkspaceError: if the file cannot be read.
        """
        with self._session("BEGIN") as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[SqliteSession]:
        """A write transaction that nobody else can enter; synced to disk when it ends, and all before it.

        Raises:
            IntegrityError: if the file is damaged or no ledger.
            WorkspaceError: if the file cannot be written.
        """
        with self._session("BEGIN IMMEDIATE") as session:
            yield session
        try:
            if self._log is None:
                self._log = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
                sync_folder(self.path.parent)
            os.fdatasync(self._log)
        except OSError as error:
            self.close()
            raise workspace_error(error, self.path) from error

    def check(self) -> None:
        """Let SQLite check its own pages and indices.

        Raises:
            IntegrityError: if they disagree.
            WorkspaceError: if the file cannot be read.
        """
        with self._translated():
            found = self._connection().execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise IntegrityError("the database file is damaged", where=self.place, hint=DISTRUST)

    def close(self) -> None:
        """Close the connection, if this process opened it."""
        db, self._db = self._db, None
        log, self._log = self._log, None
        if log is not None:
            os.close(log)
        if db is None:
            return
        if self._opened[0] == os.getpid():
            db.close()
        else:
            _left_to_parents.append(db)

    def __del__(self) -> None:
        self.close()

    @contextlib.contextmanager
    def _session(self, begin: str) -> Iterator[SqliteSession]:
        with self._translated():
            db = self._connection()
            try:
                db.execute(begin)
                session = SqliteSession(db, self.place, self._seen)
                yield session
                db.execute("COMMIT")
                self._seen = session.seen
            except sqlite3.Error:
                self._seen = None
                self.close()  # whatever state it is in; the next session opens another
                raise
            except BaseException:
                self._seen = None
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connection(self) -> sqlite3.Connection:
        try:
            status = self.path.stat()
            here = (os.getpid(), status.st_dev, status.st_ino)
        except OSError:
            here = (os.getpid(), 0, 0)  # SQLite will say what is wrong
        if self._db is None or self._opened != here:
            self.close()
            self._seen = None
            self._db = _connect(self.path, "rw")
            self._opened = here
        return self._db

    def _upgrade(self) -> None:
        """From version 1 to 2: the same rows, and so the same hashes, under a table that knows limits."""
        with self._translated(), contextlib.closing(_connect(self.path, "rw")) as db:
            db.execute("PRAGMA foreign_keys = OFF")
            db.execute("BEGIN IMMEDIATE")
            session = SqliteSession(db, self.place, None)
            if session.version() != 1:
                return  # another process was quicker
            session.check_rules(1)
            verify_chain(session.rows(0), after=None, place=self.place)
            db.execute("ALTER TABLE entry RENAME TO entry_1")
            for name in _RULES:
                db.execute(f"DROP {'INDEX' if 'one' in name else 'TRIGGER'} {name}")
            db.execute(SCHEMAS[VERSION]["entry"])
            db.execute(f"INSERT INTO entry ({COLUMNS}) SELECT {COLUMNS} FROM entry_1 ORDER BY seq")  # noqa: S608
            db.execute("DROP TABLE entry_1")
            for statement in _RULES.values():
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            session.check_rules()
            db.execute("COMMIT")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        with _translated(self.place):
            yield


class SqliteSession:
    """A transaction on an SQLite ledger; see `_chain.Session`."""

    def __init__(self, db: sqlite3.Connection, place: str, seen: tuple[int, int] | None) -> None:
        self._db = db
        self._place = place
        self._seen = seen
        # SQLite's counters: of changes by other connections, and of changes to the schema.
        self.seen: tuple[int, int] = (
            db.execute("PRAGMA data_version").fetchone()[0],
            db.execute("PRAGMA schema_version").fetchone()[0],
        )

    def version(self) -> int:
        """The version of the format; `IntegrityError` if the file is no ledger of a version that is known."""
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION or version not in SCHEMAS:
            raise IntegrityError(
                f"this is not a ledger of version {VERSION}",
                where=self._place,
                hint="name another file, or update wardline",
            )
        return version

    def check_rules(self, version: int = VERSION) -> None:
        """Raise `IntegrityError` unless the table's own rules are what they were when it was made."""
        if self.version() != version:
            raise IntegrityError("the ledger's version was changed", where=self._place, hint=DISTRUST)
        schema = SCHEMAS[version]
        present = dict(self._db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        if present != schema:
            differing = sorted(name for name in present.keys() | schema if present.get(name) != schema.get(name))
            raise IntegrityError(
                f"the ledger's own rules were changed: {', '.join(differing)}", where=self._place, hint=DISTRUST
            )

    def rows(self, after: int) -> list[Row]:
        """The rows with a greater number, in order."""
        query = f"SELECT {COLUMNS} FROM entry {'WHERE seq > ?' if after else ''} ORDER BY seq"  # noqa: S608 (constants)
        return [Row._make(row) for row in self._db.execute(query, (after,) if after else ())]

    def is_suspicious(self, *, grown: bool) -> bool:
        """Whether another connection changed the schema, or anything at all without adding a row."""
        if self._seen is None or self._seen[1] != self.seen[1]:
            return True
        return self._seen[0] != self.seen[0] and not grown

    def insert(self, row: Row) -> None:
        """Add a row; the session must be one that writes."""
        _insert(self._db, row)


def _insert(db: sqlite3.Connection, row: Row) -> None:
    db.execute(f"INSERT INTO entry ({COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 (constants)


def _build(path: Path, *, at: str, body: str) -> None:
    with _translated(str(path.parent)), contextlib.closing(_connect(path, "rwc")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMAS[VERSION].values():
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        _insert(db, next_row(None, "open", at=at, body=body))
        db.execute("COMMIT")  # closing it copies the log into the file, synced


def _connect(path: Path, mode: Literal["rw", "rwc"]) -> sqlite3.Connection:
    # A file that was removed meanwhile is missed (mode rw) rather than replaced by an empty one. Threads take turns
    # (`Ledger` sees to it), so the connection need not stay with the one that opened it.
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_SECONDS,
        check_same_thread=False,
    )
    try:
        db.execute("PRAGMA synchronous = NORMAL")  # see SqliteStore
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error:
        db.close()
        raise
    return db


@contextlib.contextmanager
def _translated(place: str) -> Iterator[None]:
    """Turn what SQLite says into one error that names the place and a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary code. Whatever is not the place's fault is the content's.
        code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
        if code in _PLACE:
            reason, hint = _PLACE[code]
            raise WorkspaceError(f"the ledger cannot be used: {reason}", where=place, hint=hint) from error
        raise IntegrityError("this is not a sound ledger", where=place, hint=DISTRUST) from error
