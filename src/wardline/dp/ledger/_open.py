"""A ledger that is open: its store, what this process has verified of it, and turns at writing."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from wardline.core.canonical import canonical_json
from wardline.core.errors import UsageError
from wardline.core.rng import SecureRandom
from wardline.dp.ledger._chain import Row, Session, Store, next_row
from wardline.dp.ledger._postgres import SCHEMES, PostgresStore
from wardline.dp.ledger._sqlite import SqliteStore
from wardline.dp.ledger._state import State

_FORMAT = "wardline.ledger/1"  # of the rows; the table around them has a version of its own


class OpenLedger:
    """The part of `Ledger` that knows databases.

    Attributes:
        path: the file, or None for PostgreSQL.
        place: the ledger's name in messages, without any secret.
        id: its identity, drawn when it was made.
    """

    def __init__(self, address: Path | str) -> None:
        self.path: Path | None = None
        self._store: Store
        if isinstance(address, str) and address.startswith(SCHEMES):
            self._store = PostgresStore(address)
        elif isinstance(address, str) and "://" in address:
            raise UsageError(
                "a ledger is a file or a PostgreSQL table",
                where=f"{address.partition('://')[0]}://...",
                hint="give a path, or postgresql://USER@HOST/DATABASE",
            )
        else:
            self.path = Path(address)
            self._store = SqliteStore(self.path)
        self.place = self._store.place
        self._lock, self._process = threading.RLock(), os.getpid()
        self._state = State(self.place)
        identity = {"format": _FORMAT, "id": SecureRandom().bytes(16).hex()}
        self._store.create(at=now(), body=encode(identity))
        with self._reading() as state:
            self.id = state.identity

    def close(self) -> None:
        """Let go of the database. Using the ledger again opens it again."""
        with self._turn():
            self._store.close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._process != os.getpid():
            # After a fork, the thread that held the lock may not exist here.
            self._lock, self._process = threading.RLock(), os.getpid()
        with self._lock:
            yield

    @contextlib.contextmanager
    def _reading(self, *, completely: bool = False) -> Iterator[State]:
        with self._turn(), self._store.reading() as session:
            self._state.catch_up(session, completely=completely)
            yield self._state

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[_Writer, State]]:
        with self._turn():
            with self._store.writing() as session:
                self._state.catch_up(session)
                writer = _Writer(session)
                yield writer, self._state
            # Only what is on the disk is taken for true.
            self._state.take(writer.rows)

    def _append(
        self, writer: _Writer, kind: Literal["charge", "limit"], body: object, *, dataset: str, release_id: str = ""
    ) -> Row:
        last = self._state.rows[-1]
        return writer.insert(next_row(last, kind, at=now(), body=encode(body), release_id=release_id, dataset=dataset))

    def _append_to(self, writer: _Writer, kind: Literal["progress", "seal"], charge: Row, body: object) -> None:
        writer.insert(
            next_row(
                self._state.rows[-1],
                kind,
                at=now(),
                body=encode(body),
                release_id=charge.release_id,
                dataset=charge.dataset,
                charge=charge.seq,
            )
        )


class _Writer:
    """A session that writes, and the rows that it wrote."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.rows: list[Row] = []

    def insert(self, row: Row) -> Row:
        self._session.insert(row)
        self.rows.append(row)
        return row


def now() -> str:
    """The time, as rows state it: UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def encode(value: object) -> str:
    """A row's content as text: canonical JSON."""
    return canonical_json(value).decode()
