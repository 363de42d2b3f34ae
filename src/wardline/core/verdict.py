"""The three values that a gate can take, and how several of them add up."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Verdict(enum.Enum):
    """Pass, fail or inconclusive. There is no fourth, and doubt is never a pass."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> int:
        """The command line's exit code for this verdict."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 5}[self]


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for many: a failure outweighs doubt, doubt outweighs a pass, and nothing at all is doubt.

    Raises:
        TypeError: for something that is no verdict, such as its name: it must not pass for want of a match.
    """
    seen = set(verdicts)
    if not all(isinstance(one, Verdict) for one in seen):
        raise TypeError("only verdicts add up to a verdict")
    if Verdict.FAIL in seen:
        return Verdict.FAIL
    if Verdict.INCONCLUSIVE in seen or not seen:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS
