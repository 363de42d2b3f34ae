"""Fitted scikit-learn estimators as programs.

Only estimators of exactly the classes named here are read: a subclass may compute something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import (
    compose,
    decomposition,
    discriminant_analysis,
    linear_model,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.utils.validation import check_is_fitted

from wardline.core import UsageError
from wardline.he.compiler.convolution import Values
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Kind, Layer
from wardline.he.compiler.program import Link, Meaning, Program

_LOGISTIC = (linear_model.LogisticRegression, linear_model.LogisticRegressionCV)
_CLASSIFIERS = (
    *_LOGISTIC,
    discriminant_analysis.LinearDiscriminantAnalysis,
    linear_model.Perceptron,
    linear_model.RidgeClassifier,
    linear_model.RidgeClassifierCV,
    linear_model.SGDClassifier,
    svm.LinearSVC,
)
_REGRESSORS = (
    linear_model.ElasticNet,
    linear_model.Lasso,
    linear_model.LinearRegression,
    linear_model.Ridge,
    linear_model.RidgeCV,
    linear_model.SGDRegressor,
    svm.LinearSVR,
)
_ACTIVATIONS: dict[str, Kind] = {"logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_READ = "linear and logistic models, MLPClassifier and MLPRegressor, behind scalers, in a Pipeline"


def read_sklearn(estimator: Any, *, features: Sequence[str] = ()) -> Program:
    """The program of a fitted scikit-learn model.

    Linear classifiers and regressors, multilayer perceptrons, and pipelines of these behind StandardScaler,
    RobustScaler, MinMaxScaler, MaxAbsScaler, PCA, TruncatedSVD, and a ColumnTransformer of such scalers. A classifier
    of two classes gives its decision value, of more classes a logit each.

    Args:
        estimator: the model; it stays as it is.
        features: names of the columns; None are needed where the estimator knows them.

    Returns:
        A program that gives the estimator's decision function, or the logits of a perceptron's probabilities, or its
        predictions for a regressor, computed in 64-bit numbers.

    Raises:
        UsageError: naming the estimator or transformer that cannot be computed on ciphertexts, and what to do.
        ValueError: if it is not fitted, or features do not fit.
    """
    check_is_fitted(estimator)
    steps = _steps(estimator)
    layers: list[Layer] = []
    names: tuple[str, ...] = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
    for step in steps[:-1]:
        layers.append(_transformer(step, names))
        names = ()  # what comes out of a transformer has other names, or an order of its own
    last, meaning = _body(steps[-1])
    layers += last
    inputs = layers[0].inputs
    known = tuple(features) or tuple(map(str, getattr(estimator, "feature_names_in_", ())))
    return Program(input_shape=(inputs,), layers=tuple(layers), meaning=meaning, features=known)


def _steps(estimator: Any) -> list[Any]:
    """Transformers and the model at the end, pipelines in pipelines taken apart."""
    if type(estimator) is not pipeline.Pipeline:
        return [estimator]
    steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    if not steps:
        raise UsageError("the pipeline has no steps", hint="put a model at its end")
    return [inner for step in steps for inner in _steps(step)]


def _body(model: Any) -> tuple[list[Layer], Meaning]:
    kind = type(model)
    if kind in _CLASSIFIERS:
        # RidgeClassifier keeps one axis for two classes.
        weights = np.atleast_2d(_dense(model.coef_))
        return [_affine(weights, model.intercept_, kind.__name__)], _classes(model, len(weights))
    if kind in _REGRESSORS:
        weights = np.atleast_2d(_dense(model.coef_))
        return [_affine(weights, model.intercept_, kind.__name__)], Meaning(gives="values")
    if kind in (neural_network.MLPClassifier, neural_network.MLPRegressor):
        return _perceptron(model), _perceptron_meaning(model)
    raise _refused(model)


def _classes(model: Any, outputs: int) -> Meaning:
    names = tuple(str(one) for one in model.classes_)
    if np.ndim(model.classes_) != 1 or outputs != (1 if len(names) == 2 else len(names)):
        raise UsageError(
            "a classifier of several labels a row is not compiled", where=type(model).__name__, hint="fit one for each"
        )
    likely = type(model) in _LOGISTIC or type(model) is discriminant_analysis.LinearDiscriminantAnalysis
    likely = likely or (type(model) is linear_model.SGDClassifier and model.loss == "log_loss" and len(names) == 2)
    # liblinear fits a model for each class against the rest: their sigmoids, not a softmax, are its probabilities.
    if len(names) > 2 and getattr(model, "solver", "") == "liblinear":
        likely = False
    return _meaning(names, likely=likely)


def _meaning(names: tuple[str, ...], *, likely: bool) -> Meaning:
    link: Link = "none"
    if likely:
        link = "sigmoid" if len(names) == 2 else "softmax"
    return Meaning(gives="decision" if len(names) == 2 else "logits", classes=names, link=link)


def _perceptron(model: Any) -> list[Layer]:
    layers: list[Layer] = []
    for index, (weights, offset) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        layers.append(_affine(weights.T, offset, f"layer {index + 1}"))
        if index + 1 < len(model.coefs_) and model.activation != "identity":
            name = f"layer {index + 1} {model.activation}"
            layers.append(Activation(kind=_ACTIVATIONS[model.activation], units=len(offset), name=name))
    return layers


def _perceptron_meaning(model: Any) -> Meaning:
    if type(model) is neural_network.MLPRegressor:
        if model.out_activation_ != "identity":
            raise UsageError(
                f"outputs under {model.out_activation_} are not compiled",
                where="MLPRegressor",
                hint="fit it with the squared error",
            )
        return Meaning(gives="values")
    names = tuple(str(one) for one in model.classes_)
    if model.out_activation_ != "softmax" and len(model.intercepts_[-1]) != 1:
        raise UsageError(
            "a perceptron of several labels a row is not compiled", where="MLPClassifier", hint="fit one for each"
        )
    return _meaning(names, likely=True)


def _transformer(step: Any, names: tuple[str, ...]) -> Layer:
    kind = type(step)
    if kind is compose.ColumnTransformer:
        return _columns(step, names)
    scaled = _scaler(step)
    if scaled is not None:
        return Diagonal(factors=scaled[0], offset=scaled[1], name=kind.__name__)
    if kind in (decomposition.PCA, decomposition.TruncatedSVD):
        # The matrix is read off by transforming zero and the unit vectors.
        width = step.n_features_in_
        start, turned = (np.asarray(step.transform(rows)) for rows in (np.zeros((1, width)), np.eye(width)))
        return _affine((turned - start).T, start[0], kind.__name__)
    raise _refused(step)


def _scaler(step: Any) -> tuple[Values, Values] | None:
    """Factors and offset of a scaler; None for anything else."""
    kind = type(step)
    width = getattr(step, "n_features_in_", 0)
    if kind in (preprocessing.MinMaxScaler, preprocessing.MaxAbsScaler) and vars(step).get("clip"):
        raise UsageError(
            "a scaler that clips is no linear map",
            where=kind.__name__,
            hint="fit it with clip=False: inputs out of the calibrated range are clipped or refused anyway",
        )
    if kind is preprocessing.StandardScaler:
        mean = step.mean_ if step.with_mean else None  # it is learned even if it is not used
        factors = 1.0 / _or(step.scale_, 1.0, width)
        return factors, -_or(mean, 0.0, width) * factors
    if kind is preprocessing.RobustScaler:
        factors = 1.0 / _or(step.scale_, 1.0, width)
        return factors, -_or(step.center_, 0.0, width) * factors
    if kind is preprocessing.MinMaxScaler:
        return np.asarray(step.scale_, dtype=np.float64), np.asarray(step.min_, dtype=np.float64)
    if kind is preprocessing.MaxAbsScaler:
        return 1.0 / np.asarray(step.scale_, dtype=np.float64), np.zeros(width)
    return None


def _columns(step: Any, names: tuple[str, ...]) -> Affine:
    """Columns picked, each scaled or as it is: rows of a diagonal."""
    width = step.n_features_in_
    weights, offsets = [], []
    for name, inner, chosen in step.transformers_:
        if inner == "drop":
            continue
        picked = np.eye(width)[_indices(chosen, width, names)]
        if inner == "passthrough" or (type(inner) is preprocessing.FunctionTransformer and inner.func is None):
            factors, offset = np.ones(len(picked)), np.zeros(len(picked))
        else:
            scaled = _scaler(inner)
            if scaled is None:
                raise UsageError(
                    f"{type(inner).__name__} is no linear map of numbers",
                    where=f"ColumnTransformer, {name}",
                    hint="transform rows before they are encrypted, and compile the model of transformed columns",
                )
            factors, offset = scaled
        weights.append(picked * factors[:, None])
        offsets.append(offset)
    if not weights:
        raise UsageError("all columns are dropped", where="ColumnTransformer", hint="keep some")
    return _affine(np.concatenate(weights), np.concatenate(offsets), "ColumnTransformer")


def _indices(chosen: Any, width: int, names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    if isinstance(chosen, slice) and all(one is None or isinstance(one, int) for one in (chosen.start, chosen.stop)):
        return np.asarray(np.arange(width)[chosen], dtype=np.int64)
    if isinstance(chosen, slice):
        raise UsageError("columns chosen by a range of names are not read", where="ColumnTransformer", hint="list them")
    listed = np.atleast_1d(np.asarray(chosen))
    if listed.dtype == np.bool_:
        return np.flatnonzero(listed).astype(np.int64)
    if listed.dtype.kind in "iu":
        return np.asarray(np.arange(width)[listed], dtype=np.int64)
    lookup = {name: index for index, name in enumerate(names)}
    if not all(str(one) in lookup for one in listed):
        raise UsageError("a column's name is not known", where="ColumnTransformer", hint="choose columns by number")
    return np.array([lookup[str(one)] for one in listed], dtype=np.int64)


def _affine(weights: Any, offset: Any, name: str) -> Affine:
    # An intercept that was not fitted is the number 0.
    each = np.broadcast_to(np.asarray(offset, dtype=np.float64), (len(weights),))
    return Affine(weights=weights, offset=each, name=name)


def _refused(found: Any) -> UsageError:
    name = type(found).__name__
    trees = "Forest" in name or "Tree" in name or "Boosting" in name
    reason = "compares, which ciphertexts of real numbers cannot" if trees else "is not compiled"
    hint = f"{_READ} are; distil this model into one of them" if trees else f"{_READ} are"
    return UsageError(f"{name} {reason}", where=name, hint=hint)


def _or(values: Any, default: float, width: int) -> Values:
    """A scaler's numbers, or those of a scaler that was told to do without."""
    return np.full(width, default) if values is None else np.asarray(values, dtype=np.float64)


def _dense(matrix: Any) -> Values:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
