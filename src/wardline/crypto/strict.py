"""Reading bytes that a stranger may have written: canonical JSON and canonical base64, or nothing.

Strictness has a purpose beyond tidiness. If two different byte strings meant the same thing, a stored
digest, a cache and a reader could disagree about whether they hold the same object; here every accepted
value has exactly one spelling, so no byte of it can be changed without a refusal or another value.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

from wardline.core import IntegrityError, canonical_json

MAX_DEPTH = 64
"""Arrays and objects inside each other; the evidence needs about ten."""

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_LARGEST_EXACT = 2**53 - 1  # beyond it RFC 8785 knows only floats


def parse_canonical(data: bytes, *, what: str, max_bytes: int, max_depth: int = MAX_DEPTH) -> Any:
    """Read canonical JSON (RFC 8785) and refuse everything else.

    Args:
        data: the bytes, all of them.
        what: how the error message calls them, for example ``the envelope``.
        max_bytes: the most bytes to look at.
        max_depth: the most arrays and objects inside each other.

    Returns:
        The value; encoding it again with `canonical_json` gives exactly `data`.

    Raises:
        IntegrityError: if the bytes are too many, too deeply nested, not UTF-8, not JSON, contain a key
            twice, or are not the one canonical spelling of their value.
    """
    if len(data) > max_bytes:
        raise IntegrityError(f"{what} has more than {max_bytes} bytes")
    # Checked beforehand: the parser's own limit depends on how deep the caller's stack already is.
    if _deeper_than(max_depth, data):
        raise IntegrityError(f"{what} is nested more than {max_depth} deep")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer
        )
        canonical = canonical_json(value)
    # ValueError covers broken UTF-8, broken JSON, endless digits, lone surrogates and numbers that are too large.
    except ValueError as error:
        raise IntegrityError(f"{what} is not canonical json") from error
    if canonical != data:
        raise IntegrityError(f"{what} is not canonical json: the same value has another spelling")
    return value


def decode_base64(text: object, *, what: str) -> bytes:
    """Read standard base64 with padding, in its one canonical spelling.

    Raises:
        IntegrityError: for anything else: another alphabet, blanks, missing padding, stray bits at the end.
    """
    if not isinstance(text, str):
        raise IntegrityError(f"{what} is not text")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise IntegrityError(f"{what} is not base64") from error
    if encode_base64(data) != text:
        raise IntegrityError(f"{what} is not canonical base64: the same bytes have another spelling")
    return data


def encode_base64(data: bytes) -> str:
    """Standard base64 (RFC 4648, section 4) with padding."""
    return base64.b64encode(data).decode("ascii")


def exact_object(value: object, keys: frozenset[str], *, what: str) -> dict[str, Any]:
    """An object with exactly these keys.

    Raises:
        IntegrityError: if it is something else, or has one key more or less.
    """
    if not isinstance(value, dict) or value.keys() != keys:
        raise IntegrityError(f"{what} must have exactly the keys {', '.join(sorted(keys))}")
    return value


def _deeper_than(limit: int, data: bytes) -> bool:
    # Agrees with the JSON parser up to the first error in the text, where the parser stops anyway.
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub(b"", data)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limit:
            return True
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not json")


def _integer(digits: str) -> int | float:
    # The canonical form of the float 1e17 looks like a whole number; as a Python int it could not be
    # encoded again. Whether it was spelled as RFC 8785 wants is settled by the comparison afterwards.
    number = int(digits)
    return number if abs(number) <= _LARGEST_EXACT else float(digits)
