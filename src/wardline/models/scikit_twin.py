"""Torch modules that compute exactly what a fitted scikit-learn estimator computes, and can be differentiated.

Only estimators of exactly the classes named here have one: a subclass may compute something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn import (
    decomposition,
    discriminant_analysis,
    feature_selection,
    linear_model,
    model_selection,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)
from torch import Tensor, nn

_LINEAR = (
    discriminant_analysis.LinearDiscriminantAnalysis,
    linear_model.LogisticRegression,
    linear_model.LogisticRegressionCV,
    linear_model.Perceptron,
    linear_model.RidgeClassifier,
    linear_model.RidgeClassifierCV,
    linear_model.SGDClassifier,
    svm.LinearSVC,
)
_SEARCHES = (model_selection.GridSearchCV, model_selection.RandomizedSearchCV)
# Transformers that are affine maps of a row, whose matrix is read off by transforming zero and the unit vectors.
_PROJECTIONS = (
    decomposition.PCA,
    decomposition.TruncatedSVD,
    feature_selection.SelectFromModel,
    feature_selection.SelectKBest,
    feature_selection.SelectPercentile,
    feature_selection.VarianceThreshold,
)


def scikit_twin(estimator: Any) -> nn.Module | None:
    """A module from float32 inputs [rows, *shape] to logits [rows, classes] that agrees with a fitted estimator.

    Linear classifiers, `SVC` and `NuSVC` (kernels linear, rbf, poly, sigmoid), `MLPClassifier`, searches over these and
    pipelines of them behind scalers, `Normalizer`, projections and selections of columns have one.

    Returns:
        The module, or None where there is none: trees, neighbours, calibrated or custom estimators.

    Guarantee:
        Everything inside is computed in 64-bit numbers from the estimator's own parameters, so that its decision
        function, or the logarithms of its probabilities up to a constant of each row, come out to 32-bit rounding.
        It holds for the parameters at the time of the call.
    """
    body = _body(estimator)
    return None if body is None else _Twin(body)


class _Twin(nn.Module):
    """Flattens, computes in 64-bit numbers, answers in 32-bit ones."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.eval()
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x.flatten(1).double()).float()
        return logits


def _body(estimator: Any) -> nn.Module | None:
    if type(estimator) in _SEARCHES:
        return _body(estimator.best_estimator_)
    if type(estimator) is pipeline.Pipeline:
        return _pipeline(estimator)
    if type(estimator) in _LINEAR:
        weights = np.atleast_2d(_dense(estimator.coef_))  # RidgeClassifier keeps one axis for two classes
        return _Affine(weights.T, estimator.intercept_, binary=len(estimator.classes_) == 2)
    if type(estimator) in (svm.SVC, svm.NuSVC) and estimator.kernel in ("linear", "rbf", "poly", "sigmoid"):
        return _Kernel(estimator)
    # One sigmoid for each of several outputs means several labels at once, which no class index can tell.
    if type(estimator) is neural_network.MLPClassifier and (
        estimator.out_activation_ == "softmax" or len(estimator.intercepts_[-1]) == 1
    ):
        return _perceptron(estimator)
    return None


def _pipeline(estimator: Any) -> nn.Module | None:
    steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    parts = [*(_transformer(step) for step in steps[:-1]), _body(steps[-1])]
    known = [part for part in parts if part is not None]
    return nn.Sequential(*known) if len(known) == len(parts) else None


def _transformer(step: Any) -> nn.Module | None:
    kind, width = type(step), getattr(step, "n_features_in_", 0)
    if kind is preprocessing.StandardScaler:
        mean = step.mean_ if step.with_mean else None  # it is learned even if it is not used
        return _Scale(1.0 / _or(step.scale_, 1.0, width), shift=-_or(mean, 0.0, width), first=True)
    if kind is preprocessing.RobustScaler:
        return _Scale(1.0 / _or(step.scale_, 1.0, width), shift=-_or(step.center_, 0.0, width), first=True)
    if kind is preprocessing.MaxAbsScaler:
        # Clipping came with scikit-learn 1.8.
        return _Scale(1.0 / step.scale_, shift=np.zeros(width), clip=(-1.0, 1.0) if vars(step).get("clip") else None)
    if kind is preprocessing.MinMaxScaler:
        return _Scale(step.scale_, shift=step.min_, clip=tuple(step.feature_range) if step.clip else None)
    if kind is preprocessing.Normalizer:
        return _Normalise({"l1": 1.0, "l2": 2.0, "max": float("inf")}[step.norm])
    if kind in _PROJECTIONS:
        # Whoever told it to give data frames gets rows all the same.
        start, turned = (np.asarray(step.transform(rows)) for rows in (np.zeros((1, width)), np.eye(width)))
        return _Affine(turned - start, start[0])
    return None


def _or(values: Any, default: float, width: int) -> npt.NDArray[np.float64]:
    """A scaler's numbers, or those of a scaler that was told to do without."""
    return np.full(width, default) if values is None else np.asarray(values, dtype=np.float64)


class _Scale(nn.Module):
    """Multiplies each feature after shifting it (``first``), or before."""

    def __init__(
        self,
        scale: npt.NDArray[Any],
        *,
        shift: npt.NDArray[Any],
        first: bool = False,
        clip: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.shift = _constant(scale), _constant(shift)
        self.first, self.clip = first, clip

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x + self.shift) * self.scale if self.first else x * self.scale + self.shift
        return scaled if self.clip is None else scaled.clamp(*self.clip)


