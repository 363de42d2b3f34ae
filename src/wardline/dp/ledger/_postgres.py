"""The ledger in PostgreSQL: the same append-only rows in one table, for people who share a server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from wardline.core.errors import IntegrityError, UsageError, WorkspaceError
from wardline.core.extras import need
from wardline.dp.ledger._chain import COLUMNS, DISTRUST, Row, next_row

SCHEMES = ("postgresql://", "postgres://")
"""How the address of such a ledger begins."""

_TABLE = "wardline_ledger"
_LOCK = 0x574C4447 << 32  # "WLDG": the upper half of the lock's key; the table's identity is the lower one
_PATIENCE_SECONDS = 60

_APPEND_ONLY = "BEGIN RAISE EXCEPTION 'the ledger is append-only'; END"
_IN_ORDER = (  # all that is put together here are constants
    f"BEGIN IF NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq), 0) + 1 FROM {_TABLE}) "  # noqa: S608
    "THEN RAISE EXCEPTION 'the ledger is append-only'; END IF; RETURN NEW; END"
)
_FUNCTIONS = {f"{_TABLE}_append_only": _APPEND_ONLY, f"{_TABLE}_in_order": _IN_ORDER}
_STATEMENTS = (
    f"""CREATE TABLE {_TABLE} (
  seq BIGINT CONSTRAINT {_TABLE}_seq PRIMARY KEY,
  kind TEXT NOT NULL
    CONSTRAINT {_TABLE}_kind CHECK (kind IN ('open', 'charge', 'progress', 'seal', 'limit')),
  release_id TEXT NOT NULL,
  dataset TEXT NOT NULL,
  charge BIGINT CONSTRAINT {_TABLE}_charged REFERENCES {_TABLE} (seq),
  body TEXT NOT NULL,
  at TEXT NOT NULL,
  previous TEXT NOT NULL CONSTRAINT {_TABLE}_previous UNIQUE,
  hash TEXT NOT NULL CONSTRAINT {_TABLE}_hash UNIQUE CONSTRAINT {_TABLE}_digest CHECK (hash ~ '^[0-9a-f]{{64}}$'),
  CONSTRAINT {_TABLE}_belongs CHECK ((charge IS NOT NULL) = (kind IN ('progress', 'seal')))
)""",
    f"CREATE UNIQUE INDEX {_TABLE}_one_charge ON {_TABLE} (release_id) WHERE kind = 'charge'",
    f"CREATE UNIQUE INDEX {_TABLE}_one_seal ON {_TABLE} (release_id) WHERE kind = 'seal'",
    *(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$" for name, body in _FUNCTIONS.items()),
    f"CREATE TRIGGER {_TABLE}_no_change BEFORE UPDATE OR DELETE ON {_TABLE} "
    f"FOR EACH ROW EXECUTE FUNCTION {_TABLE}_append_only()",
    f"CREATE TRIGGER {_TABLE}_no_truncate BEFORE TRUNCATE ON {_TABLE} "
    f"FOR EACH STATEMENT EXECUTE FUNCTION {_TABLE}_append_only()",
    f"CREATE TRIGGER {_TABLE}_order BEFORE INSERT ON {_TABLE} FOR EACH ROW EXECUTE FUNCTION {_TABLE}_in_order()",
)

# What the server keeps of these rules, as text that does not differ between its versions: columns; constraints; indices
# with their conditions; triggers with the moments they fire at, whether they are enabled, and what they run.
_RULES = f"""
SELECT concat_ws(' ', 'column', attname, atttypid::regtype, attnotnull) FROM pg_attribute
  WHERE attrelid = '{_TABLE}'::regclass AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT concat_ws(' ', 'constraint', conname, contype, convalidated) FROM pg_constraint
  WHERE conrelid = '{_TABLE}'::regclass AND contype IN ('c', 'f', 'p', 'u')
UNION ALL SELECT concat_ws(' ', 'index', c.relname, indisunique, indisvalid, indpred IS NOT NULL)
  FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = '{_TABLE}'::regclass
UNION ALL SELECT concat_ws(' ', 'trigger', tgname, tgtype, tgenabled, proname, prosrc)
  FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid WHERE tgrelid = '{_TABLE}'::regclass AND NOT tgisinternal
