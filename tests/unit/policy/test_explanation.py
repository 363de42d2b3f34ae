"""The policy in words, and the two figures in it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.policy import RECIPES, explain, parse_policy
from wardline.policy.explanation import guess_accuracy, recognised_share


def test_it_says_who_what_how_and_when(good):
    text = explain(parse_policy(good.encode()).policy)
    for part in (
        "Predict who earns more.",
        "predicts income from 3 other columns",
        "outsider: holds the model's files and wants to learn whether a given person is in the training",
        "epsilon 3",
        "95.3 % of",
        "at least 83.5 % of the rows",
        "A. Person <a@b.example> answers for it (pilot only)",
        "An attack that fails does not prove",
    ):
        assert part in " ".join(text.split()), part
    assert max(map(len, text.splitlines())) <= 100


def test_it_names_the_person_and_what_nobody_tests(good):
    text = good.replace("unit: row", "unit: {column: person, max_rows: 8}").replace(
        "goal: membership", "goal: extraction"
    )
    said = " ".join(explain(parse_policy(text.encode()).policy).split())
    assert "the person that the column person names, with all of their rows, of which at most 8 are used" in said
    assert "depends little on one person" in said
    assert "Nothing here attempts extraction" in said


def test_a_weak_epsilon_is_called_weak(good):
    text = good.replace("epsilon: 3", "epsilon: 1000").replace("budget: {epsilon: 10, delta: 1e-4}", "header: true")
    said = " ".join(explain(parse_policy(text.encode()).policy).split())
    assert "right in at most nearly 100 % of cases. That is close to certainty" in said


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_can_be_said(name):
    assert "When it passes" in explain(parse_policy(RECIPES[name].encode()).policy)


def test_the_figures_against_the_closed_form():
    # Without delta: e^eps / (1 + e^eps). With it: Kairouz, Oh and Viswanath 2015.
    assert guess_accuracy(3, 1e-300) == pytest.approx(math.exp(3) / (1 + math.exp(3)), rel=1e-12)
    assert guess_accuracy(1, 0.1) == pytest.approx((math.exp(1) + 0.1) / (1 + math.exp(1)), rel=1e-12)
    assert recognised_share(1, 1e-5, at_fpr=0.01) == pytest.approx(0.01 * math.e + 1e-5, rel=1e-12)


@given(st.floats(1e-3, 15), st.floats(1e-12, 0.5))
def test_the_figures_are_the_corners_of_one_trade_off_curve(epsilon, delta):
    best = guess_accuracy(epsilon, delta)
    assert 0.5 < best <= 1
    # The best guess stands where the errors are equal: false-positive rate 1 - best, true-positive rate best.
    assert recognised_share(epsilon, delta, at_fpr=1 - best) == pytest.approx(best, abs=1e-6)
    # No other point of the curve is right more often.
    for rate in (0.001, 0.01, 0.1, 0.4):
        assert (recognised_share(epsilon, delta, at_fpr=rate) + 1 - rate) / 2 <= best + 1e-9


@pytest.mark.parametrize("epsilon", [50, 1e3, 1e6])
def test_a_huge_epsilon_promises_nothing_and_overflows_nowhere(epsilon):
    assert guess_accuracy(epsilon, 1e-5) == pytest.approx(1)
    assert recognised_share(epsilon, 1e-5, at_fpr=0.01) == pytest.approx(1)
