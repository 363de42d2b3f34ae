"""The ledger's rows, whichever database keeps them: how they are chained, and what a store of them can do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from wardline.core.errors import IntegrityError

Kind = Literal["open", "charge", "progress", "seal", "limit"]
GENESIS = "0" * 64
"""What stands for the previous hash in the first row."""

DISTRUST = "do not go on with this ledger; restore it from a copy whose head an evidence bundle or export confirms"


class Row(NamedTuple):
    """A row as it is stored.

    Attributes:
        seq: its number, from 1 without a gap.
        kind: what it notes.
        release_id, dataset: what it is about; empty where it is about none.
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


COLUMNS = ", ".join(Row._fields)
_HASHED = Row._fields[:-1]


class Session(Protocol):
    """A transaction on the store; one that writes lets nobody else in."""

    def check_rules(self) -> None:
        """Raise `IntegrityError` unless the table's own rules are what they were when it was made."""

    def rows(self, after: int) -> list[Row]:
        """The rows with a greater number, in order."""

    def is_suspicious(self, *, grown: bool) -> bool:
        """Whether something happened since this store's last session that does not happen when rows are added.

        Args:
            grown: whether there are rows that this store had not seen.
        """

    def insert(self, row: Row) -> None:
        """Add a row; the session must be one that writes."""


class Store(Protocol):
    """Where the rows are kept."""

    @property
    def place(self) -> str:
        """Its name in messages, without any secret."""

    def create(self, *, at: str, body: str) -> None:
        """Make the ledger if there is none, with its first row; leave alone whatever stands there."""

    def reading(self) -> AbstractContextManager[Session]:
        """A consistent look at the rows."""

    def writing(self) -> AbstractContextManager[Session]:
        """A transaction that nobody else can enter, durable when it ends; undone if an error leaves it."""

    def check(self) -> None:
        """Let the database check its own pages, where it can."""

    def close(self) -> None:
        """Let go of the database. Using the store again opens it again."""


def row_hash(row: Row) -> str:
    """The hash of a row: over every column but the hash itself, and so over the previous row's hash too.

    Of text and whole numbers alone, `json` writes what RFC 8785 asks for, ten times as fast as a general encoder;
    a test compares the two.
    """
    columns = dict(zip(_HASHED, row, strict=False))
    encoded = json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(encoded.encode()).hexdigest()


def next_row(
    last: Row | None,
    kind: Kind,
    *,
    at: str,
    body: str,
    release_id: str = "",
    dataset: str = "",
    charge: int | None = None,
) -> Row:
    """The row that follows the last one."""
    seq, previous = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
    row = Row(seq, kind, release_id, dataset, charge, body, at, previous)
    return row._replace(hash=row_hash(row))


def verify_chain(rows: Sequence[Row], *, after: Row | None, place: str) -> None:
    """Check that these rows follow one another, and the one before them.

    Raises:
        IntegrityError: at the first row that is not what it was.
    """
    seq, previous = (0, GENESIS) if after is None else (after.seq, after.hash)
    for row in rows:
        seq += 1
        if row.seq != seq or row.previous != previous or not _is_sound(row):
            raise IntegrityError("a row was changed, moved or removed", where=f"{place}: row {seq}", hint=DISTRUST)
        previous = row.hash
    if seq == 0:
        raise IntegrityError("the ledger has lost its first row", where=f"{place}: row 1", hint=DISTRUST)


def _is_sound(row: Row) -> bool:
    texts = (row.kind, row.release_id, row.dataset, row.body, row.at, row.previous, row.hash)
    if not all(type(one) is str for one in texts) or type(row.charge) not in (int, type(None)):
        return False  # a value that no row of ours can hold
    try:
        return row.hash == row_hash(row)
    except UnicodeEncodeError:
        return False
