"""What a model that knows nothing of this package answers, made into answers of one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.models.predictor import Gives

SUMS_TO_ONE = 1e-3
"""How far the sum of a row of probabilities may be from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """What the answers of a model are.

    Attributes:
        gives: labels, probabilities or logits.
        classes: how many classes there are, at least 2.
    """

    gives: Gives
    classes: int

    def __post_init__(self) -> None:
        if self.gives not in ("labels", "probabilities", "logits"):
            raise ValueError("answers are labels, probabilities or logits")
        if self.classes < 2:
            raise ValueError("there are at least two classes")

    def read(self, raw: object, rows: int) -> npt.NDArray[Any]:
        """The answers to so many rows, as a `Predictor` gives them.

        A single number a row is the second of two classes: its probability, or how far it is above the first. A label
        that is no class becomes -1, a score that is no number NaN.

        Raises:
            ValueError: if there are not as many answers as rows, or not as many numbers as classes.
        """
        answers = _numbers(raw)
        if len(answers) != rows:
            raise ValueError(f"the model gives {len(answers)} answers to {rows} inputs")
        if answers.ndim == 2 and answers.shape[1] == 1:
            answers = answers[:, 0]
        if self.gives == "labels":
            if answers.ndim != 1:
                raise ValueError(f"the model gives {answers.shape[1]} numbers a row, not a label")
            return self._labels(answers)
        if answers.ndim == 1 and self.classes == 2:
            other = 1.0 - answers if self.gives == "probabilities" else np.zeros_like(answers)
            answers = np.stack([other, answers], axis=1)
        if answers.ndim != 2 or answers.shape[1] != self.classes:
            width = 1 if answers.ndim == 1 else answers.shape[1]
            raise ValueError(f"the model gives {width} numbers a row, there are {self.classes} classes")
        with np.errstate(over="ignore"):  # beyond 32 bits is no number either
            result = answers.astype(np.float32)
        result[~np.isfinite(result)] = np.nan
        return result

    def silence(self, rows: int) -> npt.NDArray[Any]:
        """The answers of a model that said nothing: labels of -1, or NaN."""
        if self.gives == "labels":
            return np.full(rows, -1, dtype=np.int64)
        return np.full((rows, self.classes), np.nan, dtype=np.float32)

    def _labels(self, answers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        with np.errstate(invalid="ignore"):
            known = (answers == np.floor(answers)) & (answers >= 0) & (answers < self.classes)
        result: npt.NDArray[np.int64] = np.where(known, answers, -1).astype(np.int64)
        return result


def detect(raw: object, *, classes: int | None = None, gives: Gives | None = None) -> AnswerForm:
    """What answers are, told from a few of them.

    Several numbers a row are probabilities if none is negative and each row sums to 1, else logits. One number a row
    is a label if all are whole, else the probability of the second of two classes if all lie in [0, 1], else its
    logit. State what you know: whole numbers may be saturated probabilities, and logits may look like probabilities.

    Args:
        raw: answers, one a row; the more rows the surer.
        classes: how many classes there are; only needed for labels, checked otherwise.
        gives: what they are; None finds out.

    Raises:
        ValueError: if they have no such form, or the number of classes cannot be told.
    """
    answers = _numbers(raw)
    single = answers.ndim == 1 or answers.shape[1] == 1
    finite = answers[np.isfinite(answers)]
    if not finite.size:
        raise ValueError("the model gives no number at all, so what it gives must be stated")
    if gives is None:
        if single and (finite == np.floor(finite)).all():
            gives = "labels"
        elif single:
            gives = "probabilities" if ((finite >= 0) & (finite <= 1)).all() else "logits"
        else:
            gives = "probabilities" if sums_to_one(answers).all() else "logits"
    if gives == "labels" and classes is None:
        raise ValueError("the model gives labels, so the number of classes must be stated")
    width = 2 if single else answers.shape[1]
    if gives != "labels" and classes not in (None, width):
        raise ValueError(f"the model tells {width} classes apart, not {classes}")
    return AnswerForm(gives=gives, classes=classes if gives == "labels" and classes is not None else width)


def sums_to_one(answers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each row could be probabilities: not negative, and a sum of 1. Rows without numbers could: [rows]."""
    silent = ~np.isfinite(answers).all(axis=1)
    with np.errstate(invalid="ignore"):
        fits = (answers >= 0).all(axis=1) & (np.abs(answers.sum(axis=1) - 1.0) <= SUMS_TO_ONE)
    result: npt.NDArray[np.bool_] = silent | fits
    return result


def _numbers(raw: object) -> npt.NDArray[np.float64]:
    """Numbers [rows] or [rows, n]; None, which is JSON for no number, becomes NaN."""
    try:
        answers = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:  # JSON has whole numbers of any length
        raise ValueError("the model does not answer with numbers, as many for each row") from error
    if answers.ndim not in (1, 2) or (answers.ndim == 2 and not answers.shape[1]):
        raise ValueError(f"the model answers with {answers.ndim} axes, not [rows] or [rows, classes]")
    return answers
