"""Answers that tell less: rounded probabilities, or the class alone.

Either costs an honest user little. Neither stops a copy of a linear model; what they cost an attacker is measured in
the guide on copying.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardline.core.checks import at_least
from wardline.models.predictor import Gives, Inputs, Predictor, labels_of

_MOST_DECIMALS = 7  # below 1, 32-bit numbers tell those apart and no more


class Rounded:
    """A model whose probabilities are rounded to so many decimals.

    Guarantee: the class is that of the model behind it, also where rounding makes two probabilities equal. Nothing
    else is guaranteed: a rounded probability still tells on which side of a threshold the exact one lies, and where
    the threshold is can be found by asking again nearby.

    Args:
        predictor: gives probabilities or logits.
        decimals: how many digits are left, from 1 to 7.

    Raises:
        ValueError: for a model that gives labels, or decimals out of range.
    """

    def __init__(self, predictor: Predictor, *, decimals: int) -> None:
        if predictor.gives == "labels":
            raise ValueError("labels cannot be rounded")
        self._predictor = predictor
        self._decimals = at_least("decimals", decimals, 1)
        if decimals > _MOST_DECIMALS:
            raise ValueError(f"answers of 32 bits have at most {_MOST_DECIMALS} decimals, not {decimals}")

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._predictor.classes

    @property
    def gives(self) -> Gives:
        """Probabilities."""
        return "probabilities"

    def answer(self, x: Inputs) -> npt.NDArray[np.float32]:
        """Rounded probabilities, [rows, classes]; they need not add up to 1. NaN stays NaN."""
        answers = self._predictor.answer(x).astype(np.float64)
        winners = labels_of(answers, self._predictor.gives)
        if self._predictor.gives == "logits":
            answers = np.exp(answers - answers.max(axis=1, keepdims=True))
            answers /= answers.sum(axis=1, keepdims=True)
        rounded = np.round(answers, self._decimals)
        # Of equal numbers the first counts, so an equal one before the winner loses a digit, which it must have.
        unit = 10.0**-self._decimals
        rows = np.flatnonzero(winners >= 0)
        before = np.arange(rounded.shape[1]) < winners[rows, None]
        top = np.maximum(rounded[rows, winners[rows]], unit)[:, None]
        rounded[rows, winners[rows]] = top[:, 0]
        rounded[rows] = np.where(before & (rounded[rows] >= top), np.maximum(top - unit, 0), rounded[rows])
        result: npt.NDArray[np.float32] = np.round(rounded, self._decimals).astype(np.float32)
        return result


class TopOnly:
    """A model that tells the class and nothing else.

    Guarantee: an answer carries at most log2(classes) bits. That bounds what one question tells, not what many do.

    Args:
        predictor: any model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._predictor.classes

    @property
    def gives(self) -> Gives:
        """Labels."""
        return "labels"

    def answer(self, x: Inputs) -> npt.NDArray[np.int64]:
        """The class of each row; -1 where the model behind gave no number."""
        return labels_of(self._predictor.answer(x), self._predictor.gives)
