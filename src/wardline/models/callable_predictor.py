"""Any function from inputs to answers as a predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from wardline.models.answers import AnswerForm, detect
from wardline.models.predictor import Gives, Inputs, labels_of


@runtime_checkable
class Deciding(Protocol):
    """A predictor whose model may decide otherwise than for its largest score: a threshold, a vote, a reject option."""

    def disagreements(self, x: Inputs) -> int:
        """How many rows the model decides otherwise than its scores say; it is asked about all of them."""


class CallablePredictor:
    """A function that takes inputs [rows, ...] and gives labels, probabilities or logits.

    The function gets a copy, so that it may write on it. What it raises passes through.

    Args:
        function: the model.
        form: what it answers; `detect` tells it from a few answers.
        decide: what the model decides as deployed, labels [rows], where that is not always the largest score. Its
            word then counts: the score of the class that it names is raised to the largest.

    Raises:
        ValueError: if labels are given, and a second function that decides as well.
    """

    def __init__(
        self, function: Callable[[Any], Any], *, form: AnswerForm, decide: Callable[[Any], Any] | None = None
    ) -> None:
        if decide is not None and form.gives == "labels":
            raise ValueError("a model that gives labels has decided already")
        self._function = function
        self._form = form
        self._decide = decide

    @classmethod
    def of(
        cls, function: Callable[[Any], Any], example: Inputs, *, classes: int | None = None, gives: Gives | None = None
    ) -> CallablePredictor:
        """The predictor of a function, whose answers to a few examples say what it answers.

        Raises:
            ValueError: if they do not.
        """
        return cls(function, form=detect(function(example.copy()), classes=classes, gives=gives))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._form.classes

    @property
    def gives(self) -> Gives:
        """What was stated or detected."""
        return self._form.gives

    def answer(self, x: Inputs) -> npt.NDArray[Any]:
        """The function's answers: labels [rows], or scores [rows, classes].

        Raises:
            ValueError: if they do not have the form that was stated or detected.
        """
        answers = self._form.read(self._function(x.copy()), len(x))
        return answers if self._decide is None else lift(answers, self._decisions(x))

    def disagreements(self, x: Inputs) -> int:
        """How many rows are decided otherwise than by their largest score."""
        if self._decide is None:
            return 0
        scored = labels_of(self._form.read(self._function(x.copy()), len(x)), self.gives)
        return int((scored != self._decisions(x)).sum())

    def _decisions(self, x: Inputs) -> npt.NDArray[np.int64]:
        assert self._decide is not None
        labels: npt.NDArray[np.int64] = AnswerForm(gives="labels", classes=self.classes).read(
            self._decide(x.copy()), len(x)
        )
        return labels


def lift(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Scores whose largest is that of the class which the model decides for; a decision of -1 makes them NaN.

    Only rows where that is not so already are changed: there the class gets the next number above the largest.
    """
    other = np.flatnonzero(labels_of(scores, "logits") != labels)
    lifted = scores.copy()
    lifted[other, labels[other]] = np.nextafter(scores[other].max(axis=1), np.float32(np.inf))
    lifted[labels < 0] = np.nan
    return lifted
