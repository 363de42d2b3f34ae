"""What all checks of evidence share: how it is refused, and the day on which it was made."""

from __future__ import annotations

import datetime
import re

from wardline.core import IntegrityError

_CREATED = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def creation_day(text: str) -> datetime.date:
    """The day on which evidence was made, in UTC.

    Raises:
        IntegrityError: if it does not say so in the one form.
    """
    if not _CREATED.fullmatch(text):
        raise inconsistent("it does not say when it was made, as YYYY-MM-DDThh:mm:ssZ")
    try:
        return datetime.datetime.fromisoformat(text).date()
    except ValueError as error:
        raise inconsistent("it was made at a time that is not in the calendar") from error


def inconsistent(what: str) -> IntegrityError:
    """The refusal of evidence that contradicts itself."""
    return IntegrityError(
        f"the evidence does not hold together: {what}",
        hint="do not rely on it; the program that wrote it is at fault, whoever signed it",
    )
