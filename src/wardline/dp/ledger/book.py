"""The budget ledger: what has been released about each data set, charged before it is computed, never refunded.

One ledger serves all releases. A release is charged once under its id; the id stands for everything that
defines the release, so that running the same thing again after a crash finds its charge and goes on, while
anything that differs is a release of its own.

Going on is sound only while one charge leads to one result. After a kill, a run that resumes from the last
checkpoint noted here draws fresh noise for later steps alone, and the abandoned steps were never shown to anybody. If
that checkpoint is lost, or a sealed result is, computing once more would draw fresh noise for the same steps: two
noisy answers, one charge. Such a run charges anew, under the id that `Ledger.next_attempt_id` gives.

What the chain shows, and what it cannot: every row carries a hash over all of its columns and the row before, so a row
that is changed, moved, inserted or removed is found, except that **the newest rows can be cut off, or the whole ledger
be written anew, without a trace inside it**. Processes that have it open notice; for all others, evidence
bundles carry `Ledger.head`, and `Ledger.export` writes it down signed. A later ledger that does not contain such
a head has been rolled back (`Ledger.verify` with `known`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from wardline.core.canonical import to_json
from wardline.core.checks import probability
from wardline.core.errors import IntegrityError, UsageError
from wardline.dp.accounting import compose
from wardline.dp.ledger._chain import Row
from wardline.dp.ledger._open import OpenLedger, encode
from wardline.dp.ledger._state import State
from wardline.dp.ledger.release import (
    Charge,
    Dataset,
    Entry,
    Head,
    Limit,
    PlannedRelease,
    Spent,
    check_digest,
    check_text,
)

if TYPE_CHECKING:
    from wardline.crypto import SigningKey

_ATTEMPT = re.compile(r"(.+)#[1-9][0-9]*")
_TRIES = 3  # after so many compositions that others outran, the next one is made while they wait


class Ledger(OpenLedger):
    """The releases about all data sets, which several processes may charge at once.

    Every write is on the disk before the call returns. One object may be shared by threads, which take turns.

    Args:
        address: a file on a local disk, made with its folder if it is not there (SQLite); or
            ``postgresql://USER:PASSWORD@HOST/DATABASE``, where a table is made if it is not there.

    Raises:
        WorkspaceError: if it cannot be written.
        IntegrityError: if it is not a ledger, or was tampered with.
        UsageError: if the address cannot be read.
        MissingExtraError: for PostgreSQL without psycopg.

    Guarantee: a charge is durable before `charge` returns, each release id has at most one, and under concurrent
    calls the releases about a data set never exceed a limit that all callers state or that is stored here.
    """

    def charge(self, release: PlannedRelease, *, limit: Limit | None) -> Charge:
        """Charge a release, before anything of it is computed. Never undone.

        Args:
            release: what will be computed.
            limit: what its data set may spend in all, this release included; None for no limit but the stored one.

        Returns:
            The charge: a new one, or the one that this release already has, which no limit is asked about again.

        Raises:
            BudgetError: if the data set would exceed its limit, or the one stored for it; nothing is written.
            IntegrityError: if the id is charged already for something else, or the ledger was tampered with.
            UsageError: if the data set was charged before for another privacy unit.
            WorkspaceError: if the ledger cannot be written; nothing is then written by halves.
            ValueError: if the limit's delta is too small to be accounted for.

        Guarantee: see `Limit.adaptive` and `wardline.dp.accounting.filters`.
        """
        proven: set[Limit] = set()  # of those that had to be composed
        proven_at, tries = 0, 0
        while True:
            with self._writing() as (session, state):
                existing = state.charges.get(release.release_id)
                if existing is not None:
                    return self._existing(existing, release)
                account = state.account(release.dataset)
                _check_unit(account.unit, release)
                if proven_at != len(account.releases):
                    proven = set()
                answers = {
                    one: one in proven or account.admits(release, one)
                    for one in (limit, account.limit)
                    if one is not None
                }
                if tries >= _TRIES:
                    answers = {one: account.composes(release, one) if a is None else a for one, a in answers.items()}
                if all(answers.values()):
                    row = self._append(
                        session,
                        "charge",
                        {"release": to_json(release), "limit": to_json(limit)},
                        release_id=release.release_id,
                        dataset=release.dataset,
                    )
                    break
                snapshot = account.copy()
            # Composing takes time and holds no lock. Whoever charges meanwhile changes the sum: then look again.
            for one, answer in answers.items():
                if answer is False or (answer is None and not snapshot.composes(release, one)):
                    raise snapshot.refusal(release, one)
            proven, proven_at, tries = set(answers), len(snapshot.releases), tries + 1
        return Charge(seq=row.seq, release_id=row.release_id, at=row.at, hash=row.hash, fresh=True)

    def set_limit(self, dataset: str, limit: Limit, *, unsafe_raise: bool = False, reason: str = "") -> Entry:
        """Store a limit for a data set. From now on every charge obeys it, and a stricter one if the caller states it.

        Args:
            dataset: see `dataset_key`; it need not have been charged.
            limit: what all releases may spend together, those before included.
            unsafe_raise: needed to put a looser limit in the place of a stricter one. The filter's guarantee then holds
                for the looser limit, and only if it would have been chosen whatever the releases had shown.
            reason: why, for the person who reads the ledger; printable text, at most 512 characters.

        Returns:
            The row, which stays visible in the chain.

        Raises:
            UsageError: if the limit is looser than the one stored, without `unsafe_raise`; nothing is written.
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be written.
            ValueError: for a reason that is not printable.
        """
        check_text("dataset", dataset)
        if reason:
            check_text("reason", reason)
        with self._writing() as (session, state):
            before = state.account(dataset).limit
            looser = before is not None and _is_looser(limit, before)
            if looser and not unsafe_raise:
                raise UsageError(
                    "this limit is looser than the one that is stored",
                    where=dataset,
                    hint="keep the stricter one; or say expressly that it is raised: unsafe_raise=True, "
                    "on the command line --raise",
                )
            body = {"limit": to_json(limit), "raised": looser, "reason": reason}
            row = self._append(session, "limit", body, dataset=dataset)
        return _as_entry(row)

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
            WorkspaceError: if the ledger cannot be written.
            ValueError: for a negative step or something that is no SHA-256.
        """
        if step < 0:
            raise ValueError(f"step must be at least 0, not {step}")
        check_digest("digest", digest)
        with self._writing() as (session, state):
            charge = self._charged(state, release_id)
            if release_id in state.seals:
                raise self._refusal("this release is sealed: computing on would be a second release", release_id)
            noted = state.steps.get(release_id)
            if noted is not None and step <= noted[0]:
                if noted == (step, digest):
                    return
                raise self._refusal(f"step {noted[0]} of this release is already noted", release_id)
            self._append_to(session, "progress", charge, {"step": step, "digest": digest})

    def checkpoint(self, release_id: str) -> tuple[int, str] | None:
        """The step and digest of the last checkpoint noted, or None.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read.
        """
        with self._reading() as state:
            return state.steps.get(release_id)

    def seal(self, release_id: str, result_sha256: str) -> None:
        """Note that the result of a release was delivered. Sealing the same result again changes nothing.

        Raises:
            UsageError: if the release is not charged.
            IntegrityError: if it is sealed with another result: that would be two releases for one charge.
            WorkspaceError: if the ledger cannot be written.
            ValueError: for something that is no SHA-256.
        """
        check_digest("result_sha256", result_sha256)
        with self._writing() as (session, state):
            charge = self._charged(state, release_id)
            sealed = state.seals.get(release_id)
            if sealed is None:
                self._append_to(session, "seal", charge, {"result_sha256": result_sha256})
            elif sealed != result_sha256:
                raise self._refusal("this release is sealed with another result", release_id)

    def sealed(self, release_id: str) -> str | None:
        """SHA-256 of the result that this release was sealed with, or None.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read.
        """
        with self._reading() as state:
            return state.seals.get(release_id)

    def latest_attempt_id(self, release_id: str) -> str:
        """The id of the newest charged attempt at this release; its own id if none is charged.

        Args:
            release_id: the release, with or without an attempt's number.
        """
        base = _base(release_id)
        with self._reading() as state:
            return [base, *_attempts(state, base)][-1]

    def next_attempt_id(self, release_id: str) -> str:
        """The id under which to charge anew when the result, or the checkpoint to continue from, is lost.

        Args:
            release_id: the release, with or without an attempt's number.

        Returns:
            The first of ``ID``, ``ID#2``, ``ID#3``, ... that is not charged. Asking twice gives the same answer.
        """
        base = _base(release_id)
        with self._reading() as state:
            attempts = _attempts(state, base)
        return f"{base}#{len(attempts) + 1}" if attempts else base

    def spent(self, dataset: str, *, delta: float) -> Spent:
        """What the releases about a data set have spent together, at one delta for all of them.

        Composed as if all parameters had been fixed beforehand; where they were not, what holds is the limit that a
        filter kept.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read.
            ValueError: for a delta outside of its range, or too small to be accounted for.
        """
        probability("delta", delta)
        with self._reading() as state:
            account = state.account(dataset).copy()
        return Spent(releases=len(account.releases), epsilon=compose(account.events, delta=delta), delta=delta)

    def datasets(self) -> tuple[Dataset, ...]:
        """The data sets that were charged or limited, in the order of their first row.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read.
        """
        with self._reading() as state:
            return tuple(
                Dataset(key=key, unit=one.unit, releases=len(one.releases), limit=one.limit)
                for key, one in state.accounts.items()
            )

    def limit(self, dataset: str) -> Limit | None:
        """The limit that is stored for a data set, or None.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read.
        """
        with self._reading() as state:
            return state.account(dataset).limit

    def entries(self, dataset: str | None = None) -> tuple[Entry, ...]:
        """The rows in order: all of them, or those about one data set.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read.
        """
        with self._reading() as state:
            return tuple(_as_entry(row) for row in state.rows if dataset is None or row.dataset == dataset)

    def head(self) -> Head:
        """Where the chain stands now.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read.
        """
        with self._reading() as state:
            return Head(ledger=self.id, seq=state.rows[-1].seq, hash=state.rows[-1].hash)

    def export(self, path: Path, key: SigningKey) -> Head:
        """Write down where the chain stands, and what was spent, signed: whoever keeps the file can find a rollback.

        Args:
            path: written whole or not at all; read it with `statement.read_head`.
            key: the signer's.

        Raises:
            IntegrityError: if the ledger was tampered with.
            WorkspaceError: if the ledger cannot be read or the file not be written.
        """
        from wardline.dp.ledger.statement import write_statement

        return write_statement(self, path, key)

    def verify(self, *, known: Head | None = None) -> None:
        """Check every row, the table's own rules, and SQLite's pages.

        Args:
            known: a head that was seen before, for example in an evidence bundle or an export; the chain must contain
                it.

        Raises:
            IntegrityError: at the first row that is not what it was, or if the chain does not contain `known`.
            WorkspaceError: if the ledger cannot be read.
        """
        with self._reading(completely=True) as state:
            rows = state.rows
            self._store.check()
        if known is None:
            return
        if known.ledger != self.id or not 0 < known.seq <= len(rows) or rows[known.seq - 1].hash != known.hash:
            raise IntegrityError(
                f"the ledger does not contain row {known.seq} as it was seen before: it was rolled back or replaced",
                where=self.place,
                hint="find out who replaced it; charges may be missing from it",
            )

    def _charged(self, state: State, release_id: str) -> Row:
        charge = state.charges.get(release_id)
        if charge is None:
            raise UsageError(
                "this release is not charged",
                where=f"{self.place}: {release_id}",
                hint="charge it before it is computed",
            )
        return charge

    def _existing(self, row: Row, release: PlannedRelease) -> Charge:
        if json.loads(row.body)["release"] != json.loads(encode(release)):
            raise self._refusal("this id is charged already for another release", release.release_id)
        return Charge(seq=row.seq, release_id=row.release_id, at=row.at, hash=row.hash, fresh=False)

    def _refusal(self, message: str, release_id: str) -> IntegrityError:
        return IntegrityError(
            message,
            where=f"{self.place}: {release_id}",
            hint="charge a new release, under an id of its own",
        )


def _base(release_id: str) -> str:
    match = _ATTEMPT.fullmatch(release_id)
    return match[1] if match else release_id


def _attempts(state: State, base: str) -> list[str]:
    """The ids of the charged attempts at a release, in order, without a gap."""
    attempts = []
    candidate = base
    while candidate in state.charges:
        attempts.append(candidate)
        candidate = f"{base}#{len(attempts) + 1}"
    return attempts


def _check_unit(unit: str, release: PlannedRelease) -> None:
    if unit and unit != release.unit:
        raise UsageError(
            "this data set was charged before for another privacy unit; the two cannot be composed",
            where=release.dataset,
            hint="make the unit a part of the data set's key",
        )


def _is_looser(limit: Limit, before: Limit) -> bool:
    """Whether a limit could admit anything that the other does not."""
    return limit.epsilon > before.epsilon or limit.delta > before.delta or (before.adaptive and not limit.adaptive)


def _as_entry(row: Row) -> Entry:
    return Entry(
        seq=row.seq,
        kind=row.kind,
        release_id=row.release_id,
        dataset=row.dataset,
        body=json.loads(row.body),
        at=row.at,
        hash=row.hash,
    )
