"""Fitted scikit-learn trees and forests as plain arrays.

Only estimators of exactly the classes named here are read: a subclass may compute something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import dummy, ensemble, tree
from sklearn.utils.validation import check_is_fitted

from wardline.core import UsageError
from wardline.he.compiler.program import Link, Meaning
from wardline.he.forest.trees import LEAF, Floats, Forest, Tree

_SINGLE = (
    tree.DecisionTreeClassifier,
    tree.DecisionTreeRegressor,
    tree.ExtraTreeClassifier,
    tree.ExtraTreeRegressor,
)
_AVERAGED = (
    ensemble.RandomForestClassifier,
    ensemble.RandomForestRegressor,
    ensemble.ExtraTreesClassifier,
    ensemble.ExtraTreesRegressor,
)
_BOOSTED = (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor)
_BINNED = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)
_READ = (
    "DecisionTree, ExtraTree, RandomForest, ExtraTrees, GradientBoosting and HistGradientBoosting, classifiers and "
    "regressors, are read"
)
_IDENTITY_LOSSES = ("squared_error", "absolute_error", "quantile")


def read_forest(model: Any, *, features: Sequence[str] = ()) -> Forest:
    """The forest of a fitted scikit-learn model.

    Single and averaged trees give the probability of the second class (a class each where there are more than two) or
    the predicted value, boosted ones their decision function or the predicted value.

    Args:
        model: a fitted estimator; it stays as it is.
        features: names of the columns; None are needed where the model knows them.

    Raises:
        UsageError: for another model, or one that splits by missing values or categories, with the reason.
        ValueError: if it is not fitted, or names do not fit.
    """
    kind = type(model)
    if kind not in (*_SINGLE, *_AVERAGED, *_BOOSTED, *_BINNED):
        raise UsageError(f"{kind.__name__} is not read as a forest", where=kind.__name__, hint=_READ)
    check_is_fitted(model)
    if getattr(model, "n_outputs_", 1) != 1:
        raise UsageError("a model of several targets a row is not read", where=kind.__name__, hint="fit one for each")
    names = tuple(features) or tuple(map(str, getattr(model, "feature_names_in_", ())))
    if kind in _BINNED:
        return _binned(model, names)
    if kind in _BOOSTED:
        return _boosted(model, names)
    members = [model] if kind in _SINGLE else list(model.estimators_)
    classes = tuple(map(str, getattr(model, "classes_", ())))
    trees = []
    for index, member in enumerate(members):
        values = member.tree_.value[:, 0, :]
        if classes:
            # Shares of the classes; the averaged probabilities are divided by their own sum, as scikit-learn does.
            values = values / np.maximum(values.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
            values = values[:, 1:] if len(classes) == 2 else values
        trees.append(_tree(member.tree_, values / len(members), f"tree {index}"))
    if len(classes) == 1:
        raise UsageError("the model knows one class alone", where=kind.__name__, hint="fit it on more of them")
    outputs = trees[0].value.shape[1]
    return Forest(
        trees=tuple(trees),
        features=int(model.n_features_in_),
        offset=np.zeros(outputs),
        number="float32",
        meaning=_meaning(classes, threshold=0.5, link="none"),
        names=names,
    )


def _meaning(classes: tuple[str, ...], *, threshold: float, link: Link) -> Meaning:
    if not classes:
        return Meaning(gives="values")
    if len(classes) == 2:
        return Meaning(gives="decision", classes=classes, threshold=threshold, link=link)
    return Meaning(gives="logits", classes=classes, link="softmax" if link == "sigmoid" else "none")


def _tree(found: Any, values: Floats, where: str) -> Tree:
    """A tree of scikit-learn's own structure."""
    leaf = found.children_left == -1
    _check_thresholds(found.threshold[~leaf], where)
    return Tree(
        feature=np.where(leaf, LEAF, found.feature).astype(np.int64),
        threshold=np.where(leaf, 0.0, found.threshold).astype(np.float64),
        left=np.asarray(found.children_left, dtype=np.int64),
        right=np.asarray(found.children_right, dtype=np.int64),
        value=np.ascontiguousarray(values, dtype=np.float64),
    )


def _check_thresholds(thresholds: Floats, where: str) -> None:
    if not np.isfinite(thresholds).all():
        raise UsageError(
            "a split tells missing values from others, and a missing value cannot be compared",
            where=where,
            hint="fill missing values before the model is fitted, and before rows are encrypted",
        )


def _boosted(model: Any, names: tuple[str, ...]) -> Forest:
    kind, classes = type(model).__name__, tuple(map(str, getattr(model, "classes_", ())))
    constant = model.init_ == "zero" or type(model.init_) in (dummy.DummyClassifier, dummy.DummyRegressor)
    if not constant:
        raise UsageError(
            "boosting starts from another model, which is not read",
            where=kind,
            hint="fit it with init=None or init='zero'",
        )
    # The start is the same for all rows, so that any row shows it.
    offset = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)))[0]
    outputs = len(offset)
    trees = []
    for index, stage in enumerate(model.estimators_):
        for output, member in enumerate(stage):
            values = np.zeros((member.tree_.node_count, outputs))
            values[:, output] = model.learning_rate * member.tree_.value[:, 0, 0]
            trees.append(_tree(member.tree_, values, f"stage {index}"))
    likely = bool(classes) and model.loss == "log_loss"
    return Forest(
        trees=tuple(trees),
        features=int(model.n_features_in_),
        offset=np.asarray(offset, dtype=np.float64),
        number="float32",
        meaning=_meaning(classes, threshold=0.0, link="sigmoid" if likely else "none"),
        names=names,
    )


def _binned(model: Any, names: tuple[str, ...]) -> Forest:
    kind, classes = type(model).__name__, tuple(map(str, getattr(model, "classes_", ())))
    if not classes and model.loss not in _IDENTITY_LOSSES:
        raise UsageError(
            f"a model of the loss {model.loss} gives the exponential of its trees' sum, which is not computed here",
            where=kind,
            hint=f"fit it with one of {', '.join(_IDENTITY_LOSSES)}",
        )
    categorical = getattr(model, "is_categorical_", None)
    if categorical is not None and np.any(categorical):
        raise UsageError(
            "a categorical feature is split by sets of categories, not by a threshold",
            where=kind,
            hint="encode categories as indicator columns before the model is fitted",
        )
    offset = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    outputs = len(offset)
    trees = []
    for index, stage in enumerate(model._predictors):
        for output, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            where = f"iteration {index}"
            if nodes["is_categorical"][~leaf].any():
                raise UsageError("a split is by categories, not by a threshold", where=where, hint="encode them")
            _check_thresholds(nodes["num_threshold"][~leaf], where)
            values = np.zeros((len(nodes), outputs))
            values[:, output] = nodes["value"]
            trees.append(
                Tree(
                    feature=np.where(leaf, LEAF, nodes["feature_idx"]).astype(np.int64),
                    threshold=np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64),
                    left=nodes["left"].astype(np.int64),
                    right=nodes["right"].astype(np.int64),
                    value=values,
                )
            )
    return Forest(
        trees=tuple(trees),
        features=int(model.n_features_in_),
        offset=offset,
        number="float64",
        meaning=_meaning(classes, threshold=0.0, link="sigmoid" if classes else "none"),
        names=names,
    )
