"""The gate: each rule takes each of its values, doubt is never a pass, and some things cannot be waived."""

from __future__ import annotations

import dataclasses
import datetime
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import Claim, Control, Interval, Measurement, Verdict
from wardline.gate import (
    RULES,
    Accuracy,
    AttacksRan,
    BaselineAccuracy,
    ClaimsHold,
    Judgement,
    MembershipAuc,
    MembershipTpr,
    PriceOfPrivacy,
    Rule,
    Waiver,
    judge,
)

TODAY = datetime.date(2026, 11, 21)
CLAIM = Claim(
    id="dp.training",
    quantity="epsilon",
    value=1.0,
    direction="at_most",
    statement="s",
    adversary="a",
    reference="r",
)


def control(*, passed: bool) -> Control:
    return Control(description="the unprotected twin", value=5.0, threshold=1.0, passed=passed)


def measurement(identifier: str, value: float | None, **changes: object) -> Measurement:
    base = Measurement(
        id=identifier,
        quantity="epsilon",
        value=value,
        refused="" if value is not None else "too few",
        trials=100,
        subject="released",
        method="m",
        reference="r",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def audit(value: float | None, *, passed: bool = True) -> Measurement:
    return measurement("audit.epsilon", value, bound="lower", bears_on="dp.training", control=control(passed=passed))


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, level=0.95, method="Clopper-Pearson")


def tpr(low: float, value: float, high: float, *, passed: bool = True) -> Measurement:
    return measurement(
        "membership.lira",
        value,
        quantity="tpr_at_fpr_0.01",
        interval=interval(low, high),
        control=control(passed=passed),
    )


@pytest.mark.parametrize(
    ("claims", "measurements", "expected"),
    [
        ([CLAIM], [audit(0.4)], Verdict.PASS),
        ([CLAIM], [audit(1.0)], Verdict.PASS),
        ([CLAIM], [audit(1.01)], Verdict.FAIL),
        ([CLAIM], [audit(1.01, passed=False)], Verdict.FAIL),
        ([CLAIM], [audit(0.4, passed=False)], Verdict.INCONCLUSIVE),
        ([CLAIM], [audit(None)], Verdict.INCONCLUSIVE),
        ([CLAIM], [], Verdict.INCONCLUSIVE),
        ([], [audit(0.4)], Verdict.INCONCLUSIVE),
        ([CLAIM], [audit(0.4), audit(3.0)], Verdict.FAIL),
        ([CLAIM], [measurement("x", 2.0, bears_on="dp.training", interval=interval(0.5, 3.0))], Verdict.PASS),
        ([CLAIM], [measurement("x", 2.0, bears_on="dp.training", interval=interval(1.5, 3.0))], Verdict.FAIL),
        ([CLAIM], [measurement("x", 2.0, bears_on="dp.training", bound="upper")], Verdict.PASS),
    ],
)
def test_claims_hold(claims: list[Claim], measurements: list[Measurement], expected: Verdict) -> None:
    assert ClaimsHold().judge(claims, measurements).outcome is expected


def test_a_claim_from_below_is_contradicted_from_above() -> None:
    claim = dataclasses.replace(CLAIM, id="c", quantity="certified", value=0.9, direction="at_least")
    low = measurement("m", 0.7, quantity="certified", bears_on="c", bound="upper")
    high = measurement("m", 0.95, quantity="certified", bears_on="c", bound="upper")
    assert ClaimsHold().judge([claim], [low]).outcome is Verdict.FAIL
    assert ClaimsHold().judge([claim], [high]).outcome is Verdict.PASS


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (tpr(0.01, 0.02, 0.04), Verdict.PASS),
        (tpr(0.01, 0.04, 0.06), Verdict.INCONCLUSIVE),
        (tpr(0.06, 0.08, 0.10), Verdict.FAIL),
        (tpr(0.06, 0.08, 0.10, passed=False), Verdict.FAIL),
        (tpr(0.01, 0.02, 0.04, passed=False), Verdict.INCONCLUSIVE),
        (measurement("membership.lira", None, quantity="tpr_at_fpr_0.01"), Verdict.INCONCLUSIVE),
        (measurement("membership.lira", 0.0, quantity="tpr_at_fpr_0.01"), Verdict.INCONCLUSIVE),
        (dataclasses.replace(tpr(0.0, 0.0, 0.01), subject="baseline"), Verdict.INCONCLUSIVE),
        (dataclasses.replace(tpr(0.0, 0.0, 0.01), quantity="tpr_at_fpr_0.001"), Verdict.INCONCLUSIVE),
    ],
)
def test_risk_rules_believe_the_pessimistic_end(found: Measurement, expected: Verdict) -> None:
    assert MembershipTpr(at_fpr=0.01, at_most=0.05).judge([], [found]).outcome is expected
    auc = dataclasses.replace(found, quantity=found.quantity.replace("tpr_at_fpr_0.01", "auc"))
    assert MembershipAuc(at_most=0.05).judge([], [auc]).outcome is expected


