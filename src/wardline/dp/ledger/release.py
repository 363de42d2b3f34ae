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
        adaptive: whether somebody may choose a release (its noise, its sampling, or whether to make it) after
            looking at earlier ones. Then the limit is kept by a filter, which is a theorem for that case and
            leaves 3 to 14 % of epsilon unused. False says that all parameters were fixed before the first result
            was seen; then the exact composition is compared with the limit. The ledger cannot check which is true.
    """

    epsilon: float
    delta: float
    adaptive: bool = True

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
            check_text(name, getattr(self, name))
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
        epsilon: composed as if all parameters had been fixed beforehand, at `delta`; 0 without any release, infinite if
            the releases' own deltas add up to more.
        delta: the delta that was asked about.
    """

    releases: int
    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A data set in the ledger.

    Attributes:
        key: see `dataset_key`.
        unit: its privacy unit, in words; empty before the first charge.
        releases: how many were charged.
        limit: the limit stored for it, or None.
    """

    key: str
    unit: str
    releases: int
    limit: Limit | None


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
        kind: ``open``, ``charge``, ``progress``, ``seal`` or ``limit``.
        release_id, dataset: what it is about; empty where it is about none.
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


def dataset_key(*, unit: object, source_sha256: str | None = None, name: str | None = None) -> str:
    """The key of a data set: what it is and its privacy unit, since an epsilon per row and one per person do not add.

    Args:
        unit: the privacy unit.
        source_sha256: digest of the bytes of a file. Another version of a file about the same people has another key,
            and the ledger does not add the two up: give such data a name instead.
        name: for tables that live and change: what the people in them are known by, chosen once and kept.

    Raises:
        ValueError: unless exactly one of the two is given.
    """
    if (source_sha256 is None) == (name is None):
        raise ValueError("a data set is known by the digest of its bytes or by a name, not both")
    if source_sha256 is not None:
        return digest_value({"source_sha256": check_digest("source_sha256", source_sha256), "unit": unit})
    return digest_value({"name": check_text("name", str(name)), "unit": unit})


def check_digest(name: str, value: str) -> str:
    """64 lower-case hexadecimal digits, or `ValueError`."""
    if not _DIGEST.fullmatch(value):
        raise ValueError(f"{name} must be a SHA-256 as 64 lower-case hexadecimal digits")
    return value


def check_text(name: str, value: str) -> str:
    """Printable text of 1 to 512 characters, or `ValueError`."""
    if not (value and value.isprintable() and len(value) <= 512):
        raise ValueError(f"{name} must be printable text of 1 to 512 characters")
    return value
