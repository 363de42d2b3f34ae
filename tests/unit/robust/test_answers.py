"""Answers that tell less, and budgets: what is guaranteed, and what an attacker makes of it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wardline.core import BudgetError
from wardline.models.predictor import labels_of
from wardline.robust.answers import Rounded, TopOnly
from wardline.robust.client_budgets import ClientBudgets


class Said:
    """A model that says what it is told to say."""

    def __init__(self, answers, gives="probabilities"):
        self.answers, self.gives, self.classes = np.asarray(answers), gives, np.asarray(answers).shape[1]

    def answer(self, x):
        return self.answers[: len(x)].astype(np.float32)


X = np.zeros((50, 1), dtype=np.float32)


@given(
    scores=arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(2, 5)), elements=st.floats(-8, 8, width=32)),
    decimals=st.integers(1, 5),
    gives=st.sampled_from(["logits", "probabilities"]),
)
def test_rounding_never_changes_the_class_and_leaves_so_many_decimals(scores, decimals, gives):
    if gives == "probabilities":
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    model = Said(scores, gives)
    rounded = Rounded(model, decimals=decimals)
    answers = rounded.answer(X[: len(scores)])
    assert (labels_of(answers, "probabilities") == labels_of(model.answer(X[: len(scores)]), gives)).all()
    assert np.abs(answers - np.round(answers.astype(np.float64), decimals)).max() < 1e-6
    exact = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True)) if gives == "logits" else scores
    exact = exact / exact.sum(axis=1, keepdims=True)
    assert np.abs(answers - exact).max() <= 1.5 * 10.0**-decimals + 1e-6


def test_equal_after_rounding_goes_to_the_right_class():
    answers = Rounded(Said([[0.46, 0.49, 0.05], [0.49, 0.46, 0.05]]), decimals=1).answer(X[:2])
    assert labels_of(answers, "probabilities").tolist() == [1, 0]


def test_where_all_probabilities_round_to_nothing_the_class_is_kept():
    scores = np.full((1, 30), 0.033)
    scores[0, 20] = 0.043
    answers = Rounded(Said(scores), decimals=1).answer(X[:1])
    assert labels_of(answers, "probabilities").tolist() == [20]
    assert answers[0, 20] == np.float32(0.1)


def test_a_lead_that_32_bits_cannot_hold_keeps_the_class():
    lead = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2)), -9.0]], dtype=np.float32)
    answers = Rounded(Said(lead, "logits"), decimals=7).answer(X[:1])
    assert labels_of(answers, "probabilities").tolist() == [1]
    with pytest.raises(ValueError, match="7"):
        Rounded(Said(lead, "logits"), decimals=8)


def test_no_number_stays_no_number():
    model = Said([[np.nan, 0.5], [0.2, 0.8]])
    assert labels_of(Rounded(model, decimals=1).answer(X[:2]), "probabilities").tolist() == [-1, 1]
    assert TopOnly(model).answer(X[:2]).tolist() == [-1, 1]
    assert TopOnly(model).gives == "labels"


def test_labels_cannot_be_rounded_nor_to_no_decimals():
    with pytest.raises(ValueError, match="labels"):
        Rounded(TopOnly(Said([[0.5, 0.5]])), decimals=1)
    with pytest.raises(ValueError, match="decimals"):
        Rounded(Said([[0.5, 0.5]]), decimals=0)


def test_a_client_gets_its_budget_and_not_one_answer_more():
    budgets = ClientBudgets(queries=100)
    budgets.charge("ann", 60)
    with pytest.raises(BudgetError, match="40"):
        budgets.charge("ann", 41)
    budgets.charge("ann", 40)
    assert budgets.left("ann") == 0
    # The adapted attack: every account has a budget of its own.
    budgets.charge("ann's second account", 100)
    with pytest.raises(ValueError, match="rows"):
        budgets.charge("ann", -1)


def test_threads_together_get_no_more_than_the_budget():
    budgets, granted = ClientBudgets(queries=500), []

    def ask():
        for _ in range(200):
            try:
                budgets.charge("ann", 1)
            except BudgetError:
                continue
            granted.append(1)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 500
