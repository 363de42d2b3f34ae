"""Claims, measurements, verdicts, labels and checks: doubtful values are refused when they are made."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import (
    Claim,
    ConflictError,
    Control,
    Interval,
    Labels,
    Measurement,
    Verdict,
    canonical_json,
    check_compatible,
    combine,
)
from wardline.core.checks import at_least, positive, probability

_ORDER = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_verdicts_add_up_to_the_worst(verdicts: list[Verdict]) -> None:
    assert combine(verdicts) is max(verdicts, key=_ORDER.index)


@given(st.lists(st.sampled_from(Verdict)), st.lists(st.sampled_from(Verdict)))
def test_adding_a_verdict_never_improves_the_sum(one: list[Verdict], other: list[Verdict]) -> None:
    if one and other:
        assert combine(one + other) is combine([combine(one), combine(other)])
    assert combine([*one, Verdict.FAIL]) is Verdict.FAIL
    assert combine([*one, Verdict.INCONCLUSIVE]) is not Verdict.PASS


def test_nothing_is_doubt() -> None:
    assert combine([]) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("value", ["fail", "pass", None, True, 1])
def test_what_is_no_verdict_never_passes(value: object) -> None:
    with pytest.raises(TypeError):
        combine([Verdict.PASS, value])  # type: ignore[list-item]


def test_exit_codes() -> None:
    assert {one.value: one.exit_code for one in Verdict} == {"pass": 0, "fail": 1, "inconclusive": 5}


def _claim(**changes: object) -> Claim:
    values = {
        "id": "dp.training",
        "quantity": "epsilon",
        "value": 3.0,
        "direction": "at_most",
        "statement": "s",
        "adversary": "a",
        "parameters": {"delta": 1e-5},
        "assumptions": ("x",),
        "reference": "r",
    }
    return Claim(**{**values, **changes})


def _measurement(**changes: object) -> Measurement:
    values = {
        "id": "audit.epsilon",
        "quantity": "epsilon",
        "value": 1.0,
        "bound": "lower",
        "interval": Interval(low=0.5, high=2, level=0.95, method="Clopper-Pearson"),
        "trials": 100,
        "subject": "released",
        "control": Control(
            description="d",
            value=5.0,
            interval=Interval(low=4, high=6, level=0.95, method="Clopper-Pearson"),
            threshold=3.0,
            passed=True,
        ),
        "method": "m",
        "reference": "r",
        "details": {"roc": {"fpr": [0.0, 1.0]}},
    }
    return Measurement(**{**values, **changes})


def test_claims_and_measurements_survive_json() -> None:
    for value in (_claim(), _measurement(), _measurement(value=None, refused="too few", interval=None, control=None)):
        again = type(value).from_json(value.to_json())
        assert again == value
        assert canonical_json(again) == canonical_json(value)


@pytest.mark.parametrize(
    "changes", [{"value": math.nan}, {"value": math.inf}, {"direction": "at most"}, {"direction": ""}]
)
def test_a_claim_that_nothing_could_break_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        _claim(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"value": math.nan}, {"value": None}, {"refused": "but there is a value"}, {"bound": "at least"}],
)
def test_a_measurement_that_says_nothing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        _measurement(**changes)


@pytest.mark.parametrize(
    ("value", "low", "threshold", "passed"),
    [(5.0, 2.0, 3.0, True), (3.0, None, 3.0, True), (math.nan, None, 1.0, True), (1.0, None, math.nan, True)],
)
def test_a_control_cannot_claim_to_have_passed(value: float, low: float | None, threshold: float, passed: bool) -> None:
    interval = None if low is None else Interval(low=low, high=9, level=0.95, method="m")
    with pytest.raises(ValueError):
        Control(description="d", value=value, interval=interval, threshold=threshold, passed=passed)


@pytest.mark.parametrize(
    ("low", "high", "level"), [(2, 1, 0.9), (math.nan, 1, 0.9), (0, math.inf, 0.9), (0, 1, 0.0), (0, 1, 1.0)]
)
def test_an_interval_has_two_ends_in_order(low: float, high: float, level: float) -> None:
    with pytest.raises(ValueError):
        Interval(low=low, high=high, level=level, method="m")


def test_values_print_in_one_line() -> None:
    assert str(_claim()) == "dp.training: epsilon <= 3"
    assert str(_claim(direction="at_least")) == "dp.training: epsilon >= 3"
    assert str(_measurement()) == "audit.epsilon: epsilon = 1 [0.5, 2] (n=100, released)"
    refused = _measurement(value=None, refused="too few", interval=None)
    assert str(refused) == "audit.epsilon: refused: too few"


DP = Labels(owner="dp-sgd", needs=frozenset({"private-selection"}), sole=frozenset({"training"}))
SEARCH = Labels(owner="search", breaks=frozenset({"private-selection"}), where="policy.yaml:9")


def test_what_one_breaks_and_another_needs_is_refused_in_any_order() -> None:
    for labels in itertools.permutations([DP, SEARCH, Labels(owner="other")]):
        with pytest.raises(ConflictError, match="search breaks what dp-sgd needs: private-selection") as caught:
            check_compatible(labels)
        assert caught.value.where == "policy.yaml:9"
        assert "search" in caught.value.hint


def test_two_cannot_take_one_role_and_one_cannot_break_itself() -> None:
    with pytest.raises(ConflictError, match="the only training"):
        check_compatible([DP, Labels(owner="again", sole=frozenset({"training"}))])
    with pytest.raises(ConflictError):
        check_compatible([Labels(owner="odd", needs=frozenset({"a"}), breaks=frozenset({"a"}))])


def test_what_agrees_is_let_through() -> None:
    check_compatible([])
    check_compatible([DP, Labels(owner="other", breaks=frozenset({"something else"}))])


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf])
def test_positive(value: float) -> None:
    assert positive("x", 0.5) == 0.5
    with pytest.raises(ValueError, match="x must be a finite number above 0"):
        positive("x", value)


@pytest.mark.parametrize("value", [0, 1, -0.5, 2, math.nan, math.inf])
def test_probability(value: float) -> None:
    assert probability("p", 0.5) == 0.5
    with pytest.raises(ValueError, match="p must lie strictly between 0 and 1"):
        probability("p", value)


def test_at_least() -> None:
    assert at_least("n", 2, 2) == 2
    assert at_least("n", np.int64(3), 2) == 3
    with pytest.raises(ValueError, match="n must be at least 2"):
        at_least("n", 1, 2)
    for value in (2.5, math.nan, "3"):
        with pytest.raises(TypeError):
            at_least("n", value, 2)
