"""Evidence that contradicts itself is no evidence, however well it is signed.

A signature says who wrote the evidence, not that the gate was right. So whoever verifies a bundle draws
the conclusion anew from the judgements, claims and measurements in it. The code below shares nothing with
the gate on purpose: one mistake should not make both agree.

What is drawn anew: the verdict from the judgements and their waivers; the presence of every rule that the
policy names; contradictions between claims and measurements; passes that rest on a refused measurement or
a failed positive control. What is not: the limits of single rules (they stand in the policy beside the
figures), and whether the measurements were really made.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from wardline.core import Claim, Measurement, Verdict, combine
from wardline.evidence._inconsistent import creation_day, inconsistent
from wardline.evidence._shape import check_shape
from wardline.evidence.audit_consistency import AUDIT_SCHEMA, check_audit

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

_NEVER_WAIVED = "claims-hold"


def check_consistency(predicate: Mapping[str, Any]) -> Verdict:
    """Draw the verdict anew from evidence and compare.

    Returns:
        The verdict, which is the stated one.

    Raises:
        IntegrityError: if the evidence is malformed, or its verdict does not follow from what it contains.
    """
    if predicate.get("schema") == AUDIT_SCHEMA:
        return check_audit(predicate)
    check_shape(predicate)
    created = creation_day(predicate["created"])
    claims = [_claim(value) for value in predicate["claims"]]
    measurements = [_measurement(value) for value in predicate["measurements"]]
    if len({one.id for one in claims}) != len(claims):
        raise inconsistent("two claims have the same id")
    rules: Sequence[Mapping[str, Any]] = predicate["rules"]
    _check_complete(predicate["policy"], rules)

    counted = [Verdict.PASS if _is_waived(rule, created) else Verdict(rule["outcome"]) for rule in rules]
    derived = combine(counted)
    stated = Verdict(predicate["verdict"]["outcome"])
    if derived is not stated:
        raise inconsistent(f"the rules add up to {derived.value}, but the verdict says {stated.value}")

    _check_passes(rules, measurements)
    held = stated is Verdict.PASS or any(
        rule["rule"] == _NEVER_WAIVED and rule["outcome"] == Verdict.PASS.value for rule in rules
    )
    contradictions = _contradictions(claims, measurements)
    if held and contradictions:
        raise inconsistent(f"it says that claims hold, but {contradictions[0]}")
    return stated


def _check_complete(policy: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> None:
    """A rule of the policy that nobody answered is not passed; leaving it out must not look like a pass."""
    gates = policy.get("gates")
    if not isinstance(gates, list) or not all(
        isinstance(one, dict) and isinstance(one.get("rule"), str) for one in gates
    ):
        raise inconsistent("its policy has no list of gates")
    missing = Counter(one["rule"] for one in gates) - Counter(rule["rule"] for rule in rules)
    if missing:
        raise inconsistent(f"its policy asks for {ascii(min(missing))[:80]}, which was never judged")


def _check_passes(rules: Sequence[Mapping[str, Any]], measurements: Sequence[Measurement]) -> None:
    for rule in rules:
        cited = rule["measurement"]
        if rule["outcome"] != Verdict.PASS.value or cited is None:
            continue
        found = [one for one in measurements if one.id == cited]
        usable = [one for one in found if one.value is not None and (one.control is None or one.control.passed)]
        if not usable:
            raise inconsistent(
                f"{ascii(rule['rule'])[:80]} passes on {ascii(cited)[:80]}, which is absent, was refused, "
                "or whose positive control failed"
            )


def _is_waived(rule: Mapping[str, Any], created: datetime.date) -> bool:
    """Whether a valid waiver takes this rule out of the sum. A waiver holds to the end of its last day (UTC)."""
    waiver = rule["waiver"]
    if waiver is None:
        return False
    if rule["rule"] == _NEVER_WAIVED:
        raise inconsistent(f"{_NEVER_WAIVED} cannot be waived")
    if not _DAY.fullmatch(waiver["until"]):
        raise inconsistent("a waiver names no day on which it ends")
    try:
        return created <= datetime.date.fromisoformat(waiver["until"])
    except ValueError as error:
        raise inconsistent("a waiver ends on a day that is not in the calendar") from error


def _contradictions(claims: Sequence[Claim], measurements: Sequence[Measurement]) -> list[str]:
    """Each measurement that proves, at its confidence, that a claim is false."""
    found = []
    for claim in claims:
        for one in measurements:
            if one.bears_on != claim.id or one.quantity != claim.quantity or one.value is None:
                continue
            # What the truth is at least, and at most, as far as this measurement tells. An estimate without
            # an interval was counted, not sampled: it is both.
            least = None if one.bound == "upper" else one.value
            most = None if one.bound == "lower" else one.value
            if one.bound == "estimate" and one.interval is not None:
                least, most = one.interval.low, one.interval.high
            if claim.direction == "at_most":
                contradicts = least is not None and least > claim.value
            else:
                contradicts = most is not None and most < claim.value
            if contradicts:
                found.append(f"{ascii(one.id)[:80]} contradicts {ascii(claim.id)[:80]}")
    return found


def _claim(value: Mapping[str, Any]) -> Claim:
    # Types were checked with the shape; what is left are keys of another version.
    try:
        return Claim.from_json(value)
    except (TypeError, ValueError) as error:
        raise inconsistent("one of its claims is malformed") from error


def _measurement(value: Mapping[str, Any]) -> Measurement:
    # As above, and the ends of an interval may be the wrong way round, or a value and a refusal both be there.
    try:
        return Measurement.from_json(value)
    except (TypeError, ValueError) as error:
        raise inconsistent("one of its measurements is malformed") from error
