"""What every attack sees of a model, whatever it is made of: something that answers, and what its answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

Gives: TypeAlias = Literal["labels", "probabilities", "logits"]
"""What an answer is: a class index a row, or a number for each class of a row."""

Inputs: TypeAlias = npt.NDArray[Any]
"""Inputs of a model, one a row: 32-bit numbers [rows, *shape], or texts (dtype object) [rows]."""


class Predictor(Protocol):
    """A model as a black box. It must not keep or change the rows that it is asked about."""

    @property
    def classes(self) -> int:
        """How many classes it tells apart, at least 2."""

    @property
    def gives(self) -> Gives:
        """The most that an answer tells."""

    def answer(self, x: Inputs) -> npt.NDArray[Any]:
        """Its answers: int64 [rows] if it gives labels, else float32 [rows, classes].

        An answer that is no number is NaN, or the label -1; whoever asks decides what that means.
        """


@runtime_checkable
class Differentiable(Protocol):
    """A predictor that an attacker with full knowledge can differentiate."""

    def network(self) -> nn.Module:
        """A torch module from inputs [rows, *shape] to logits [rows, classes].

        It is in evaluation mode, its parameters need no gradient, and changing it does not change the model.
        """


def labels_of(answers: npt.NDArray[Any], gives: Gives) -> npt.NDArray[np.int64]:
    """The class of each answer: the largest number's, the first of equals; -1 where an answer is not finite."""
    if gives == "labels":
        return answers.astype(np.int64)
    labels: npt.NDArray[np.int64] = np.where(np.isfinite(answers).all(axis=1), answers.argmax(axis=1), -1)
    return labels
