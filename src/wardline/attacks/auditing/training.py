"""One-run privacy audit: a lower bound on epsilon from the very code that claims an upper one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.attacks.auditing.canaries import canary_scores, with_canaries, with_linear_inputs
from wardline.attacks.auditing.one_run import (
    best_lower_bound,
    canaries_needed,
    default_guesses,
    guess,
    largest_bound,
)
from wardline.core import Claim, Control, Measurement, NoProgress, Progress, SecureRandom
from wardline.core.checks import at_least, positive, probability
from wardline.data import Examples
from wardline.models import Architecture, TrainedModel

Train = Callable[[Architecture, Examples], TrainedModel]

_SILENT = NoProgress()
_REFERENCE = "Steinke, Nasr, Jagielski 2023, theorem 5.2 and appendix D; Nasr et al. 2023 (Dirac canaries)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditDesign:
    """All that is decided before an audit looks at anything.

    Attributes:
        canaries: how many are planted, each by its own coin, at least 16.
        scale: the value in a canary's own column; see `audit_settings`. Above 0.
        rows_per_unit: rows of a canary, as many as the claim's privacy unit may have, at least 1.
        confidence: of the lower bound, in (0, 1).

    Raises:
        ValueError: for a number out of range.
    """

    canaries: int = 1000
    scale: float = 100.0
    rows_per_unit: int = 1
    confidence: float = 0.95

    def __post_init__(self) -> None:
        at_least("canaries", self.canaries, 16)
        positive("scale", self.scale)
        at_least("rows_per_unit", self.rows_per_unit, 1)
        probability("confidence", self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    epsilon: float
    details: dict[str, Any] = field(default_factory=dict)


def audit_training(
    *,
    train: Train,
    control: Train,
    architecture: Architecture,
    examples: Examples,
    claim: Claim,
    design: AuditDesign,
    coins: SecureRandom,
    progress: Progress = _SILENT,
) -> Measurement:
    """Plant canaries by coin flips, train once, guess the coins from the model, and bound epsilon from below.

    Every canary is a privacy unit of its own: one row, or `design.rows_per_unit` identical rows of a made-up
    person. It is included by a fair coin from the operating system. `train` must run the code under audit with
    the settings that the claim was computed from: the same sampling rate, clipping norm, noise and number of
    steps (`audit_settings` lowers the learning rate, on which the claim does not depend). The canaries make the
    data a little larger; a claim that was made for any data must bear that. The canaries with the
    highest scores are guessed to be included, those with the lowest to be excluded, for a few numbers of
    guesses that were fixed beforehand (almost all canaries, a half, a quarter, an eighth); the best bound counts, and
    the confidence is divided among them.

    It does not show that epsilon is small: a low bound may come from a weak audit, and the noise of DP-SGD
    hides most of what this one looks for (at a true epsilon of 3 it typically proves less than 1). It looks at
    the final parameters only, at one data set, and at gradients in the directions of its canaries. What it
    catches is a guarantee that is far from what is claimed: missing noise, clipping per row where a person is
    promised protection, a sampling rate or a noise scale wrong by a factor of a few.

    The control is the same audit of `control`, training without protection. It must prove more than the claim
    allows; where even perfect guesses could not, the number of canaries that could is in the details.

    Args:
        train: the private training under audit.
        control: training without protection, of the same architecture on the same examples.
        architecture: what is trained, without linear inputs; the canaries' columns are added to it.
        examples: ordinary rows.
        claim: an ``epsilon`` at most, with ``delta`` among its parameters.
        design: what was decided beforehand.
        coins: where the canaries' coins come from.
        progress: told when each of the two trainings is done.

    Returns:
        A lower bound on epsilon at the claim's delta, at `design.confidence`.

    Raises:
        ValueError: if the claim is not about epsilon, names no delta, or the architecture has linear inputs.

    Guarantee:
        If `train` is (epsilon, delta)-private for adding or removing a unit of that many rows, the bound
        exceeds epsilon with probability at most 1 - `design.confidence`, whatever the data.

    References:
        Steinke, Nasr, Jagielski 2023, theorem 5.2 and appendix D; Nasr et al. 2023 (Dirac canaries).
    """
    delta = claim.parameters.get("delta")
    if claim.quantity != "epsilon" or claim.direction != "at_most" or not isinstance(delta, float):
        raise ValueError("an audit needs a claim of at most some epsilon, with a delta among its parameters")
    began = time.perf_counter()
    audited = with_linear_inputs(architecture, design.canaries)
    progress.start("audit", 2)
    findings = []
    for done, run in enumerate((train, control), start=1):
        # The control throws coins of its own: the two models must not be compared canary by canary.
        included = coins.bernoulli(design.canaries, 0.5)
        planted = with_canaries(examples, included=included, scale=design.scale, rows_per_unit=design.rows_per_unit)
        findings.append(_bound(canary_scores(run(audited, planted)), included, delta, design.confidence))
        progress.advance(done)
    progress.finish()
    found, on_control = findings
    return Measurement(
        id="audit.epsilon",
        quantity="epsilon",
        value=found.epsilon,
        bound="lower",
        trials=design.canaries,
        subject="audit twin",
        bears_on=claim.id,
        control=_control(on_control, claim, delta, design),
        method="one-run audit with inserted canaries",
        reference=_REFERENCE,
        details={
            **found.details,
            "delta": delta,
            "confidence": design.confidence,
            "canaries": design.canaries,
            "rows_per_canary": design.rows_per_unit,
            "canary_scale": design.scale,
            "largest_possible_bound": largest_bound(design.canaries, delta=delta, confidence=design.confidence),
            "control": on_control.details,
        },
        seconds=time.perf_counter() - began,
    )


def _bound(
    scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], delta: float, confidence: float
) -> _Finding:
    tried = [guess(scores, included, made=made) for made in default_guesses(len(scores))]
    epsilon, best = best_lower_bound(tried, delta=delta, confidence=confidence)
    return _Finding(
        epsilon=epsilon,
        details={
            "guesses": best.made,
            "correct": best.correct,
            "tried": [{"guesses": one.made, "correct": one.correct} for one in tried],
        },
    )


def _control(found: _Finding, claim: Claim, delta: float, design: AuditDesign) -> Control:
    description = "the same audit of training without protection"
    possible = largest_bound(design.canaries, delta=delta, confidence=design.confidence)
    if possible <= claim.value:
        needed = canaries_needed(claim.value, delta=delta, confidence=design.confidence)
        remedy = f"about {needed} could" if needed else "no number of canaries could at this delta and confidence"
        description += f"; {design.canaries} canaries cannot prove more than {possible:.3g}, {remedy}"
    return Control(
        description=description, value=found.epsilon, threshold=claim.value, passed=found.epsilon > claim.value
    )