class _Normalise(nn.Module):
    def __init__(self, order: float) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(x, ord=self.order, dim=1, keepdim=True)
        # scikit-learn leaves a row as it is that is as good as zero.
        return x / torch.where(lengths < 10 * torch.finfo(x.dtype).eps, 1.0, lengths)


class _Affine(nn.Module):
    """x W + b; a binary classifier's single number is the second class's logit, the first one's is 0."""

    def __init__(self, weights: npt.NDArray[Any], offset: Any, *, binary: bool = False) -> None:
        super().__init__()
        self.weights, self.offset = _constant(weights), _constant(offset)
        self.binary = binary

    def forward(self, x: Tensor) -> Tensor:
        result = x @ self.weights + self.offset
        return _two(result) if self.binary else result


def _perceptron(estimator: Any) -> nn.Module:
    activation = {"identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
    layers: list[nn.Module] = []
    last = len(estimator.coefs_) - 1
    for index, (weights, offset) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        layers.append(_Affine(weights, offset, binary=index == last and len(offset) == 1))
        if index < last:
            layers.append(activation[estimator.activation]())
    return nn.Sequential(*layers)


class _Kernel(nn.Module):
    """A support vector machine: kernels with all support vectors, weighted for each pair of classes.

    With three classes and more the pairs vote, and scores are votes plus a share of the margins below one third; a
    gradient flows through the margins alone. Ties between votes go to the first class, as `predict` has it, unless
    the estimator breaks them by its margins.
    """

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        self.vectors = _constant(_dense(estimator.support_vectors_))
        self.classes = len(estimator.classes_)
        # What gamma="scale" or "auto" came to is kept in a private attribute only.
        self.kernel = _kernel(estimator.kernel, estimator._gamma, estimator.coef0, estimator.degree)
        self.breaks_ties = bool(estimator.break_ties)
        self.weights = _constant(_pair_weights(estimator))
        self.offset = _constant(estimator.intercept_)

    def forward(self, x: Tensor) -> Tensor:
        margins = self.kernel(x, self.vectors) @ self.weights + self.offset
        if self.classes == 2:
            return _two(margins)
        return _votes(margins, self.classes, breaks_ties=self.breaks_ties)


def _kernel(name: str, gamma: float, coef0: float, degree: int) -> Callable[[Tensor, Tensor], Tensor]:
    def rbf(x: Tensor, vectors: Tensor) -> Tensor:
        squares = (x * x).sum(1, keepdim=True) - 2.0 * (x @ vectors.T) + (vectors * vectors).sum(1)
        return torch.exp(-gamma * squares.clamp_min(0.0))

    match name:
        case "rbf":
            return rbf
        case "linear":
            return lambda x, vectors: x @ vectors.T
        case "poly":
            return lambda x, vectors: (gamma * (x @ vectors.T) + coef0) ** degree
        case _:
            return lambda x, vectors: torch.tanh(gamma * (x @ vectors.T) + coef0)


def _pair_weights(estimator: Any) -> npt.NDArray[np.float64]:
    """The weight of each support vector in each pair's margin: [vectors, pairs].

    Vectors are ordered by class. Row j - 1 of the dual coefficients holds those of class i against class j, and row i
    those of class j against class i, for i < j.
    """
    dual = _dense(estimator.dual_coef_)
    count = len(estimator.classes_)
    if count == 2:
        return dual.T
    ends = np.concatenate([[0], np.cumsum(estimator.n_support_)])
    columns = []
    for i in range(count):
        for j in range(i + 1, count):
            column = np.zeros(dual.shape[1])
            column[ends[i] : ends[i + 1]] = dual[j - 1, ends[i] : ends[i + 1]]
            column[ends[j] : ends[j + 1]] = dual[i, ends[j] : ends[j + 1]]
            columns.append(column)
    return np.stack(columns, axis=1)


def _votes(margins: Tensor, classes: int, *, breaks_ties: bool) -> Tensor:
    """One score a class from the margins of all pairs, as scikit-learn's one-vs-rest decision function has it."""
    first, second = torch.triu_indices(classes, classes, offset=1)
    wins = margins.new_zeros(len(margins), classes)
    wins = wins.index_add(1, first, (margins >= 0).to(margins)).index_add(1, second, (margins < 0).to(margins))
    sums = margins.new_zeros(len(margins), classes).index_add(1, first, margins).index_add(1, second, -margins)
    scores = wins + sums / (3.0 * (sums.abs() + 1.0))
    if breaks_ties:
        return scores
    winner = wins.argmax(dim=1, keepdim=True)  # the first of equals
    best = scores.detach().amax(dim=1, keepdim=True)
    # Raised far enough to stay the largest after rounding to 32 bits, and only where it is not the largest anyway.
    behind = (best - scores.detach().gather(1, winner)).clamp_min(0.0)
    return scores.scatter_add(1, winner, torch.where(behind > 0, behind + 1e-6 * (best.abs() + 1.0), behind))


def _two(margin: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(margin), margin], dim=1)


def _constant(values: Any) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(values, dtype=np.float64)), requires_grad=False)


def _dense(matrix: Any) -> npt.NDArray[np.float64]:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
