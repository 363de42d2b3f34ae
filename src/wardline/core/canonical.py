"""Canonical JSON (RFC 8785) and digests: one value, one sequence of bytes."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_json(value: object) -> Any:
    """Turn frozen values (dataclasses, enums, tuples, mappings, NumPy scalars) into plain JSON values.

    Raises:
        ValueError: for a float that is not finite; JSON has no word for it.
        TypeError: for anything else that JSON cannot hold, secrets' handles among them.
    """
    match value:
        case enum.Enum():  # first, since a member may be text or a number as well
            return to_json(value.value)
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise ValueError("a number that is not finite cannot stand in JSON")
            return float(value)
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError("the keys of a JSON object are text")
            return {key: to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _ if hasattr(value, "tolist") and hasattr(value, "dtype"):
            return to_json(value.tolist())
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def canonical_json(value: object) -> bytes:
    """Encode a value as canonical JSON (RFC 8785): sorted keys, no spaces, one form for each number.

    Raises:
        ValueError: for numbers that JSON cannot carry exactly (not finite, or integers beyond 2**53).
        TypeError: for values without a JSON form.
    """
    import rfc8785

    try:
        return rfc8785.dumps(to_json(value))
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def digest_bytes(data: bytes) -> str:
    """SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_value(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as 64 hexadecimal digits."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