UNION ALL SELECT concat_ws(' ', 'rule', rulename) FROM pg_rewrite WHERE ev_class = '{_TABLE}'::regclass
"""  # noqa: S608 (constants)
_TEXTS = ("kind", "release_id", "dataset", "body", "at", "previous", "hash")
_EXPECTED = {
    "column seq bigint t",
    "column charge bigint f",
    *(f"column {name} text t" for name in _TEXTS),
    *(f"constraint {_TABLE}_{name} t" for name in ("kind c", "digest c", "belongs c", "charged f", "seq p")),
    *(f"constraint {_TABLE}_{name} u t" for name in ("previous", "hash")),
    *(f"index {_TABLE}_{name} t t f" for name in ("seq", "previous", "hash")),
    *(f"index {_TABLE}_{name} t t t" for name in ("one_charge", "one_seal")),
    # 1 each row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate; O: enabled.
    f"trigger {_TABLE}_no_change 27 O {_TABLE}_append_only {_APPEND_ONLY}",
    f"trigger {_TABLE}_no_truncate 34 O {_TABLE}_append_only {_APPEND_ONLY}",
    f"trigger {_TABLE}_order 7 O {_TABLE}_in_order {_IN_ORDER}",
}

# The first two characters of SQLSTATE that speak of the place rather than of the content.
_PLACE = {
    "08": "the connection failed",
    "25": "the server is read-only",
    "28": "the server does not let this user in",
    "3D": "there is no such database",
    "3F": "there is no such schema",
    "40": "the server gave up the transaction; try again",
    "53": "the server is out of room, memory or connections",
    "55": "another process holds it",
    "57": "the server is shutting down",
    "58": "the server cannot read or write its files",
}
_DENIED = "42501"


class PostgresStore:
    """A table in a PostgreSQL database, in the first schema of the connection's search path.

    One connection is kept for each store and process. Writers take turns by an advisory lock, so that a role that may
    only read and insert is enough.

    Durability: as in `SqliteStore`, the lock is not held while the disk is waited for. The rows are committed without
    waiting, then a message that stands behind them in the server's log is committed and waited for: whatever the
    server waits for at a commit (its disk, its replicas) then holds for the rows as well.

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, as libpq reads it.

    Raises:
        UsageError: if the address cannot be read.
        MissingExtraError: without psycopg.
    """

    def __init__(self, url: str) -> None:
        self._psycopg = need("psycopg", extra="postgres")
        try:
            parts = self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.Error as error:
            # Its text may repeat the password.
            raise UsageError(
                "this is no address of a PostgreSQL server", hint="postgresql://USER@HOST/DATABASE"
            ) from error
        self.place = f"postgresql://{parts.get('host', '')}/{parts.get('dbname', '')}"
        self._url = url
        self._db: Any = None
        self._process = 0

    def create(self, *, at: str, body: str) -> None:
        """Make the table if there is none, with its first row; leave alone whatever stands there.

        Raises:
            WorkspaceError: if the server cannot be reached or does not allow it.
        """
        with self._transaction() as db:
            # The lock comes first: the server may remember for a whole transaction that a name meant nothing.
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if db.execute(f"SELECT to_regclass('{_TABLE}')").fetchone()[0] is not None:
                return
            for statement in _STATEMENTS:
                db.execute(statement)
            PostgresSession(db, self.place).insert(next_row(None, "open", at=at, body=body))

    @contextlib.contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        """A consistent look at the rows.

        Raises:
            IntegrityError: if the table is damaged.
            WorkspaceError: if the server cannot be reached.
        """
        with self._transaction() as db:
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield PostgresSession(db, self.place)

    @contextlib.contextmanager
    def writing(self) -> Iterator[PostgresSession]:
        """A transaction that no other writer of ours can enter; synced to disk when it ends.

        Raises:
            IntegrityError: if the table is damaged.
            WorkspaceError: if the server cannot be reached or does not allow it.
        """
        with self._transaction() as db:
            db.execute("SET LOCAL synchronous_commit = off")
            # Held to the end of the transaction. The statements after it see what the one before has committed.
            db.execute(f"SELECT pg_advisory_xact_lock(%s | '{_TABLE}'::regclass::oid::bigint)", (_LOCK,))
            yield PostgresSession(db, self.place)
        with self._transaction() as db:
            db.execute("SELECT pg_logical_emit_message(true, 'wardline', 'charged')")

    def check(self) -> None:
        """Nothing: the server checks its own pages if it was set up to (data checksums)."""

    def close(self) -> None:
        """Close the connection, if this process opened it."""
        db, self._db = self._db, None
        if db is not None and self._process == os.getpid():
            db.close()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        try:
            db = self._connection()
            with db.transaction():
                yield db
        except self._psycopg.Error as error:
            self.close()
            raise self._translate(error) from error

    def _connection(self) -> Any:
        if self._db is None or self._process != os.getpid():
            # A parent's connection is just let go of: psycopg closes one in no other process than that which made it.
            self._db = self._psycopg.connect(self._url, autocommit=True, connect_timeout=_PATIENCE_SECONDS)
            self._process = os.getpid()
            # A charge must outlast a power cut, whatever the server's default is.
            self._db.execute("SET synchronous_commit = on")
            self._db.execute(f"SET lock_timeout = '{_PATIENCE_SECONDS}s'")
        return self._db

    def _translate(self, error: Exception) -> IntegrityError | WorkspaceError:
        state = getattr(error, "sqlstate", None)
        if state is None:
            reason: str | None = "the server cannot be reached"
        elif state == _DENIED:
            reason = "permission was denied"
        else:
            reason = _PLACE.get(state[:2])
        if reason is None:
            return IntegrityError("this is not a sound ledger", where=self.place, hint=DISTRUST)
        return WorkspaceError(
            f"the ledger cannot be used: {reason}", where=self.place, hint="check the address and the server's log"
        )


class PostgresSession:
    """A transaction on a PostgreSQL ledger; see `_chain.Session`."""

    def __init__(self, db: Any, place: str) -> None:
        self._db = db
        self._place = place

    def check_rules(self) -> None:
        """Raise `IntegrityError` unless the table's own rules are what they were when it was made."""
        present = {row[0] for row in self._db.execute(_RULES)}
        if present != _EXPECTED:
            differing = sorted({" ".join(rule.split()[:2]) for rule in present ^ _EXPECTED})
            raise IntegrityError(
                f"the ledger's own rules were changed: {', '.join(differing)}", where=self._place, hint=DISTRUST
            )

    def rows(self, after: int) -> list[Row]:
        """The rows with a greater number, in order."""
        found = self._db.execute(f"SELECT {COLUMNS} FROM {_TABLE} WHERE seq > %s ORDER BY seq", (after,))  # noqa: S608
        return [Row._make(row) for row in found]

    def is_suspicious(self, *, grown: bool) -> bool:
        """Never, as far as is known: the server does not tell a client what others changed."""
        return False

    def insert(self, row: Row) -> None:
        """Add a row; the session must be one that writes."""
        marks = ", ".join(["%s"] * len(row))
        self._db.execute(f"INSERT INTO {_TABLE} ({COLUMNS}) VALUES ({marks})", tuple(row))  # noqa: S608 (constants)
