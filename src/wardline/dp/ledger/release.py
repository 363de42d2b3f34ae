"""What the ledger speaks of: a release and its charge, a limit, what was spent, a head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardline.core.canonical import canonical_json, digest_value
from wardline.core.checks import positive, probability
from wardline.dp.accounting import DpEvent

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What all releases about one data set may spend together.

    Attributes:
        epsilon: above 0.
        delta: in (0, 1).
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        positive("epsilon", self.epsilon)
        probability("delta", self.delta)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRelease:
    """Something that will be computed from a data set and given out.

    Attributes:
        release_id: stands for everything that defines the release; a digest. ``#`` and a number mark an attempt.
        dataset: the data set and its privacy unit; see `dataset_key`.
        unit: the privacy unit, in words; one for each data set.
        events: the mechanisms that it applies, at least one.
        description: what it is, for the person who reads the ledger; no data.
    """

    release_id: str
    dataset: str
    unit: str
    events: tuple[DpEvent, ...]
    description: str

    def __post_init__(self) -> None:
        for name in ("release_id", "dataset", "unit"):
            _check_text(name, getattr(self, name))
        if not self.events:
            raise ValueError("a release without any mechanism is not private and cannot be charged")
        canonical_json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A release in the ledger.

    Attributes:
        seq: its row.
        release_id: the release.
        at: when it was first charged (UTC).
        hash: its row's place in the chain.
        fresh: whether this call wrote it; False if it had been charged before.
    """

    seq: int
    release_id: str
    at: str
    hash: str
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the releases about one data set have spent together.

    Attributes:
        releases: how many there are.
        epsilon: composed, at `delta`; 0 without any release.
        delta: the delta that was asked about.
    """

    releases: int
    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the chain stands: what an evidence bundle carries so that a rollback can be seen.

    Attributes:
        ledger: the ledger's own identity, drawn when it was made.
        seq: the number of its newest row.
        hash: that row's hash.
    """

    ledger: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the ledger, for people and reports.

    Attributes:
        seq: its number, from 1.
        kind: ``open``, ``charge``, ``progress`` or ``seal``.
        release_id, dataset: what it is about; empty for ``open``.
        body: its content.
        at: when it was written (UTC).
        hash: its place in the chain.
    """

    seq: int
    kind: str
    release_id: str
    dataset: str
    body: Mapping[str, Any]
    at: str
    hash: str


def dataset_key(*, source_sha256: str, unit: object) -> str:
    """The key of a data set: its bytes and its privacy unit, since an epsilon per row and one per person do not add."""
    return digest_value({"source_sha256": check_digest("source_sha256", source_sha256), "unit": unit})


def check_digest(name: str, value: str) -> str:
    """64 lower-case hexadecimal digits, or `ValueError`."""
    if not _DIGEST.fullmatch(value):
        raise ValueError(f"{name} must be a SHA-256 as 64 lower-case hexadecimal digits")
    return value


def _check_text(name: str, value: str) -> None:
    if not (value and value.isprintable() and len(value) <= 512):
        raise ValueError(f"{name} must be printable text of 1 to 512 characters")