def test_an_attack_that_cannot_succeed_neither_helps_nor_harms_where_another_can() -> None:
    weak = dataclasses.replace(tpr(0.0, 0.01, 0.02, passed=False), id="membership.loss")
    rule = MembershipTpr(at_fpr=0.01, at_most=0.05)
    judged = rule.judge([], [weak, tpr(0.01, 0.02, 0.04)])
    assert judged.outcome is Verdict.PASS
    assert judged.measurement == "membership.lira"
    assert "membership.loss says nothing" in judged.message
    assert rule.judge([], [weak, tpr(0.01, 0.04, 0.06)]).outcome is Verdict.INCONCLUSIVE
    assert MembershipTpr(at_fpr=0.01, at_most=0.05, method="loss").judge([], [weak]).outcome is Verdict.INCONCLUSIVE


def test_usefulness_rules() -> None:
    released = measurement("utility.accuracy", 0.84, quantity="accuracy")
    baseline = measurement("utility.baseline", 0.85, quantity="accuracy", subject="baseline")
    both = [released, baseline]
    assert Accuracy(at_least=0.84).judge([], both).outcome is Verdict.PASS
    assert Accuracy(at_least=0.841).judge([], both).outcome is Verdict.FAIL
    assert Accuracy(at_least=0.5).judge([], [baseline]).outcome is Verdict.INCONCLUSIVE
    assert BaselineAccuracy(at_least=0.86).judge([], both).outcome is Verdict.FAIL
    assert PriceOfPrivacy(at_most=0.02).judge([], both).outcome is Verdict.PASS
    assert PriceOfPrivacy(at_most=0.005).judge([], both).outcome is Verdict.FAIL
    assert PriceOfPrivacy(at_most=0.02).judge([], [released]).outcome is Verdict.INCONCLUSIVE


def test_attacks_ran() -> None:
    planned = AttacksRan(planned=("membership", "audit"))
    assert planned.judge([], [audit(0.1), tpr(0, 0.01, 0.02)]).outcome is Verdict.PASS
    assert planned.judge([], [audit(0.1)]).outcome is Verdict.INCONCLUSIVE
    assert planned.judge([], [audit(0.1), tpr(0, 0, 0.1, passed=False)]).outcome is Verdict.INCONCLUSIVE
    assert AttacksRan(planned=()).judge([], [audit(0.1)]).outcome is Verdict.INCONCLUSIVE


def test_an_empty_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="without rules"):
        judge([], [CLAIM], [audit(0.1)], today=TODAY)


def waiver(rule: str, until: datetime.date = TODAY) -> Waiver:
    return Waiver(rule=rule, who="A. Person", why="pilot", until=until)


def test_waivers_hold_until_their_last_day_and_stay_visible() -> None:
    weak = [audit(0.1), measurement("utility.accuracy", 0.5)]
    rules: list[Rule] = [ClaimsHold(), Accuracy(at_least=0.9)]
    assert judge(rules, [CLAIM], weak, today=TODAY).verdict is Verdict.FAIL
    result = judge(rules, [CLAIM], weak, waivers=[waiver("accuracy")], today=TODAY)
    assert result.verdict is Verdict.PASS
    assert result.judgements[1][0].outcome is Verdict.FAIL
    assert result.judgements[1][1] == waiver("accuracy")
    assert "waiver" in result.summary
    late = judge(rules, [CLAIM], weak, waivers=[waiver("accuracy")], today=TODAY + datetime.timedelta(days=1))
    assert late.verdict is Verdict.FAIL


def test_a_contradicted_claim_cannot_be_waived() -> None:
    result = judge([ClaimsHold()], [CLAIM], [audit(4.0)], waivers=[waiver("claims-hold")], today=TODAY)
    assert result.verdict is Verdict.FAIL


class BrokenRule:
    """Breaks down whatever it is asked."""

    code = "WL-G999"
    name = "broken"
    title = "breaks down"

    def judge(self, claims: object, measurements: object) -> Judgement:
        raise RuntimeError("secret")


def test_a_rule_that_breaks_down_is_in_doubt_and_tells_no_secret() -> None:
    result = judge([BrokenRule()], [CLAIM], [audit(0.1)], today=TODAY)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "secret" not in result.judgements[0][0].message


@given(st.lists(st.sampled_from(list(itertools.product([0.1, 5.0, None], [True, False]))), max_size=4))
def test_a_pass_always_rests_on_a_usable_figure_below_the_claim(cases: list[tuple[float | None, bool]]) -> None:
    found = [audit(value, passed=passed) for value, passed in cases]
    outcome = ClaimsHold().judge([CLAIM], found).outcome
    contradicted = any(value is not None and value > 1 for value, _ in cases)
    usable = any(value is not None and passed for value, passed in cases)
    assert (outcome is Verdict.FAIL) == contradicted
    assert (outcome is Verdict.PASS) == (usable and not contradicted)


def test_every_rule_has_its_own_code_and_explains_itself() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        text = rule.__doc__ or ""
        assert all(word in text for word in ("What:", "Why:", "Remedy:")), rule
