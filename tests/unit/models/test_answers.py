"""Answers of every common form, told apart, and those that are none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from wardline.models.answers import AnswerForm, detect
from wardline.models.predictor import labels_of

X = np.random.default_rng(0).random((12, 3)).astype(np.float32)
PROBS = X / X.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("answers", "classes", "form"),
    [
        (PROBS, None, AnswerForm(gives="probabilities", classes=3)),
        (X - 0.5, None, AnswerForm(gives="logits", classes=3)),
        (PROBS[:, :1], None, AnswerForm(gives="probabilities", classes=2)),
        (X[:, 0] * 8 - 4, None, AnswerForm(gives="logits", classes=2)),
        ([0, 1, 2, 1], 3, AnswerForm(gives="labels", classes=3)),
        ([[0.0], [4.0]], 5, AnswerForm(gives="labels", classes=5)),
        (torch.from_numpy(PROBS).tolist(), 3, AnswerForm(gives="probabilities", classes=3)),
    ],
)
def test_what_a_model_gives_is_told_from_its_answers(answers, classes, form: AnswerForm) -> None:
    assert detect(answers, classes=classes) == form


def test_what_cannot_be_told_must_be_stated() -> None:
    with pytest.raises(ValueError, match="number of classes must be stated"):
        detect([0, 1, 1])
    with pytest.raises(ValueError, match="no number at all"):
        detect([[np.nan, np.nan]])
    with pytest.raises(ValueError, match="tells 3 classes apart, not 4"):
        detect(PROBS, classes=4)
    with pytest.raises(ValueError, match="does not answer with numbers"):
        detect(["cat", "dog"])
    with pytest.raises(ValueError, match="does not answer with numbers"):
        detect([[1.0, 2.0], [3.0]])
    with pytest.raises(ValueError, match="3 axes"):
        detect(np.zeros((2, 2, 2)))


def test_labels_that_are_no_class_are_minus_one_and_scores_that_are_no_number_nan() -> None:
    labels = AnswerForm(gives="labels", classes=3).read([0, 2, 3, -1, 1.5, None, np.inf], 7)
    assert labels.tolist() == [0, 2, -1, -1, -1, -1, -1]
    scores = AnswerForm(gives="logits", classes=2).read([[1, 2], [None, 1], [np.inf, 0]], 3)
    assert labels_of(scores, "logits").tolist() == [1, -1, -1]


def test_an_answer_of_another_form_than_before_is_refused() -> None:
    form = AnswerForm(gives="probabilities", classes=3)
    with pytest.raises(ValueError, match="11 answers to 12 inputs"):
        form.read(PROBS[:11], 12)
    with pytest.raises(ValueError, match="2 numbers a row"):
        form.read(PROBS[:, :2], 12)
    with pytest.raises(ValueError, match="not a label"):
        AnswerForm(gives="labels", classes=3).read(PROBS, 12)


def test_numbers_too_large_for_any_type_are_told_and_scores_beyond_32_bits_are_no_numbers() -> None:
    """JSON has whole numbers of any length: a hostile service must not end the program with them."""
    huge = [[10**400, 0], [0, 1]]
    for ask in (detect, lambda raw: AnswerForm(gives="logits", classes=2).read(raw, 2)):
        with pytest.raises(ValueError, match="does not answer with numbers"):
            ask(huge)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = AnswerForm(gives="logits", classes=2).read([[1e300, 0], [0, 1]], 2)
    assert labels_of(scores, "logits").tolist() == [-1, 1]
