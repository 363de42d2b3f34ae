"""A model's gradients put to the test: attacks whose outcomes must fit together if gradients can be believed."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.evasion.in_ball import EIGHT
from wardline.attacks.evasion.masking import (
    black_box_against_white_box,
    ce_against_dlr,
    steps_help,
    wide_open,
)
from wardline.attacks.protocol.attack import Attack
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import AttackResult, Budget, Check
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.robust.ball import Ball


def probe_masking(
    target: Target,
    data: Labelled,
    *,
    ball: Ball = EIGHT,
    black_box: Attack | None = None,
    draws: int = 1,
    seed: int = 0,
) -> tuple[Check, ...]:
    """Run PGD in four ways, and an attack without gradients, and compare what they break.

    Add the checks to the result of any attack that follows gradients (`with_checks`). 64 examples are enough to see
    what matters; they cost some 20,000 queries.

    Args:
        target: what is probed; its ledger is charged.
        data: examples.
        ball: the threat that the other attacks are run within.
        black_box: an attack without gradients within the same ball; None leaves that comparison out.
        draws: how often a randomised model is asked at each point.
        seed: of all randomness.

    Returns:
        ``budget`` if the target's cap cut any of the runs short; what the first one objects to; then the checks
        ``ce-against-dlr``, ``more-steps``, ``wide-open`` and, given a black box, ``black-box-against-white-box``.

    Raises:
        AccessDenied: if the adversary has no gradients.
        ValueError: if the inputs are not what the target's specification says.
    """
    budget = Budget(batch=len(data))

    def run(plan: Pgd) -> AttackResult:
        return plan.run(target, data, budget, seed)

    ce, dlr = run(Pgd(ball=ball, draws=draws)), run(Pgd(ball=ball, loss="dlr", draws=draws))
    longer = run(Pgd(ball=ball, steps=120, step_size=2.5 * ball.radius / 40 or None, draws=draws))
    wide = run(Pgd(ball=Ball(norm=ball.norm, radius=_reach(target, ball)), draws=draws))
    runs, checks = [ce, dlr, longer, wide], [ce_against_dlr(ce, dlr), steps_help(ce, longer), wide_open(wide)]
    if black_box is not None:
        runs.append(black_box.run(target, data, budget, seed))
        checks.append(black_box_against_white_box(ce, runs[-1]))
    objections = [check for check in ce.checks if check.outcome is not Verdict.PASS and check.name != "budget"]
    # A run that was cut short breaks less, and would pass for one that had nothing to add.
    short = [check for one in runs for check in one.checks if check.name == "budget" and check.outcome != Verdict.PASS]
    return (*short[:1], *objections, *checks)


def _reach(target: Target, ball: Ball) -> float:
    """A radius within which every input of the specification can become every other."""
    if not isinstance(target.spec, InputSpec):
        raise ValueError("gradients need inputs of numbers")  # noqa: TRY004 (the target's content, not its type)
    spans = np.asarray(target.spec.high, dtype=np.float64) - np.asarray(target.spec.low, dtype=np.float64)
    match ball.norm:
        case "linf":
            return float(spans.max())
        case "l2":
            return float(np.linalg.norm(spans))
        case "l1":
            return float(spans.sum())
        case _:
            assert_never(ball.norm)
