"""Fitted scikit-learn classifiers as predictors, with gradients where an exact twin exists."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.svm import SVC, NuSVC
from sklearn.utils.validation import check_is_fitted
from torch import nn

from wardline.models.callable_predictor import lift
from wardline.models.predictor import Gives, Inputs, labels_of
from wardline.models.scikit_twin import scikit_twin


class ScikitPredictor:
    """A fitted classifier as a black box.

    The estimator is copied. It is asked in 64-bit numbers, which is what scikit-learn computes in. What `predict` says
    is what the model decides: where that is not the class of the largest score (a threshold of its own, votes that
    tie, calibrated probabilities beside an own decision), the score of the class that it names is raised to the
    largest.

    Args:
        estimator: the model; use `scikit_predictor`, which gives it gradients where it has some.

    Raises:
        ValueError: if it is no fitted classifier of one label a row with at least two classes.
    """

    def __init__(self, estimator: Any) -> None:
        if not is_classifier(estimator):
            raise ValueError(f"{type(estimator).__name__} is no classifier")
        check_is_fitted(estimator)  # its NotFittedError is a ValueError
        known = getattr(estimator, "classes_", ())
        if isinstance(known, list) or np.ndim(known) != 1 or len(known) < 2:
            raise ValueError("the estimator must tell at least two classes apart, one label a row")
        self._estimator = _private(estimator)
        # The decision function first: it is what most estimators decide by. Platt's probabilities of a support vector
        # machine are fitted beside its decisions and contradict them.
        self._method = next((name for name in ("decision_function", "predict_proba") if hasattr(estimator, name)), None)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self._estimator.classes_)

    @property
    def gives(self) -> Gives:
        """The decision function, or else probabilities, or else labels."""
        match self._method:
            case "predict_proba":
                return "probabilities"
            case "decision_function":
                return "logits"
            case _:
                return "labels"

    def answer(self, x: Inputs) -> npt.NDArray[Any]:
        """Scores [rows, classes] whose largest is what `predict` says, or labels [rows].

        Raises:
            ValueError: if the rows have another number of features than the estimator was fitted with.
        """
        rows = _rows(x)
        labels = self._decisions(rows)
        return labels if self._method is None else lift(self._scores(rows).astype(np.float32), labels)

    def disagreements(self, x: Inputs) -> int:
        """How many rows `predict` decides otherwise than by the largest score."""
        if self._method is None:
            return 0
        rows = _rows(x)
        return int((labels_of(self._scores(rows), "logits") != self._decisions(rows)).sum())

    def _scores(self, rows: Any) -> npt.NDArray[np.float64]:
        scores = np.asarray(_ask(self._estimator, str(self._method), rows), dtype=np.float64)
        both = np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores
        if both.shape != (len(rows), self.classes):
            raise ValueError(f"{self._method} gives {both.shape[1:]} numbers a row, there are {self.classes} classes")
        return both

    def _decisions(self, rows: Any) -> npt.NDArray[np.int64]:
        said, known = np.asarray(_ask(self._estimator, "predict", rows)), np.asarray(self._estimator.classes_)
        if said.ndim != 1:
            raise ValueError("the estimator tells several labels a row")
        order = np.argsort(known)
        indices = order[np.searchsorted(known, said, sorter=order).clip(max=len(known) - 1)]
        # What is none of the classes, say of an estimator that rejects some rows, is no answer.
        labels: npt.NDArray[np.int64] = np.where(known[indices] == said, indices, -1).astype(np.int64)
        return labels


class DifferentiableScikitPredictor(ScikitPredictor):
    """A fitted classifier whose exact twin in torch gives an adversary its gradients.

    Args:
        estimator: the model.
        twin: what `scikit_twin` made of it.
    """

    def __init__(self, estimator: Any, twin: nn.Module) -> None:
        super().__init__(estimator)
        self._twin = twin

    def network(self) -> nn.Module:
        """A copy of the twin; what counts is still what the estimator says."""
        return copy.deepcopy(self._twin)


def scikit_predictor(estimator: Any) -> ScikitPredictor:
    """The predictor of a fitted classifier: with gradients if it has an exact twin, else a black box.

    Raises:
        ValueError: if it is no fitted classifier of one label a row with at least two classes.
    """
    checked = ScikitPredictor(estimator)
    twin = scikit_twin(estimator)
    return checked if twin is None else DifferentiableScikitPredictor(estimator, twin)


def _private(estimator: Any) -> Any:
    """A copy whose support vector machines show one score a class; `predict` does not depend on what they show."""
    own = part = copy.deepcopy(estimator)
    while hasattr(part, "best_estimator_") or hasattr(part, "steps"):
        part = part.best_estimator_ if hasattr(part, "best_estimator_") else part.steps[-1][1]
    if isinstance(part, (SVC, NuSVC)):
        part.decision_function_shape = "ovr"
    return own


def _rows(x: Inputs) -> Any:
    return x.copy() if x.dtype == object else x.reshape(len(x), -1).astype(np.float64)


def _ask(estimator: Any, method: str, rows: Any) -> Any:
    with warnings.catch_warnings():
        # An estimator that was fitted on a data frame says this on every call; the order of columns is the caller's.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return getattr(estimator, method)(rows)
