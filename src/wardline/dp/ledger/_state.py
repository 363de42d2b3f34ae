"""The part of the ledger that one process has verified, and what follows from it.

Verifying a chain takes time for each row, and a ledger only grows. So a process keeps what it has verified and
looks, at each call, at the rows that came since: the newest row that it knows must still be in its place (its hash
covers every row before), and the new ones must follow it. The whole chain is verified when the ledger is opened, by
`Ledger.verify`, whenever SQLite says that somebody committed a change that added no row or touched the table's rules,
and after every so many rows.

What somebody gains who edits an old row between two such verifications: the process that had read it does not notice
at once, but does not believe the edit either, because it decides by what it has verified. Every process that opens the
ledger afterwards refuses it. Rows that are cut off, and a chain that is computed anew, are noticed at the next
call of every process that knew the old one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wardline.core.errors import IntegrityError
from wardline.dp.accounting import event_from_json
from wardline.dp.ledger._account import Account
from wardline.dp.ledger._chain import DISTRUST, Row, Session, verify_chain
from wardline.dp.ledger.release import Limit

_FULL_AFTER_ROWS = 1000  # or a quarter of the ledger, so that verifying costs each row about as much at any length


class State:
    """Verified rows, and indices over them."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._since_full = 0
        self.rows: list[Row] = []
        self.charges: dict[str, Row] = {}
        self.seals: dict[str, str] = {}
        self.steps: dict[str, tuple[int, str]] = {}
        self.accounts: dict[str, Account] = {}

    @property
    def identity(self) -> str:
        """The ledger's identity, drawn when it was made."""
        return str(self._content(self.rows[0])["id"])

    def account(self, dataset: str) -> Account:
        """What a data set has spent; a new, empty account if it is not known."""
        return self.accounts.get(dataset) or Account()

    def catch_up(self, session: Session, *, completely: bool = False) -> None:
        """Verify what is new, or everything.

        Raises:
            IntegrityError: at the first row that is not what it was, or if known rows are gone.
        """
        due = self._since_full >= max(_FULL_AFTER_ROWS, len(self.rows) // 4)
        if self.rows and not completely and not due:
            found = session.rows(self.rows[-1].seq - 1)
            known, new = found[:1], found[1:]
            if known == self.rows[-1:] and not session.is_suspicious(grown=bool(new)):
                verify_chain(new, after=self.rows[-1], place=self._place)
                self.take(new)
                return
        session.check_rules()
        found = session.rows(0)
        verify_chain(found, after=None, place=self._place)
        if self.rows and _identity_or_none(found[0]) != self.identity:
            raise IntegrityError(
                "another ledger was put in this one's place while it was in use",
                where=self._place,
                hint="find out who replaced it; charges may be missing from it",
            )
        if found[: len(self.rows)] != self.rows:
            raise IntegrityError(
                f"the ledger was rolled back or replaced while it was in use: it no longer contains row "
                f"{self.rows[-1].seq} as it was read before",
                where=self._place,
                hint="find out who replaced it; charges may be missing from it",
            )
        self.take(found[len(self.rows) :])
        self._since_full = 0

    def take(self, rows: Sequence[Row]) -> None:
        """Add verified rows.

        Raises:
            IntegrityError: for one that no ledger writes, although the chain is whole: somebody computed it anew.
        """
        for row in rows:
            try:
                self._index(row)
            except (KeyError, TypeError, ValueError) as error:
                where = f"{self._place}: row {row.seq}"
                raise IntegrityError("this row was not written by a ledger", where=where, hint=DISTRUST) from error
            self.rows.append(row)
        self._since_full += len(rows)

    def _index(self, row: Row) -> None:
        content = self._content(row)
        match row.kind:
            case "open":
                str(content["id"])
            case "charge":
                release = content["release"]
                events = [event_from_json(event) for event in release["events"]]
                account = self.accounts.setdefault(row.dataset, Account())
                account.add(row.release_id, str(release["unit"]), events)
                self.charges[row.release_id] = row
            case "progress":
                self.steps[row.release_id] = (int(content["step"]), str(content["digest"]))
            case "seal":
                self.seals[row.release_id] = str(content["result_sha256"])
            case "limit":
                self.accounts.setdefault(row.dataset, Account()).limit = Limit(**content["limit"])
            case _:
                raise ValueError(row.kind)

    @staticmethod
    def _content(row: Row) -> dict[str, Any]:
        content = json.loads(row.body)
        if not isinstance(content, dict):
            raise TypeError("the content of a row is an object")
        return content


def _identity_or_none(row: Row) -> str | None:
    try:
        return str(json.loads(row.body)["id"])
    except (KeyError, TypeError, ValueError):
        return None
