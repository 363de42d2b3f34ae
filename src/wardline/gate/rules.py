"""Gate rules: each sets measurements beside a claim or a limit and takes one of three values.

Two habits run through all of them. A rule about *risk* believes the pessimistic end of an interval: it
passes only if the whole interval is inside the limit, fails only if the whole interval is outside, and is
inconclusive between. A rule about *usefulness* compares the figure itself, since there the error to fear
lies on neither side more than on the other. And a measurement that was refused, or whose positive control
did not work, is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from wardline.core import Claim, Measurement, Verdict, combine


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one rule said.

    Attributes:
        code: stable code of the rule, for `wardline explain`.
        rule: its name in the policy.
        title: what it asks, in a few words.
        outcome: pass, fail or inconclusive.
        message: why, with the figures.
        claim, measurement: ids of what it compared, if any.
    """

    code: str
    rule: str
    title: str
    outcome: Verdict
    message: str
    claim: str | None = None
    measurement: str | None = None


class Rule(Protocol):
    """A question with three possible answers."""

    code: ClassVar[str]
    name: ClassVar[str]
    title: ClassVar[str]

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Answer it for these claims and measurements."""


def _find(measurements: Iterable[Measurement], identifier: str) -> Measurement | None:
    return next((one for one in measurements if one.id == identifier), None)


def _unusable(measurement: Measurement | None, identifier: str) -> str:
    """Why a measurement cannot support a pass; empty if it can."""
    if measurement is None:
        return f"{identifier} was not measured"
    if measurement.refused:
        return f"{identifier} was refused: {measurement.refused}"
    if measurement.control is not None and not measurement.control.passed:
        return f"{identifier} says nothing: its positive control ({measurement.control.description}) did not succeed"
    return ""


def _judgement(rule: Rule, outcome: Verdict, message: str, *, of: Measurement | None = None) -> Judgement:
    return Judgement(
        code=rule.code,
        rule=rule.name,
        title=rule.title,
        outcome=outcome,
        message=message,
        claim=of.bears_on if of else None,
        measurement=of.id if of else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsHold:
    """No attack or audit contradicts what was claimed.

    What: for each claim, every measurement that bears on it is compared with the promised value. A measured
    lower bound above a claimed epsilon fails the gate, whatever else was found and whether or not the
    positive control worked.
    Why: a claim is a theorem about code that is supposed to implement it; the measurement is about the code.
    Example: dp-sgd claims epsilon 1, the audit proves at least 4.8 at 95 % confidence: the noise is broken.
    Remedy: do not release the model. Find the defect; this rule cannot be waived.
    References: Steinke, Nasr, Jagielski 2023.
    """

    code: ClassVar[str] = "WL-G101"
    name: ClassVar[str] = "claims-hold"
    title: ClassVar[str] = "No measurement contradicts a claim"

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Fail on a contradiction; doubt a claim that nothing usable was set beside."""
        if not claims:
            return _judgement(self, Verdict.INCONCLUSIVE, "nothing was claimed")
        messages: list[str] = []
        outcomes: list[Verdict] = []
        cited: Measurement | None = None
        for claim in claims:
            bearing = [one for one in measurements if one.bears_on == claim.id and one.quantity == claim.quantity]
            contradiction = next((one for one in bearing if _contradicts(one, claim)), None)
            usable = [one for one in bearing if not _unusable(one, one.id)]
            if contradiction is not None:
                outcomes.append(Verdict.FAIL)
                cited = contradiction
                messages.append(f"{claim}, but {contradiction.id} shows {_reach(contradiction, claim):.3g}")
            elif usable:
                outcomes.append(Verdict.PASS)
                cited = cited or usable[0]
                messages.append(f"{claim}; {usable[0].id} found no more than {_reach(usable[0], claim):.3g}")
            else:
                outcomes.append(Verdict.INCONCLUSIVE)
                reasons = [_unusable(one, one.id) for one in bearing] or ["nothing was measured about it"]
                cited = cited or (bearing[0] if bearing else None)
                messages.append(f"{claim}; {'; '.join(reasons)}")
        return _judgement(self, combine(outcomes), ". ".join(messages), of=cited)


