"""What an audit of an encrypted model found: attacks beside their controls, checks, and what scores alone tell."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wardline.attacks.extraction.encrypted_replies import Floats, Share
from wardline.attacks.protocol.result import Check
from wardline.core import Interval, Verdict, combine
from wardline.core.canonical import to_json
from wardline.core.extras import need
from wardline.core.rates import clopper_pearson

LEVEL = 1 - 1e-8
"""Confidence of the interval that decides whether anything was found, so that a sound server hardly ever fails."""

_CONTROL = (0.9, 1.1)  # of the weights' share: what an attack on a bare reply must see of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One attack on one kind of reply.

    Attributes:
        recovered: weights (or slopes) that were found exactly; None where the attack does not name single ones.
        of: of how many.
        correlation: of the estimates with the truth; None where there are too few, or no estimates.
        standard_error: the largest of a single estimate, in units of the integer weights; None where there is none.
        share: how much of what the weights would put into the reply is in it; None where the attack is exact.
    """

    recovered: int | None = None
    of: int = 0
    correlation: float | None = None
    standard_error: float | None = None
    share: Share | None = None

    @property
    def detected(self) -> bool:
        """Whether anything of the weights was seen."""
        if self.recovered is not None and self.share is None:
            return self.recovered > 0
        return self.share is not None and not _holds_zero(self.share.interval(LEVEL))

    @property
    def complete(self) -> bool:
        """Whether the attack did all that it can: what a control has to show."""
        if self.share is None:
            return self.recovered == self.of and self.of > 0
        return self.detected and _CONTROL[0] <= self.share.slope <= _CONTROL[1]

    @property
    def recovered_interval(self) -> Interval | None:
        """The exact interval of the rate at which weights are recovered."""
        return None if self.recovered is None else clopper_pearson(self.recovered, self.of)

    @property
    def correlation_interval(self) -> Interval | None:
        """Fisher's interval of the correlation, 95 %: holds 0 where there is nothing but chance."""
        if self.correlation is None or self.of < 4 or abs(self.correlation) >= 1.0:
            return None
        reach = float(need("scipy.stats", extra="torch").norm.isf(0.025)) / math.sqrt(self.of - 3)
        middle = math.atanh(self.correlation)
        return Interval(low=math.tanh(middle - reach), high=math.tanh(middle + reach), level=0.95, method="Fisher")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        share = self.share
        return {
            "recovered": self.recovered,
            "of": self.of,
            "recovered_interval": to_json(self.recovered_interval),
            "correlation": self.correlation,
            "correlation_interval": to_json(self.correlation_interval),
            "standard_error": self.standard_error,
            "share": None
            if share is None
            else {**to_json(share), "interval": to_json(share.interval(LEVEL)), "level": LEVEL},
            "detected": self.detected,
        }

    def __str__(self) -> str:
        told = []
        if self.recovered is not None:
            told.append(f"{self.recovered} of {self.of} recovered exactly {self.recovered_interval}")
        if self.correlation is not None:
            told.append(f"correlation {self.correlation:.3f} {self.correlation_interval or ''}".rstrip())
        if self.standard_error is not None:
            told.append(f"standard error up to {self.standard_error:.2g}")
        if self.share is not None:
            told.append(
                f"the weights' share of it {self.share.slope:.3g}, standard error {self.share.deviation:.2g}"
                f"{'' if self.detected else ': nothing but chance'}"
            )
        return ", ".join(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """One attack, on what must not leave the server and on what does.

    Attributes:
        name: stands for it.
        goal: what it looks for, in one sentence.
        reference: where it is from.
        control_on: what the control is: the same reply with a protection taken away.
        control: what the attack found there.
        sent: what it found in what the server sends.
    """

    name: str
    goal: str
    reference: str
    control_on: str
    control: Finding
    sent: Finding

    @property
    def verdict(self) -> Verdict:
        """Fail if anything was found in what is sent; pass if not, though the control gave all; else inconclusive."""
        if self.sent.detected:
            return Verdict.FAIL
        return Verdict.PASS if self.control.complete else Verdict.INCONCLUSIVE

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "goal": self.goal,
            "reference": self.reference,
            "control_on": self.control_on,
            "control": self.control.to_json(),
            "sent": self.sent.to_json(),
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresAlone:
    """What rounded scores tell of the model, whatever the server does: arithmetic, and no failure of the protection.

    Attributes:
        rows: metered rows of the client's choice after which it can solve for the model.
        asked: rows that were scored to solve for it here; None if that was not done.
        correlation: of a linear model's weights that were found with the true ones, each as a share of the scores'
            range.
        largest_error: of a linear model's weight, as a share of the largest.
        explained: share of the outputs' variance that the copy explains, on rows drawn over the whole ranges.
        agreement: decisions of the copy that equal the model's, on the same rows; None where nothing is decided.
        detail: one sentence.
    """

    rows: int
    asked: int | None = None
    correlation: float | None = None
    largest_error: float | None = None
    explained: float | None = None
    agreement: float | None = None
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedAudit:
    """All that an audit of an encrypted model found.

    Attributes:
        kind: of the model.
        digest: SHA-256 of its public part, in hexadecimal.
        techniques: attacks with their controls.
        checks: of what is sent, by the auditor who knows the weights.
        scores: what scores alone tell.
        not_covered: what this audit does not try.
        seconds: of wall-clock time that it took.
    """

    kind: str
    digest: str
    techniques: tuple[Technique, ...]
    checks: tuple[Check, ...]
    scores: ScoresAlone
    not_covered: tuple[str, ...]
    seconds: float = field(default=0.0, compare=False)

    @property
    def verdict(self) -> Verdict:
        """A failure of any attack or check outweighs doubt, and doubt a pass. Scores alone fail nobody."""
        return combine([*(one.verdict for one in self.techniques), *(one.outcome for one in self.checks)])

    @property
    def summary(self) -> str:
        """One sentence."""
        match self.verdict:
            case Verdict.PASS:
                return "replies gave nothing of the weights away; the same attacks read them from unprotected replies"
            case Verdict.FAIL:
                found = [one.name for one in self.techniques if one.verdict is Verdict.FAIL]
                found += [one.name for one in self.checks if one.outcome is Verdict.FAIL]
                return f"replies give the weights away or are not protected as they must be: {', '.join(found)}"
            case _:
                return "an attack did not even read unprotected replies, so that nothing follows from what it missed"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values. Keys and noise are drawn afresh, so that figures differ from run to run."""
        return {
            "schema": "wardline encrypted audit/1",
            "verdict": {"outcome": self.verdict.value, "summary": self.summary},
            "kind": self.kind,
            "digest": self.digest,
            "techniques": [one.to_json() for one in self.techniques],
            "checks": [to_json(one) for one in self.checks],
            "scores_alone": self.scores.to_json(),
            "not_covered": list(self.not_covered),
            "seconds": self.seconds,
        }

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"{self.verdict.value.upper()}: {self.summary}", ""]
        for one in self.techniques:
            told += [
                f"  {one.verdict.value:<12}  {one.name}: {one.goal}",
                f"                {one.control_on}: {one.control}",
                f"                what is sent: {one.sent}",
            ]
        told += [f"  {check.outcome.value:<12}  {check.name}: {check.detail}" for check in self.checks]
        told += ["", f"scores alone: {self.scores.detail}", "not covered:"]
        told += [f"  {one}" for one in self.not_covered]
        return [*told, f"{self.seconds:.1f} seconds"]


def correlation_of(found: Floats, truth: Floats) -> float | None:
    """Pearson's, over all entries; None for fewer than three, or where either is the same everywhere."""
    if found.size < 3 or not (np.ptp(found) > 0 and np.ptp(truth) > 0):
        return None
    return float(np.clip(np.corrcoef(found.reshape(-1), truth.reshape(-1))[0, 1], -1.0, 1.0))


def passed(name: str, ok: Any, detail: str) -> Check:
    """A check that passes or fails."""
    return Check(name=name, outcome=Verdict.PASS if ok else Verdict.FAIL, detail=detail)


def _holds_zero(interval: Interval) -> bool:
    return interval.low <= 0.0 <= interval.high
