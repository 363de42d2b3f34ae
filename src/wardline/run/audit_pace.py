"""How fast a model answers, and how many examples that allows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.target import Target

_PILOT = (16, 128)  # examples, at least and at most
_QUICKLY = 0.01  # seconds: a model that answers the least pilot so fast needs no larger one
_NO_LONGER = 1.5  # times the half as many: then it is the asking that takes time, and not the answering
_CAP_SHARE = 0.01  # of the questions that are left
_EXAMINED = (40, 200)  # examples, at least and at most
_ASKED_EACH = 10  # questions about each example that is examined, about


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a model answers.

    Attributes:
        pilot: how many examples an attack is first tried on. A service answers many in a request about as fast as
            one; then trying few would tell little, and make the others look slow.
        seconds: for each of so many; 0 if nobody could tell.
    """

    pilot: int
    seconds: float

    def examined(self, *, seconds: float) -> int:
        """How many examples a model can be examined with in that time, within limits."""
        least, most = _EXAMINED
        return most if self.seconds == 0.0 else min(most, max(least, int(seconds / (_ASKED_EACH * self.seconds))))


def measure_pace(target: Target, examples: Labelled, *, seconds: float) -> Pace:
    """Ask about 16 examples, then about twice as many, as long as that takes hardly longer.

    Args:
        target: what is asked; every question is charged. With few questions left it is not asked.
        examples: what is asked about.
        seconds: how much time there is; what began within it is waited for.
    """
    rows, most = _PILOT
    pilot, took = rows, 0.0
    try:
        target.spec.check(examples.x)
    except ValueError:
        return Pace(pilot=pilot, seconds=0.0)  # the examination tells what is wrong with them
    end = time.monotonic() + seconds
    while rows <= min(most, len(examples)) and time.monotonic() + took < end:
        left = target.ledger.left()
        if left is not None and rows > _CAP_SHARE * left:
            break
        began = time.monotonic()
        try:
            target.labels(examples.x[:rows])
        except BudgetSpent:
            break  # whoever asks next finds out as well, and tells
        now = time.monotonic() - began
        if rows > pilot and now > _NO_LONGER * took:
            break
        pilot, took, rows = rows, now, 2 * rows
        if now < _QUICKLY:
            break
    return Pace(pilot=pilot, seconds=took / pilot)
