"""Why a request is refused, in words that a program can act on."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """One reason each; its value travels to the client."""

    MALFORMED = "malformed"  # bytes that are not what they should be
    TOO_LARGE = "too-large"  # more rows, parts or bytes than are taken
    NO_DEADLINE = "no-deadline"  # a call without one, or with one too far away
    IDENTITY = "identity"  # no client certificate that names one client
    SESSION = "session"  # unknown, expired, or another client's: nobody is told which
    KEYS = "keys"  # to be uploaded first
    MODEL = "model"  # another one is served here
    REPLAY = "replay"  # the request was charged before
    BUDGET = "budget"  # no rows are left
    RATE = "rate"  # too many calls; later is fine
    BUSY = "busy"  # too many at once; later is fine
    LATE = "late"  # the deadline passed, or the client went away


class Refusal(Exception):  # noqa: N818 (nothing is in error: it is an answer)
    """A request that is not answered, and why.

    Args:
        reason: which.
        message: for people, without secrets or data.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
