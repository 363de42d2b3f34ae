"""Results pass only where an attack demonstrably worked and found little, and the interval is narrow enough to tell."""

from __future__ import annotations

from typing import Any

import pytest

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.result import RESOLUTION, AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access
from wardline.core import Verdict, canonical_json

GOOD = Check(name="fine", outcome=Verdict.PASS, detail="nothing to object")
DOUBT = Check(name="odd", outcome=Verdict.INCONCLUSIVE, detail="something is odd")
BAD = Check(name="broken", outcome=Verdict.FAIL, detail="the figure cannot be used")


def result(successes: int | None, n: int, **fields: Any) -> AttackResult:
    fixed: dict[str, Any] = {
        "attack": "evasion.test",
        "threat": Threat(goal="another class", access=Access.LABELS),
        "paper": "Nobody 2026",
        "n": n,
        "rate": None if successes is None else successes / n,
        "interval": None if successes is None else clopper_pearson(successes, n),
        "queries": 10,
        "seed": 0,
    }
    return AttackResult(**{**fixed, **fields})


@pytest.mark.parametrize(
    ("successes", "n", "fields", "verdict"),
    [
        (0, 100, {}, Verdict.PASS),
        (0, 100, {"checks": (GOOD,)}, Verdict.PASS),
        (0, 100, {"checks": (GOOD, DOUBT)}, Verdict.INCONCLUSIVE),
        (0, 100, {"checks": (BAD,)}, Verdict.INCONCLUSIVE),
        (0, 20, {}, Verdict.INCONCLUSIVE),
        (50, 100, {}, Verdict.FAIL),
        (50, 100, {"checks": (DOUBT,)}, Verdict.FAIL),
        (50, 100, {"checks": (BAD,)}, Verdict.INCONCLUSIVE),
        (1, 100, {}, Verdict.FAIL),
        (3, 400, {"tolerated": 0.05}, Verdict.PASS),
        (50, 100, {"tolerated": 0.5}, Verdict.INCONCLUSIVE),
        (500, 1000, {"chance": 0.5}, Verdict.PASS),
        (600, 1000, {"chance": 0.5}, Verdict.FAIL),
        (None, 0, {}, Verdict.INCONCLUSIVE),
    ],
    ids=str,
)
def test_the_verdict_needs_evidence_either_way(successes, n, fields, verdict: Verdict) -> None:
    assert result(successes, n, **fields).verdict is verdict


def test_twenty_trials_are_too_few_and_thirty_six_are_enough() -> None:
    smallest = next(n for n in range(1, 100) if result(0, n).verdict is Verdict.PASS)
    assert clopper_pearson(0, smallest).high <= RESOLUTION < clopper_pearson(0, smallest - 1).high
    assert smallest == 36


def test_json_is_canonical_and_leaves_out_what_changes_from_run_to_run() -> None:
    one = result(3, 50, cpu_seconds=1.5, examples={"x": object()}, checks=(GOOD,), details={"b": 1, "a": (1, 2)})
    other = result(3, 50, cpu_seconds=9.0, checks=(GOOD,), details={"a": (1, 2), "b": 1})
    assert canonical_json(one.to_json()) == canonical_json(other.to_json())
    assert one == other
    value = one.to_json()
    assert value["verdict"] == "fail"
    assert value["threat"]["access"] == "labels"
    assert {"cpu_seconds", "examples"}.isdisjoint(value)


def test_a_measurement_carries_checks_and_refuses_what_cannot_be_used() -> None:
    usable = result(3, 50, checks=(GOOD, DOUBT)).measurement(subject="audit twin")
    assert (usable.value, usable.trials, usable.subject, usable.refused) == (0.06, 50, "audit twin", "")
    assert [check["name"] for check in usable.details["checks"]] == ["fine", "odd"]
    assert result(3, 50, checks=(BAD,)).measurement().refused == "the figure cannot be used"
    assert result(None, 0).measurement().refused == "no trial ran to its end"


def test_a_result_prints_in_one_line_with_its_doubts() -> None:
    line = str(result(0, 100, checks=(GOOD, DOUBT)))
    assert "\n" not in line
    assert line.endswith("inconclusive; odd")
    assert "no figure" in str(result(None, 0))


def test_results_and_budgets_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="exactly if it has trials"):
        result(1, 10, rate=None)
    with pytest.raises(ValueError, match="exactly if it has trials"):
        result(1, 10, interval=None)
    for fields in ({"queries": 0}, {"seconds": 0.0}, {"batch": 0}, {"tolerated": 1.0}, {"tolerated": -0.1}):
        with pytest.raises(ValueError, match=r"\w"):
            Budget(**fields)