def _reach(measurement: Measurement, claim: Claim) -> float:
    """The value that a measurement proves at its stated confidence, in the direction that could contradict."""
    assert measurement.value is not None
    if measurement.bound != "estimate" or measurement.interval is None:
        return measurement.value
    return measurement.interval.low if claim.direction == "at_most" else measurement.interval.high


def _contradicts(measurement: Measurement, claim: Claim) -> bool:
    if measurement.value is None:
        return False
    if claim.direction == "at_most":
        return measurement.bound != "upper" and _reach(measurement, claim) > claim.value
    return measurement.bound != "lower" and _reach(measurement, claim) < claim.value


@dataclass(frozen=True, slots=True, kw_only=True)
class AttacksRan:
    """Every attack that the policy asks for gave a figure that can be believed.

    What: for each planned attack, at least one measurement was neither refused nor left without a working
    positive control. This rule is always part of the gate.
    Why: an attack that could not have succeeded is no evidence of safety.
    Example: the attack on the unprotected twin finds nothing either: the verdict is inconclusive.
    Remedy: more data apart for measuring, more reference models or canaries, or another attack.
    """

    planned: tuple[str, ...]

    code: ClassVar[str] = "WL-G100"
    name: ClassVar[str] = "attacks-ran"
    title: ClassVar[str] = "Every planned attack gave a usable figure"

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Doubt the run if one planned attack left nothing usable."""
        if not self.planned:
            return _judgement(self, Verdict.INCONCLUSIVE, "no attack was planned, so nothing was put to the test")
        problems: list[str] = []
        for attack in self.planned:
            found = [one for one in measurements if one.id.split(".")[0] == attack]
            reasons = [_unusable(one, one.id) for one in found]
            if not found:
                problems.append(f"{attack} left no measurement")
            elif all(reasons):
                problems.append(reasons[0])
        if problems:
            return _judgement(self, Verdict.INCONCLUSIVE, "; ".join(problems))
        return _judgement(self, Verdict.PASS, f"usable figures from {', '.join(self.planned)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The released model is accurate enough.

    What: its accuracy on rows kept apart from training is at least the limit.
    Why: a model that protects everybody and helps nobody is not worth releasing.
    Remedy: more data, a larger epsilon, or another model; `wardline run --dry-run` shows the noise.
    """

    at_least: float

    code: ClassVar[str] = "WL-G102"
    name: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "The released model is accurate enough"

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Compare the released model's accuracy with the limit."""
        return _floor(self, _find(measurements, "utility.accuracy"), "utility.accuracy", self.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineAccuracy:
    """The unprotected twin is accurate enough for a fair comparison.

    What: the accuracy of the same model, trained without protection, is at least the limit.
    Why: against a weak baseline any price of privacy looks low.
    Remedy: improve the model itself before judging what privacy costs.
    """

    at_least: float

    code: ClassVar[str] = "WL-G103"
    name: ClassVar[str] = "baseline-accuracy"
    title: ClassVar[str] = "The unprotected twin is a fair baseline"

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Compare the twin's accuracy with the limit."""
        return _floor(self, _find(measurements, "utility.baseline"), "utility.baseline", self.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOfPrivacy:
    """Privacy costs no more accuracy than the policy allows.

    What: the twin's accuracy minus the released model's is at most the limit.
    Why: states what the protection costs those whom the model serves.
    Remedy: a larger epsilon, more data, or a higher limit, decided on record.
    """

    at_most: float

    code: ClassVar[str] = "WL-G104"
    name: ClassVar[str] = "price-of-privacy"
    title: ClassVar[str] = "Privacy costs little accuracy"

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Compare the difference of the two accuracies with the limit."""
        released = _find(measurements, "utility.accuracy")
        baseline = _find(measurements, "utility.baseline")
        problem = _unusable(released, "utility.accuracy") or _unusable(baseline, "utility.baseline")
        if problem:
            return _judgement(self, Verdict.INCONCLUSIVE, problem)
        assert released is not None and released.value is not None
        assert baseline is not None and baseline.value is not None
        price = baseline.value - released.value
        outcome = Verdict.PASS if price <= self.at_most else Verdict.FAIL
        figures = f"{baseline.value:.4f} without and {released.value:.4f} with protection"
        message = f"{figures}: {price:.4f} (limit {self.at_most:g})"
        return _judgement(self, outcome, message, of=released)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipTpr:
    """Membership inference recognises few members at a low false-alarm rate.

    What: for each method (or the one named) whose positive control worked, the true-positive rate at the given
    false-positive rate is at most the limit, with the whole confidence interval. At least one control must have
    worked.
    Why: an attacker who is right about a few people for certain harms them, whatever the average says
    (Carlini et al. 2022).
    Remedy: a smaller epsilon, less training, or more rows kept apart if the interval is too wide.
    """

    at_fpr: float
    at_most: float
    method: str | None = None

    code: ClassVar[str] = "WL-G105"
    name: ClassVar[str] = "membership-tpr"
    title: ClassVar[str] = "Membership inference recognises few people"

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Compare each method's true-positive rate with the limit."""
        return _ceiling(self, measurements, f"tpr_at_fpr_{self.at_fpr:g}", self.at_most, method=self.method)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipAuc:
    """Membership inference is on average hardly better than guessing.

    What: for each method whose positive control worked, the area under the ROC curve is at most the limit,
    with the whole interval. At least one control must have worked.
    Why: a summary over all false-positive rates; weak alone, since it hides the few who are certain.
    Remedy: as for membership-tpr, which should stand beside this rule.
    """

    at_most: float

    code: ClassVar[str] = "WL-G106"
    name: ClassVar[str] = "membership-auc"
    title: ClassVar[str] = "Membership inference is hardly better than guessing"

    def judge(self, claims: Sequence[Claim], measurements: Sequence[Measurement]) -> Judgement:
        """Compare each method's area under the curve with the limit."""
        return _ceiling(self, measurements, "auc", self.at_most, method=None)


def _floor(rule: Rule, measurement: Measurement | None, identifier: str, at_least: float) -> Judgement:
    problem = _unusable(measurement, identifier)
    if problem:
        return _judgement(rule, Verdict.INCONCLUSIVE, problem)
    assert measurement is not None and measurement.value is not None
    outcome = Verdict.PASS if measurement.value >= at_least else Verdict.FAIL
    interval = f" {measurement.interval}" if measurement.interval else ""
    return _judgement(rule, outcome, f"{measurement.value:.4f}{interval} (limit {at_least:g})", of=measurement)


def _ceiling(
    rule: Rule, measurements: Sequence[Measurement], quantity: str, at_most: float, *, method: str | None
) -> Judgement:
    """Every membership measurement of this quantity on the released model stays under a limit."""
    found = [
        one
        for one in measurements
        if one.subject == "released" and one.quantity == quantity and one.id.startswith(f"membership.{method or ''}")
    ]
    if not found:
        return _judgement(rule, Verdict.INCONCLUSIVE, f"membership.{method or '*'} gave no {quantity}")
    outcomes: list[Verdict] = []
    messages: list[str] = []
    useless: list[str] = []
    worst: Measurement | None = None
    for one in found:
        exceeds = one.value is not None and one.interval is not None and one.interval.low > at_most
        problem = _unusable(one, one.id)
        if problem and not exceeds:
            useless.append(problem)
            continue
        clear = one.interval is not None and one.interval.high <= at_most
        outcomes.append(Verdict.FAIL if exceeds else Verdict.PASS if clear else Verdict.INCONCLUSIVE)
        note = "" if exceeds or clear else ", not clear of the limit"
        messages.append(f"{one.id} {one.value:.4f} {one.interval or 'without an interval'}{note}")
        if worst is None or (one.value or 0) > (worst.value or 0):
            worst = one
    # An attack that could not have succeeded neither helps nor harms, as long as another one could.
    text = "; ".join([*messages, *useless])
    return _judgement(rule, combine(outcomes), f"{text} (limit {at_most:g})", of=worst)


RULES: tuple[type[Rule], ...] = (
    AttacksRan,
    ClaimsHold,
    Accuracy,
    BaselineAccuracy,
    PriceOfPrivacy,
    MembershipTpr,
    MembershipAuc,
)
"""All rules, in the order of their codes' introduction."""
