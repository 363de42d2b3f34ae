"""Signed statements of a ledger's head: what a chain cannot show about itself, somebody else can keep.

A statement says, over a signature, which row was the newest, and what each data set had spent. It holds no data and no
release's content. A ledger that does not contain the row any more was rolled back or replaced.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardline.core.canonical import canonical_json, to_json
from wardline.core.errors import IntegrityError, WorkspaceError
from wardline.core.files import write_atomic
from wardline.dp.ledger.release import Head, check_digest

if TYPE_CHECKING:
    from wardline.crypto import SigningKey, VerifyingKey
    from wardline.dp.ledger.book import Ledger

PAYLOAD_TYPE = "application/vnd.wardline.ledger-head+json"
"""The media type of a statement."""

CONTEXT = b"wardline.ledger.head/1"
"""The use that a statement is signed for: no other signature of the same key is taken for one."""

DELTA = 1e-6
"""The delta at which the spending of a data set without a stored limit is stated."""

_FORMAT = "wardline.ledger-head/1"
_KEYS = {"format", "head", "at", "datasets"}
_MAX_BYTES = 6 * 1024 * 1024


def write_statement(ledger: Ledger, path: Path, key: SigningKey) -> Head:
    """Sign where a ledger stands and write it to a file; see `Ledger.export`."""
    from wardline.crypto import seal

    head = ledger.head()
    datasets = []
    for one in ledger.datasets():
        delta = one.limit.delta if one.limit else DELTA
        epsilon = ledger.spent(one.key, delta=delta).epsilon
        datasets.append(
            {
                "dataset": one.key,
                "unit": one.unit,
                "releases": one.releases,
                "epsilon": epsilon if math.isfinite(epsilon) else None,
                "delta": delta,
                "limit": to_json(one.limit),
            }
        )
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    payload = canonical_json({"format": _FORMAT, "head": head, "at": at, "datasets": datasets})
    write_atomic(path, seal(payload, payload_type=PAYLOAD_TYPE, key=key, context=CONTEXT))
    return head


def read_statement(path: Path, key: VerifyingKey) -> tuple[Head, dict[str, Any]]:
    """Check a statement's signature and return the head that it states, and all that it says.

    Args:
        path: what `Ledger.export` wrote.
        key: the signer's public key, from a source that is not the statement.

    Raises:
        IntegrityError: unless the holder of `key` signed exactly this as a statement.
        WorkspaceError: if it cannot be read.
    """
    from wardline.crypto import open_envelope

    try:
        with path.open("rb") as file:
            envelope = file.read(_MAX_BYTES)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise WorkspaceError(f"cannot read: {reason}", where=str(path), hint="check the path") from error
    try:
        value = json.loads(open_envelope(envelope, payload_type=PAYLOAD_TYPE, key=key, context=CONTEXT))
        if set(value) != _KEYS or value["format"] != _FORMAT:
            raise ValueError("another format")
        head = Head(**value["head"])
        check_digest("hash", head.hash)
    except IntegrityError as error:
        error.where = error.where or str(path)
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("this is no statement of a ledger's head", where=str(path)) from error
    return head, value
