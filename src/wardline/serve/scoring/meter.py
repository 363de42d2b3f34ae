"""How many rows each client was given scores for, in a file that survives crashes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from wardline.core import make_folder
from wardline.core.checks import at_least
from wardline.core.errors import IntegrityError, WorkspaceError
from wardline.serve.scoring.refusals import Reason, Refusal

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS spent (model BLOB NOT NULL, client TEXT NOT NULL,"
    " rows INTEGER NOT NULL CHECK (rows >= 0),"
    " PRIMARY KEY (model, client)) WITHOUT ROWID, STRICT",
    "CREATE TABLE IF NOT EXISTS requests (client TEXT NOT NULL, request BLOB NOT NULL, rows INTEGER NOT NULL,"
    " charged INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (client, request)) WITHOUT ROWID, STRICT",
    "CREATE INDEX IF NOT EXISTS requests_charged ON requests (charged)",
)
_VERSION = 2

REMEMBERED_SECONDS = 7 * 24 * 3600
"""For so long the name of a request is kept after it was charged."""


class RowMeter:
    """Charges rows to clients, for each model apart.

    Args:
        path: the file; made, readable for its owner alone, if it is missing.
        now: the time in seconds since 1970, by which old names of requests are forgotten.

    Raises:
        WorkspaceError: if it cannot be written.
        IntegrityError: if it is something else.

    Guarantee: a charge that `charge` returned from is on the disk (SQLite with a write-ahead log and full
    synchronisation) and never given back; a request is charged at most once, by however many processes share the file;
    and no client is charged beyond its allowance. Whoever can write the file can undo that.

    Names of requests are forgotten after a week, so that the file does not grow without end. A frame is bound to a
    session, which no service lets live so long: what is sent again later is refused with its session, before it comes
    here. If a clock that jumps forgets a name too early, the request is charged anew before it is answered: rows are
    never had for nothing.
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._now = now
        make_folder(path.parent)
        try:
            # The file and, by SQLite's rule, its log are made with this mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._prepare(path)
        except (OSError, sqlite3.OperationalError) as error:
            raise WorkspaceError(f"cannot keep account of rows: {error}", where=str(path)) from error
        except sqlite3.DatabaseError as error:
            raise IntegrityError("this is no account of rows", where=str(path)) from error

    def charge(self, client: str, *, model: bytes, request: bytes, rows: int, allowance: int) -> int:
        """Charge a request, once.

        Args:
            client: its name.
            model: digest of the model.
            request: its name, which no other request of this client ever had.
            rows: at least 1.
            allowance: the most rows that the client may have had of this model, these included.

        Returns:
            How many rows are left.

        Raises:
            Refusal: if the request was charged before, or too few rows are left; nothing is charged then.
            WorkspaceError: if it cannot be written down.
        """
        at_least("rows", rows, 1)
        now = int(self._now())
        with self._lock, self._transaction() as database:
            database.execute("DELETE FROM requests WHERE charged < ?", (now - REMEMBERED_SECONDS,))
            new = database.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING rows",
                (client, request, rows, now),
            ).fetchone()
            if new is None:
                raise Refusal(Reason.REPLAY, "the request was charged before, and is not answered twice")
            (spent,) = database.execute(
                "INSERT INTO spent VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET rows = rows + excluded.rows RETURNING rows",
                (model, client, rows),
            ).fetchone()
            if spent > allowance:
                left = max(allowance - (spent - rows), 0)
                raise Refusal(Reason.BUDGET, f"{rows} rows were asked for, and {left} are left of {allowance}")
            return allowance - int(spent)

    def spent(self, client: str, *, model: bytes) -> int:
        """Rows that a client was charged for a model."""
        with self._lock:
            found = self._database.execute(
                "SELECT rows FROM spent WHERE model = ? AND client = ?", (model, client)
            ).fetchone()
        return int(found[0]) if found else 0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _prepare(self, path: Path) -> None:
        with self._lock:
            self._database.execute("PRAGMA journal_mode = WAL").fetchone()
            self._database.execute("PRAGMA synchronous = FULL")
        with self._lock, self._transaction() as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, 1, _VERSION):
                raise IntegrityError(f"the account of rows is of version {version}", where=str(path))
            if version == 1:  # it kept names without their time: they count as charged now
                database.execute("ALTER TABLE requests ADD COLUMN charged INTEGER NOT NULL DEFAULT 0")
                database.execute("UPDATE requests SET charged = ?", (int(self._now()),))
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_VERSION}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise WorkspaceError(f"rows cannot be charged: {error}") from error
