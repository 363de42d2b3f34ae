"""Records as coefficients, and rows of tables as records of one length."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import canonical_json
from wardline.core.errors import DataError, IntegrityError
from wardline.he.kernels.packing import pack
from wardline.he.kernels.splitting import split_bits
from wardline.he.lookup.plan import LookupPlan

Bytes = npt.NDArray[np.uint8]


def to_coefficients(records: Bytes, plan: LookupPlan) -> npt.NDArray[np.int64]:
    """Records as plaintext coefficients between -t / 2 and t / 2: [count, bytes] to [count, coefficients].

    Raises:
        ValueError: for records of another length or type.
    """
    if records.dtype != np.uint8 or records.ndim != 2 or records.shape[1] != plan.record_bytes:
        raise ValueError(f"records must be bytes [count, {plan.record_bytes}]")
    out = split_bits(records, plan.plain_bits)
    return np.where(out >= 1 << (plan.plain_bits - 1), out - (1 << plan.plain_bits), out)


def from_coefficients(coefficients: npt.NDArray[np.int64], plan: LookupPlan) -> bytes:
    """The record in its coefficients, which may be centred around 0.

    Raises:
        IntegrityError: if bits are set beyond the record's end: then it is none.
    """
    values = (coefficients[: plan.coefficients] & ((1 << plan.plain_bits) - 1)).astype(np.uint64)
    data = pack(values, plan.plain_bits)
    if any(data[plan.record_bytes :]):
        raise IntegrityError(
            "the reply decrypts to no record: other keys, or another database, or the server erred",
            hint="ask again; do not tell the server which record it was about",
        )
    return data[: plan.record_bytes]


def encode_rows(rows: Sequence[Sequence[Any]]) -> Bytes:
    """Rows of a table as records [rows, bytes]: canonical JSON of the values, filled up to the longest with zeros.

    What JSON has no word for (dates, decimals) becomes text; numbers that are not finite become null.

    Raises:
        DataError: for no rows.
    """
    if not rows:
        raise DataError("there are no rows to look up", hint="give at least one row")
    texts = [canonical_json([_plain(value) for value in row]) for row in rows]
    size = max(map(len, texts))
    return np.frombuffer(b"".join(text.ljust(size, b"\0") for text in texts), dtype=np.uint8).reshape(-1, size)


def decode_row(record: bytes, columns: Sequence[str]) -> dict[str, Any]:
    """Read a record of `encode_rows` back.

    Raises:
        IntegrityError: if it is none of these columns.
    """
    try:
        values = json.loads(record.rstrip(b"\0").decode())
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(columns):
        raise IntegrityError(
            "the record is no row of this table", hint="the server answered with something else; do not tell it which"
        )
    return dict(zip(columns, values, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= 1 << 53 else str(value)  # beyond, readers of JSON disagree
    return str(value)
