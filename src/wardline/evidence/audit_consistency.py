"""Whether the evidence of an audit holds together: every outcome is drawn anew from its own figures.

As for the evidence of a run, the code shares nothing with what wrote it. Drawn anew are the exact intervals (from
successes and trials, by summing binomial tails), the outcome of every attack from its figures, its checks and its
positive control, and the verdict from the outcomes. Not drawn anew: whether the attacks were really made.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from wardline.core import Verdict, combine
from wardline.evidence._inconsistent import creation_day, inconsistent
from wardline.evidence._shape import INTERVAL, NUMBER, OUTCOME, check_shape

AUDIT_SCHEMA = "wardline.audit/1"

RESOLUTION = 0.1
"""How far above the line a passing rate's interval may reach."""

_CONTROL_FLOOR = 0.5
_TAIL_SLACK = 1e-6
_PNG = b"\x89PNG\r\n\x1a\n"

_CHECK: dict[str, Any] = {"name": str, "outcome": OUTCOME, "detail": str}
_CONTROL: dict[str, Any] = {
    "description": str,
    "rate": NUMBER,
    "interval": INTERVAL,
    "n": int,
    "chance": NUMBER,
    "passed": bool,
}
_ATTACK: dict[str, Any] = {
    "attack": str,
    "threat": {"goal": str, "access": str, "limits": str, "knowledge": str},
    "paper": str,
    "quantity": str,
    "n": int,
    "rate": (*NUMBER, None),
    "interval": (INTERVAL, None),
    "chance": NUMBER,
    "tolerated": NUMBER,
    "queries": int,
    "gradients": int,
    "checks": [_CHECK],
    "seed": int,
    "details": dict,
    "control": (_CONTROL, None),
    "outcome": OUTCOME,
    "seconds": NUMBER,
}
_SHAPE: dict[str, Any] = {
    "schema": frozenset({AUDIT_SCHEMA}),
    "project": str,
    "created": str,
    "seconds": NUMBER,
    "verdict": {"outcome": OUTCOME, "summary": str},
    "target": {"where": str, "kind": str, "sha256": (str, None), "access": str, "classes": int, "inputs": dict},
    "data": {"source": str, "sha256": str, "rows": int},
    "settings": {
        "tier": str,
        "budget_seconds": NUMBER,
        "seed": int,
        "norm": str,
        "radius": NUMBER,
        "tolerated": NUMBER,
    },
    "preflight": [_CHECK],
    "attacks": [_ATTACK],
    # A point is [x, y, low, high].
    "curves": [{"title": str, "across": str, "up": str, "series": [{"label": str, "points": [[NUMBER]]}]}],
    "pictures": [{"title": str, "text": str, "png": str}],
    "cut": [{"subject": str, "reason": str}],
    "environment": {"python": str, "platform": str, "packages": dict},
}


def check_audit(predicate: Mapping[str, Any]) -> Verdict:
    """Draw the verdict of an audit anew and compare.

    Returns:
        The verdict, which is the stated one.

    Raises:
        IntegrityError: if the evidence is malformed, or its outcomes do not follow from its figures.
    """
    check_shape(predicate, _SHAPE, schema=AUDIT_SCHEMA)
    creation_day(predicate["created"])
    if not predicate["attacks"]:
        raise inconsistent("an audit without an attack has found out nothing")
    if len({one["attack"] for one in predicate["attacks"]}) != len(predicate["attacks"]):
        raise inconsistent("one attack stands there twice")
    for attack in predicate["attacks"]:
        outcome = _outcome(attack)
        if outcome.value != attack["outcome"]:
            name = ascii(attack["attack"])[:80]
            raise inconsistent(f"{name} is said to be {attack['outcome']}, and its figures say {outcome.value}")
    counted = [Verdict(one["outcome"]) for one in predicate["attacks"]]
    if any(check["outcome"] != Verdict.PASS.value for check in predicate["preflight"]):
        counted.append(Verdict.INCONCLUSIVE)
    derived, stated = combine(counted), Verdict(predicate["verdict"]["outcome"])
    if derived is not stated:
        raise inconsistent(f"the attacks add up to {derived.value}, but the verdict says {stated.value}")
    for picture in predicate["pictures"]:
        _check_picture(picture["png"])
    return stated


def _outcome(attack: Mapping[str, Any]) -> Verdict:
    """What one attack's figures say: fail if it succeeded, pass if it worked elsewhere and not here."""
    rate, interval = attack["rate"], attack["interval"]
    if (rate is None) != (interval is None) or (rate is None) != (attack["n"] == 0):
        raise inconsistent("a rate comes with its trials and its interval, or not at all")
    outcomes = {check["outcome"] for check in attack["checks"]}
    if rate is None or Verdict.FAIL.value in outcomes:
        return Verdict.INCONCLUSIVE
    _check_interval(rate, attack["n"], interval)
    line = max(attack["chance"], attack["tolerated"])
    if interval["low"] > line:
        return Verdict.FAIL
    control = attack["control"]
    if control is not None:
        _check_interval(control["rate"], control["n"], control["interval"])
        if control["passed"] != (control["interval"]["low"] > max(control["chance"], _CONTROL_FLOOR)):
            raise inconsistent("a positive control is said to have passed, or failed, against its own figures")
    # An attack that makes its own control tells of it in a check; whether that passed is among the outcomes below.
    works = any(check["name"] == "control" for check in attack["checks"]) if control is None else control["passed"]
    clean = works and outcomes <= {Verdict.PASS.value}
    return Verdict.PASS if clean and interval["high"] <= line + RESOLUTION else Verdict.INCONCLUSIVE


def _check_interval(rate: float, n: int, interval: Mapping[str, Any]) -> None:
    """An exact interval is the one whose ends have the stated binomial tails (Clopper and Pearson 1934)."""
    low, high, level = interval["low"], interval["high"], interval["level"]
    if not (0 < level < 1 and 0 <= low <= rate <= high <= 1 and n >= 1):
        raise inconsistent("a rate lies outside of its interval, or either outside of 0 to 1")
    if interval["method"] != "Clopper-Pearson":
        return
    successes = round(rate * n)
    if abs(successes - rate * n) > _TAIL_SLACK * n:
        raise inconsistent("a rate is no share of its trials")
    tail = (1 - level) / 2
    right = (successes == 0 and low == 0) or abs(_at_least(successes, n, low) - tail) <= _TAIL_SLACK
    left = (successes == n and high == 1) or abs(1 - _at_least(successes + 1, n, high) - tail) <= _TAIL_SLACK
    if not (left and right):
        raise inconsistent("an interval is not the exact one of its trials")


def _at_least(successes: int, n: int, prob: float) -> float:
    """The probability of so many successes or more."""
    if prob in {0.0, 1.0}:
        return float(successes <= 0 or prob == 1.0)
    inside, outside = math.log(prob), math.log1p(-prob)
    return math.fsum(
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * inside + (n - k) * outside)
        for k in range(max(successes, 0), n + 1)
    )


def _check_picture(text: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise inconsistent("a picture is not base64") from error
    if not data.startswith(_PNG):
        raise inconsistent("a picture is no PNG")
