"""Functions as predictors: their answers, and decisions of their own."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor, Deciding, lift
from wardline.models.predictor import labels_of

X = np.random.default_rng(0).random((12, 3)).astype(np.float32)
PROBS = X / X.sum(axis=1, keepdims=True)


def test_one_number_a_row_becomes_two_classes() -> None:
    prob = CallablePredictor.of(lambda x: x[:, 0], X)
    assert prob.gives == "probabilities"
    np.testing.assert_allclose(prob.answer(X), np.stack([1 - X[:, 0], X[:, 0]], axis=1), rtol=1e-6)
    margin = CallablePredictor.of(lambda x: x[:, :1] * 9 - 5, X)
    assert margin.gives == "logits"
    assert (labels_of(margin.answer(X), "logits") == (X[:, 0] * 9 > 5)).all()


def test_the_function_may_write_on_what_it_gets() -> None:
    def rude(x):
        x[:] = 0
        return PROBS[: len(x)]

    before = X.copy()
    CallablePredictor.of(rude, X).answer(X)
    assert (before == X).all()


def test_a_decision_of_its_own_counts_and_is_counted() -> None:
    form = AnswerForm(gives="probabilities", classes=3)
    careful = CallablePredictor(lambda x: PROBS[: len(x)], form=form, decide=lambda x: np.zeros(len(x)))
    assert isinstance(careful, Deciding)
    assert (labels_of(careful.answer(X), "probabilities") == 0).all()
    assert careful.disagreements(X) == int((PROBS.argmax(axis=1) != 0).sum()) > 0
    with pytest.raises(ValueError, match="decided already"):
        CallablePredictor(len, form=AnswerForm(gives="labels", classes=2), decide=len)


def test_lifting_changes_only_rows_that_disagree() -> None:
    scores = np.array([[1, 5], [5, 1], [2, 2], [3, 4]], dtype=np.float32)
    lifted = lift(scores, np.array([1, 1, 1, -1]))
    assert labels_of(lifted, "logits").tolist() == [1, 1, 1, -1]
    assert (lifted[0] == scores[0]).all()
    assert lifted[1, 1] == np.nextafter(np.float32(5), np.float32(9))
