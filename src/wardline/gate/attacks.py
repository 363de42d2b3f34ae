"""What an attack on a model says about the model: broken, withstood, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardline.core import Interval, Verdict, combine

if TYPE_CHECKING:
    from wardline.attacks.protocol.result import AttackResult, Check

FLOOR = 0.5
"""What the lower end of a control's interval must exceed, where guessing does not reach more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackControl:
    """The same attack where it is known to work.

    Attributes:
        description: what was attacked instead, or with which limits, in a few words.
        rate: its success there.
        interval: of that rate.
        n: trials.
        chance: the rate that guessing reaches.
    """

    description: str
    rate: float
    interval: Interval
    n: int
    chance: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the attack was seen to work."""
        return self.interval.low > max(self.chance, FLOOR)


def judge_attack(result: AttackResult, control: AttackControl | None) -> Verdict:
    """The outcome of one attack: what it found stands; that it found nothing needs a control that it passed.

    Args:
        result: what it found.
        control: the same attack where it is known to work. None where there is none, or where the attack made its own:
            then a check of the name ``control`` tells how that went.
    """
    own = any(check.name == "control" and check.outcome is Verdict.PASS for check in result.checks)
    works = own if control is None else control.passed
    return Verdict.INCONCLUSIVE if result.verdict is Verdict.PASS and not works else result.verdict


def judge_audit(outcomes: Sequence[Verdict], preflight: Sequence[Check]) -> Verdict:
    """One verdict for an audit: a model that could not be attacked as it is used cannot pass; nor without attacks."""
    examined = [Verdict.PASS if check.outcome is Verdict.PASS else Verdict.INCONCLUSIVE for check in preflight]
    return combine([*outcomes, *examined]) if outcomes else Verdict.INCONCLUSIVE
