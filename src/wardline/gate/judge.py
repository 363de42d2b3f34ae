"""The gate: all rules, their waivers, and one verdict. Nothing else decides whether a result is good."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from wardline.core import Claim, Measurement, Verdict, combine
from wardline.gate.rules import ClaimsHold, Judgement, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A failure or doubt that a person accepts for a while, on record.

    Attributes:
        rule: name of the rule that is waived.
        who: the person who answers for it.
        why: the reason.
        until: the last day on which it holds.
    """

    rule: str
    who: str
    why: str
    until: datetime.date


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The verdict and what led to it, one judgement for each rule beside the waiver that applies to it."""

    verdict: Verdict
    judgements: tuple[tuple[Judgement, Waiver | None], ...]

    def __str__(self) -> str:
        return f"{self.verdict.value}: {self.summary}"

    @property
    def summary(self) -> str:
        """The verdict's reason in one sentence."""
        waived = sum(waiver is not None for _, waiver in self.judgements)
        note = f", {waived} by waiver" if waived else ""
        match self.verdict:
            case Verdict.PASS:
                return f"all {len(self.judgements)} rules passed{note}"
            case _:
                names = [one.rule for one, waiver in self.judgements if waiver is None and one.outcome is self.verdict]
                word = "failed" if self.verdict is Verdict.FAIL else "could not be decided"
                return f"{', '.join(names)} {word}{note}"


def judge(
    rules: Sequence[Rule],
    claims: Sequence[Claim],
    measurements: Sequence[Measurement],
    *,
    waivers: Sequence[Waiver] = (),
    today: datetime.date,
) -> GateResult:
    """Put every rule to the claims and measurements, and add up.

    A waiver takes a rule that did not pass out of the sum while it is valid; the judgement itself stays as
    it is and the report shows it in red. `claims-hold` cannot be waived. A rule that breaks down is in
    doubt, never passed.

    Raises:
        ValueError: for an empty list of rules: it would pass everything.
    """
    if not rules:
        raise ValueError("a gate without rules would pass everything")
    judgements: list[tuple[Judgement, Waiver | None]] = []
    for rule in rules:
        judgement = _judge_safely(rule, claims, measurements)
        waiver = next((one for one in waivers if one.rule == rule.name and today <= one.until), None)
        waivable = judgement.outcome is not Verdict.PASS and not isinstance(rule, ClaimsHold)
        judgements.append((judgement, waiver if waivable else None))
    counted = [Verdict.PASS if waiver else judgement.outcome for judgement, waiver in judgements]
    return GateResult(verdict=combine(counted), judgements=tuple(judgements))


def _judge_safely(rule: Rule, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
    try:
        return rule.judge(claims, measurements)
    except Exception as error:  # noqa: BLE001 (whatever breaks inside a rule is doubt about it, not a crash)
        return Judgement(
            code=rule.code,
            rule=rule.name,
            title=rule.title,
            outcome=Verdict.INCONCLUSIVE,
            message=f"the rule itself broke down: {type(error).__name__}",
        )
