"""The budget ledger: what has been released about each data set, charged before it is computed, never refunded.

One file serves all releases. A release is charged once under its id; the id stands for everything that
defines the release, so that running the same thing again after a crash finds its charge and goes on, while
anything that differs is a release of its own.

Going on is sound only while one charge leads to one result. After a kill, a run that resumes from the last
checkpoint noted here draws fresh noise for later steps alone, and the abandoned steps were never shown to anybody. If
that checkpoint is lost, or a sealed result is, computing once more would draw fresh noise for the same steps: two
noisy answers, one charge. Such a run charges anew, under the id that `Ledger.next_attempt_id` gives.

What the chain shows, and what it cannot: every row carries a hash over all of its columns and the row before, so a row
that is changed, moved, inserted or removed is found, except that **the newest rows can be cut off, or the whole file be
written anew, without a trace inside the file**. Evidence bundles therefore carry `Ledger.head`; a later ledger
that does not contain the head of a published bundle has been rolled back (`Ledger.verify` with `known`).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wardline.core.canonical import canonical_json, to_json
from wardline.core.checks import probability
from wardline.core.errors import BudgetError, IntegrityError, UsageError
from wardline.core.rng import SecureRandom
from wardline.dp.accounting import DpEvent, compose, event_from_json
from wardline.dp.ledger import _file as file
from wardline.dp.ledger.release import Charge, Entry, Head, Limit, PlannedRelease, Spent, check_digest, dataset_key

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Charge", "Entry", "Head", "Ledger", "Limit", "PlannedRelease", "Spent", "dataset_key"]

_FORMAT = "wardline.ledger/1"
_ATTEMPT = re.compile(r"(.+)#[1-9][0-9]*")


class Ledger:
    """The releases about all data sets, in one SQLite file that several processes may use at once.

    The file must lie on a local disk (SQLite's write-ahead log needs shared memory). Every operation opens, verifies
    the whole chain, and closes; every write is synced to disk before the call returns.

    Args:
        path: the file; made, with its folder, if it is not there.

    Raises:
        WorkspaceError: if it cannot be written.
        IntegrityError: if it is not a ledger, or was tampered with.

    Guarantee: a charge is durable before `charge` returns, each release id has at most one, and under concurrent
    calls the composed epsilon of a data set never exceeds a limit that all callers state.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        identity = {"format": _FORMAT, "id": SecureRandom().bytes(16).hex()}
        file.create(path, at=_now(), body=_encode(identity))
        self.id = _identity(file.read(path))

    def charge(self, release: PlannedRelease, *, limit: Limit | None) -> Charge:
        """Charge a release, before anything of it is computed. Never undone.

        Args:
            release: what will be computed.
            limit: what its data set may spend in all, this release included; None for no limit.

        Returns:
            The charge: a new one, or the one that this release already has, which no limit is asked about again.

        Raises:
            BudgetError: if the data set would exceed its limit; nothing is written.
            IntegrityError: if the id is charged already for something else, or the ledger was tampered with.
            UsageError: if the data set was charged before for another privacy unit.
            WorkspaceError: if the file cannot be written; nothing is then written by halves.
            ValueError: if the limit's delta is too small to be accounted for.
        """
        while True:
            rows = self._rows()
            earlier = _charges(rows, dataset=release.dataset)
            if (existing := _charge_row(rows, release.release_id)) is not None:
                return self._existing(existing, release)
            _check_unit(earlier, release)
            if limit is not None:
                _check_limit(earlier, release, limit)
            # Composing takes seconds and holds no lock. Whoever charged meanwhile changes the sum: look again.
            with file.writing(self.path) as (db, now):
                self._check_identity(now)
                if _charges(now, dataset=release.dataset) != earlier or _charge_row(now, release.release_id):
                    continue
                row = file.append(
                    db,
                    now[-1],
                    "charge",
                    release_id=release.release_id,
                    dataset=release.dataset,
                    body=_encode({"release": to_json(release), "limit": to_json(limit)}),
                    at=_now(),
                )
            return _as_charge(row, fresh=True)

    def progress(self, release_id: str, step: int, digest: str) -> None:
        """Note the checkpoint that a resumed run has to continue from.

        Write the checkpoint to a file of its own, then note it here, then remove the one before: a kill between any
        two of these leaves the noted checkpoint in place.

        Args:
            release_id: a charged release that is not sealed.
            step: how many steps it contains; above that of the last one noted.
            digest: SHA-256 of the checkpoint.

        Raises:
            UsageError: if the release is not charged.
            IntegrityError: if it is sealed, or the step is not above the last one noted: the same steps were computed
                twice, with fresh noise.
            WorkspaceError: if the file cannot be written.
            ValueError: for a negative step or something that is no SHA-256.
        """
        if step < 0:
            raise ValueError(f"step must be at least 0, not {step}")
        body = {"step": step, "digest": check_digest("digest", digest)}
        with file.writing(self.path) as (db, rows):
            charge = self._charged(rows, release_id)
            if _last(rows, "seal", release_id) is not None:
                raise self._refusal("this release is sealed: computing on would be a second release", release_id)
            noted = _last(rows, "progress", release_id)
            if noted is not None and step <= noted["step"]:
                if noted == body:
                    return
                raise self._refusal(f"step {noted['step']} of this release is already noted", release_id)
            self._note(db, rows, "progress", charge, body)

    def checkpoint(self, release_id: str) -> tuple[int, str] | None:
        """The step and digest of the last checkpoint noted, or None.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the file cannot be read.
        """
        rows = self._rows()
        noted = _last(rows, "progress", release_id)
        return None if noted is None else (noted["step"], noted["digest"])

    def seal(self, release_id: str, result_sha256: str) -> None:
        """Note that the result of a release was delivered. Sealing the same result again changes nothing.

        Raises:
            UsageError: if the release is not charged.
            IntegrityError: if it is sealed with another result: that would be two releases for one charge.
            WorkspaceError: if the file cannot be written.
            ValueError: for something that is no SHA-256.
        """
        body = {"result_sha256": check_digest("result_sha256", result_sha256)}
        with file.writing(self.path) as (db, rows):
            charge = self._charged(rows, release_id)
            sealed = _last(rows, "seal", release_id)
            if sealed is None:
                self._note(db, rows, "seal", charge, body)
            elif sealed != body:
                raise self._refusal("this release is sealed with another result", release_id)

    def sealed(self, release_id: str) -> str | None:
        """SHA-256 of the result that this release was sealed with, or None.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the file cannot be read.
        """
        rows = self._rows()
        sealed = _last(rows, "seal", release_id)
        return None if sealed is None else str(sealed["result_sha256"])

    def latest_attempt_id(self, release_id: str) -> str:
        """The id of the newest charged attempt at this release; its own id if none is charged.

        Args:
            release_id: the release, with or without an attempt's number.
        """
        rows, base = self._rows(), _base(release_id)
        return [base, *_attempts(rows, base)][-1]

    def next_attempt_id(self, release_id: str) -> str:
        """The id under which to charge anew when the result, or the checkpoint to continue from, is lost.

        Args:
            release_id: the release, with or without an attempt's number.

        Returns:
            The first of ``ID``, ``ID#2``, ``ID#3``, ... that is not charged. Asking twice gives the same answer.
        """
        rows, base = self._rows(), _base(release_id)
        attempts = _attempts(rows, base)
        return f"{base}#{len(attempts) + 1}" if attempts else base

    def spent(self, dataset: str, *, delta: float) -> Spent:
        """What the releases about a data set have spent together, at one delta for all of them.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the file cannot be read.
            ValueError: for a delta outside of its range.
        """
        probability("delta", delta)
        rows = self._rows()
        charges = _charges(rows, dataset=dataset)
        return Spent(releases=len(charges), epsilon=compose(_events(charges), delta=delta), delta=delta)

    def entries(self, dataset: str | None = None) -> tuple[Entry, ...]:
        """The rows in order: all of them, or those about one data set.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the file cannot be read.
        """
        rows = self._rows()
        entries = (_as_entry(row) for row in rows)
        return tuple(entry for entry in entries if dataset is None or entry.dataset == dataset)

    def head(self) -> Head:
        """Where the chain stands now.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the file cannot be read.
        """
        rows = self._rows()
        return Head(ledger=self.id, seq=rows[-1].seq, hash=rows[-1].hash)

    def verify(self, *, known: Head | None = None) -> None:
        """Check every row, the table's own rules, and SQLite's pages.

        Args:
            known: a head that was seen before, for example in an evidence bundle; the chain must contain it.

        Raises:
            IntegrityError: at the first row that is not what it was, or if the chain does not contain `known`.
            WorkspaceError: if the file cannot be read.
        """
        rows = self._rows()
        file.check_pages(self.path)
        if known is None:
            return
        if known.ledger != self.id or not 0 < known.seq <= len(rows) or rows[known.seq - 1].hash != known.hash:
            raise IntegrityError(
                f"the ledger does not contain row {known.seq} as it was seen before: it was rolled back or replaced",
                where=str(self.path),
                hint="find out who replaced the file; charges may be missing from it",
            )

    def _rows(self) -> list[file.Row]:
        rows = file.read(self.path)
        self._check_identity(rows)
        return rows

    def _check_identity(self, rows: list[file.Row]) -> None:
        if _identity(rows) != self.id:
            raise IntegrityError(
                "another ledger was put in this one's place while it was in use",
                where=str(self.path),
                hint="find out who replaced the file; charges may be missing from it",
            )

    def _charged(self, rows: list[file.Row], release_id: str) -> file.Row:
        self._check_identity(rows)
        charge = _charge_row(rows, release_id)
        if charge is None:
            raise UsageError(
                "this release is not charged",
                where=f"{self.path}: {release_id}",
                hint="charge it before it is computed",
            )
        return charge

    def _existing(self, row: file.Row, release: PlannedRelease) -> Charge:
        if json.loads(row.body)["release"] != json.loads(_encode(release)):
            raise self._refusal("this id is charged already for another release", release.release_id)
        return _as_charge(row, fresh=False)

    def _refusal(self, message: str, release_id: str) -> IntegrityError:
        return IntegrityError(
            message,
            where=f"{self.path}: {release_id}",
            hint="charge a new release, under an id of its own",
        )

    def _note(
        self,
        db: sqlite3.Connection,
        rows: list[file.Row],
        kind: Literal["progress", "seal"],
        charge: file.Row,
        body: object,
    ) -> None:
        file.append(
            db,
            rows[-1],
            kind,
            release_id=charge.release_id,
            dataset=charge.dataset,
            charge=charge.seq,
            body=_encode(body),
            at=_now(),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _encode(value: object) -> str:
    return canonical_json(value).decode()


def _identity(rows: list[file.Row]) -> str:
    return str(json.loads(rows[0].body)["id"])


def _base(release_id: str) -> str:
    match = _ATTEMPT.fullmatch(release_id)
    return match[1] if match else release_id


def _attempts(rows: list[file.Row], base: str) -> list[str]:
    """The ids of the charged attempts at a release, in order, without a gap."""
    charged = {row.release_id for row in rows if row.kind == "charge"}
    attempts = []
    candidate = base
    while candidate in charged:
        attempts.append(candidate)
        candidate = f"{base}#{len(attempts) + 1}"
    return attempts


def _charges(rows: list[file.Row], *, dataset: str) -> list[file.Row]:
    return [row for row in rows if row.kind == "charge" and row.dataset == dataset]


def _charge_row(rows: list[file.Row], release_id: str) -> file.Row | None:
    return next((row for row in rows if row.kind == "charge" and row.release_id == release_id), None)


def _last(rows: list[file.Row], kind: Literal["progress", "seal"], release_id: str) -> dict[str, Any] | None:
    """The content of the newest row of this kind about a release."""
    found = next((row for row in reversed(rows) if row.kind == kind and row.release_id == release_id), None)
    return None if found is None else dict(json.loads(found.body))


def _events(charges: list[file.Row]) -> list[DpEvent]:
    return [event_from_json(event) for row in charges for event in json.loads(row.body)["release"]["events"]]


def _check_unit(earlier: list[file.Row], release: PlannedRelease) -> None:
    for row in earlier:
        if json.loads(row.body)["release"]["unit"] != release.unit:
            raise UsageError(
                "this data set was charged before for another privacy unit; the two cannot be composed",
                where=release.dataset,
                hint="make the unit a part of the data set's key",
            )


def _check_limit(earlier: list[file.Row], release: PlannedRelease, limit: Limit) -> None:
    epsilon = compose([*_events(earlier), *release.events], delta=limit.delta)
    if epsilon > limit.epsilon:
        raise BudgetError(
            f"with {len(earlier)} earlier releases, this one would bring the data set to epsilon {epsilon:.4g} "
            f"at delta {limit.delta:g}, above its limit of {limit.epsilon:g}",
            where=release.dataset,
            hint="do not release; or decide anew, on record, what the limit is",
        )


def _as_charge(row: file.Row, *, fresh: bool) -> Charge:
    return Charge(seq=row.seq, release_id=row.release_id, at=row.at, hash=row.hash, fresh=fresh)


def _as_entry(row: file.Row) -> Entry:
    return Entry(
        seq=row.seq,
        kind=row.kind,
        release_id=row.release_id,
        dataset=row.dataset,
        body=json.loads(row.body),
        at=row.at,
        hash=row.hash,
    )
