"""Signs that gradients mislead, so that a model which was not broken is not believed to be robust.

A defence can make gradients vanish, shatter them, or draw them at random. Attacks that follow them then fail although
adversarial examples are there. Each function here looks for one trace of that and yields a `Check`; one that is
inconclusive keeps a result from passing, and never hides a success.

References: Athalye et al. 2018 (Obfuscated gradients), section 3; Carlini et al. 2019 (On evaluating adversarial
robustness), section 5; Tramer et al. 2020 (On adaptive attacks), section 3.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from wardline.attacks.evasion.expectation import slope
from wardline.attacks.evasion.losses import Loss
from wardline.attacks.protocol.result import AttackResult, Check
from wardline.core import Verdict

SUSPICIOUS = 0.1
"""The share of examples from which on a sign counts."""

LOSS_GAP = 0.05
"""How much more often one loss may succeed than another before the other one is held to be blind."""

BLACK_BOX_GAP = 0.02
"""The share of examples that an attack without gradients may break beyond those that fall to one with them."""

_ROWS = 32  # examples that are looked at: two passes over them cost less than 1.5 % of forty passes over 128


def gradient_checks(net: nn.Module, x: Tensor, y: Tensor, *, loss: Loss = "ce", draws: int = 1) -> tuple[Check, ...]:
    """What clean examples tell about the gradients of a model, before it is attacked.

    Args:
        net: yields logits.
        x: examples that it reads rightly, [rows, ...]; the first 32 are looked at, twice.
        y: their true classes.
        loss: what the attack climbs.
        draws: how often the attack asks at each point.

    Returns:
        Checks named ``zero-gradients``, ``saturation`` (cross-entropy alone), ``repeatable`` and ``logits``.
    """
    x, y = x[:_ROWS], y[:_ROWS]
    wanted = (y + 1) if loss == "dlr_targeted" else None  # any other class will do to see whether there is a slope
    logits: list[Tensor] = []
    hook = net.register_forward_hook(lambda _, __, out: logits.append(out.detach()))
    try:
        wanted = None if wanted is None else wanted % net(x[:1]).shape[1]
        logits.clear()
        slopes = [slope(net, x, y, loss=loss, wanted=wanted) for _ in range(2)]
    finally:
        hook.remove()
    gradients = [torch.zeros_like(x) if one.gradient is None else one.gradient for one in slopes]
    checks = [_vanished(gradients[0]), _repeatable(logits, gradients, draws), _heads(logits[0])]
    if loss == "ce":
        checks.append(_saturated(logits[0], y))
    return tuple(checks)


def headway(stuck: int, survivors: int) -> Check:
    """Whether a search raised its loss at all on the examples that it did not break.

    Args:
        stuck: how many ended no higher than they started.
        survivors: how many were not broken.
    """
    share = stuck / survivors if survivors else 0.0
    return _check(
        "headway",
        share,
        f"on {stuck} of {survivors} examples that were not broken the search ended no higher than it began",
    )


def ce_against_dlr(ce: AttackResult, dlr: AttackResult) -> Check:
    """Whether a loss that ignores the scale of the logits succeeds where cross-entropy does not.

    Args:
        ce: an attack that climbs cross-entropy.
        dlr: the same with the difference of logits ratio, on the same examples.

    Raises:
        ValueError: if their examples differ.
    """
    gained, trials = _only_second(ce, dlr)
    return _check(
        "ce-against-dlr",
        gained / trials if trials else 0.0,
        f"the difference of logits ratio breaks {gained} of {trials} examples that cross-entropy does not",
        line=LOSS_GAP,
    )


def black_box_against_white_box(white_box: AttackResult, black_box: AttackResult) -> Check:
    """Whether an attack without gradients succeeds where one with them does not: then the gradients mislead.

    Args:
        white_box: an attack with gradients.
        black_box: one without, within the same threat and on the same examples.

    Raises:
        ValueError: if their examples differ.
    """
    gained, trials = _only_second(white_box, black_box)
    return _check(
        "black-box-against-white-box",
        gained / trials if trials else 0.0,
        f"{black_box.attack}, without gradients, breaks {gained} of {trials} examples that {white_box.attack} does not",
        line=BLACK_BOX_GAP,
    )


def steps_help(few: AttackResult, many: AttackResult) -> Check:
    """Whether a search has converged: many more steps should not break many more examples.

    Args:
        few: an attack with its usual steps.
        many: the same with several times as many, on the same examples.

    Raises:
        ValueError: if their examples differ.
    """
    gained, trials = _only_second(few, many)
    return _check(
        "more-steps",
        gained / trials if trials else 0.0,
        f"more steps break {gained} of {trials} further examples: the search had not ended",
        line=LOSS_GAP,
    )


def wide_open(unbounded: AttackResult) -> Check:
    """Whether an attack that may change everything breaks everything, as it must.

    Args:
        unbounded: the attack with a radius that reaches every input.
    """
    survived = 0.0 if unbounded.rate is None else 1.0 - unbounded.rate
    return _check(
        "wide-open",
        survived if unbounded.n else 1.0,
        f"with a radius that allows everything {survived:.1%} of {unbounded.n} examples withstand",
        line=LOSS_GAP,
    )


def with_checks(result: AttackResult, *checks: Check) -> AttackResult:
    """The result with further reasons to believe it or not; its verdict follows."""
    return dataclasses.replace(result, checks=(*result.checks, *checks))


def _only_second(first: AttackResult, second: AttackResult) -> tuple[int, int]:
    one, other = first.examples, second.examples
    if not (len(one) and len(other)) or not np.array_equal(one["x"], other["x"]):
        raise ValueError("two attacks can be compared on the same examples alone")
    both = one["right"] & other["right"]
    return int((other["found"] & ~one["found"] & both).sum()), int(both.sum())


def _vanished(gradient: Tensor) -> Check:
    zero = int((gradient.flatten(1).abs().amax(dim=1) == 0).sum())
    rows = len(gradient)
    return _check("zero-gradients", zero / rows, f"the gradient is exactly zero at {zero} of {rows} clean examples")


def _saturated(logits: Tensor, y: Tensor) -> Check:
    full = int((logits.softmax(dim=1).gather(1, y[:, None]) == 1.0).sum())
    detail = f"the softmax of the true class rounds to 1 at {full} of {len(y)} clean examples"
    return _check("saturation", full / len(y), detail)


def _repeatable(logits: list[Tensor], gradients: list[Tensor], draws: int) -> Check:
    rows = len(gradients[0])
    first, second = (gradient.flatten(1) for gradient in gradients)
    moved = (first - second).norm(dim=1) > 1e-3 * first.norm(dim=1)
    moved |= (logits[0] - logits[1]).abs().amax(dim=1) > 1e-4 * logits[0].abs().amax(dim=1).clamp_min(1e-6)
    random = int(moved.sum())
    detail = f"logits or gradients of {random} of {rows} examples differ when asked twice"
    if random:
        detail += f"; each point was asked {draws} times" if draws > 1 else "; set draws, to climb their expectation"
    believed = random == 0 or draws > 1
    return Check(name="repeatable", outcome=Verdict.PASS if believed else Verdict.INCONCLUSIVE, detail=detail)


def _heads(logits: Tensor) -> Check:
    sums_to_one = ((logits.sum(dim=1) - 1.0).abs() < 1e-4) & (logits.amin(dim=1) >= 0.0)
    count = int(sums_to_one.sum())
    return _check(
        "logits", count / len(logits), f"{count} of {len(logits)} answers look like probabilities, not logits"
    )


def _check(name: str, share: float, detail: str, *, line: float = SUSPICIOUS) -> Check:
    return Check(name=name, outcome=Verdict.PASS if share < line else Verdict.INCONCLUSIVE, detail=detail)
