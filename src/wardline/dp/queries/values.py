"""Checks of names and key values, which several parts of a query share."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

KeyValue = bool | int | str | datetime.date
"""What a group key may be."""


def check_name(what: str, value: str, *, longest: int = 1024) -> str:
    """Text that can name a thing: not empty, valid Unicode. Anything else, quotes among it, is harmless and allowed.

    Raises:
        ValueError: otherwise.
        TypeError: if it is no text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is no valid Unicode text") from None
    if not value or len(value) > longest:
        raise ValueError(f"{what} must have 1 to {longest} characters")
    return value


def checked_values(column: str, values: Sequence[KeyValue]) -> tuple[KeyValue, ...]:
    """Key values: at least one, all of one type, all different; NumPy's scalars become Python's.

    Raises:
        ValueError: if they are empty, double, beyond 64 bits or no valid Unicode.
        TypeError: if they are of no type that a key may have, or of several.
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"the values of {column!r} must be a list, not one text")
    found = tuple(_plain(column, value) for value in values)
    if not found:
        raise ValueError(f"the values of {column!r} are empty; None finds them in the data")
    if len({type(value) for value in found}) > 1:
        raise TypeError(f"the values of {column!r} must be all of one type")
    if len(set(found)) != len(found):
        raise ValueError(f"the values of {column!r} must differ from each other")
    return found


def _plain(column: str, value: object) -> KeyValue:
    if hasattr(value, "item") and not isinstance(value, bool | int | str | datetime.date):
        value = value.item()  # a NumPy scalar
    if isinstance(value, datetime.datetime) or not isinstance(value, bool | int | str | datetime.date):
        raise TypeError(f"a key of {column!r} must be a whole number, text, date or truth value")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"a key of {column!r} lies beyond 64 bits")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"a key of {column!r} is no valid Unicode text") from None
    return value
