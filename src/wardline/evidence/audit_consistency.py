"""Whether the evidence of an audit holds together: every outcome is drawn anew from its own figures.

As for the evidence of a run, the code shares nothing with what wrote it. Drawn anew are the exact intervals (from
successes and trials, by summing binomial tails), what is tolerated and what guessing reaches as far as the settings and
figures tell, the outcome of every attack from its figures, its checks and its positive control, the classes that a
search for triggers names, and the verdict from all these. Not drawn anew: whether the attacks were really made.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from wardline.core import Verdict, combine
from wardline.evidence._exact import check_interval
from wardline.evidence._inconsistent import creation_day, inconsistent
from wardline.evidence._shape import INTERVAL, NUMBER, OUTCOME, check_shape
from wardline.evidence.audit_triggers import check_triggers

AUDIT_SCHEMA = "wardline.audit/1"

RESOLUTION = 0.1
"""How far above the line a passing rate's interval may reach."""

_CONTROL_FLOOR = 0.5
_WITHOUT_THE_MODEL = ("prior_alone", "imputation")  # guesses that an inferred attribute has to beat
_NO_CHANCE = {"evasion", "text"}
_PNG = b"\x89PNG\r\n\x1a\n"

_RATE: dict[str, Any] = {"value": NUMBER, "interval": INTERVAL}
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
        _check_line(attack, predicate["settings"])
        outcome = _outcome(attack)
        if outcome.value != attack["outcome"]:
            raise inconsistent(
                f"{_short(attack)} is said to be {attack['outcome']}, and its figures say {outcome.value}"
            )
    counted = [Verdict(one["outcome"]) for one in predicate["attacks"]]
    if any(check["outcome"] != Verdict.PASS.value for check in predicate["preflight"]):
        counted.append(Verdict.INCONCLUSIVE)
    if predicate.get("triggers") is not None and check_triggers(predicate["triggers"]):
        counted.append(Verdict.INCONCLUSIVE)  # a suspicion keeps a model from passing
    derived, stated = combine(counted), Verdict(predicate["verdict"]["outcome"])
    if derived is not stated:
        raise inconsistent(f"the attacks add up to {derived.value}, but the verdict says {stated.value}")
    for picture in predicate["pictures"]:
        _check_picture(picture["png"])
    return stated


def _check_line(attack: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """What a success is measured against must follow from the settings, and not from whoever wrote the attack down."""
    family = attack["attack"].partition(".")[0]
    wanted = {"extraction": settings.get("copied"), "membership": 0.0, "reconstruction": 0.0}
    tolerated = wanted.get(family, settings["tolerated"])
    if attack["n"] and attack["tolerated"] != tolerated:
        raise inconsistent(f"{_short(attack)} tolerates other than the settings say")
    if family in _NO_CHANCE and attack["chance"] != 0:
        raise inconsistent(f"{_short(attack)} is said to be reached by guessing")
    if attack["attack"] == "reconstruction.attribute" and attack["rate"] is not None:
        guesses = {name: attack["details"].get(name) for name in _WITHOUT_THE_MODEL}
        check_shape(guesses, dict.fromkeys(_WITHOUT_THE_MODEL, _RATE), schema=AUDIT_SCHEMA)
        for guess in guesses.values():
            check_interval(guess["value"], attack["n"], guess["interval"])
        if attack["chance"] != max(guess["interval"]["high"] for guess in guesses.values()):
            raise inconsistent("attribute inference is not measured against what is known without the model")


def _short(attack: Mapping[str, Any]) -> str:
    return ascii(attack["attack"])[:80]


def _outcome(attack: Mapping[str, Any]) -> Verdict:
    """What one attack's figures say: fail if it succeeded, pass if it worked elsewhere and not here."""
    rate, interval = attack["rate"], attack["interval"]
    if (rate is None) != (interval is None) or (rate is None) != (attack["n"] == 0):
        raise inconsistent("a rate comes with its trials and its interval, or not at all")
    outcomes = {check["outcome"] for check in attack["checks"]}
    if rate is None or Verdict.FAIL.value in outcomes:
        return Verdict.INCONCLUSIVE
    check_interval(rate, attack["n"], interval)
    line = max(attack["chance"], attack["tolerated"])
    if interval["low"] > line:
        return Verdict.FAIL
    control = attack["control"]
    if control is not None:
        check_interval(control["rate"], control["n"], control["interval"])
        if control["passed"] != (control["interval"]["low"] > max(control["chance"], _CONTROL_FLOOR)):
            raise inconsistent("a positive control is said to have passed, or failed, against its own figures")
    # An attack that makes its own control tells of it in a check; whether that passed is among the outcomes below.
    works = any(check["name"] == "control" for check in attack["checks"]) if control is None else control["passed"]
    clean = works and outcomes <= {Verdict.PASS.value}
    return Verdict.PASS if clean and interval["high"] <= line + RESOLUTION else Verdict.INCONCLUSIVE


def _check_picture(text: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise inconsistent("a picture is not base64") from error
    if not data.startswith(_PNG):
        raise inconsistent("a picture is no PNG")
