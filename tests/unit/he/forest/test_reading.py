"""Scikit-learn's forests: the same numbers and the same decisions, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import ensemble, linear_model, tree

from wardline.core import UsageError
from wardline.he.forest.reading import read_forest


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(5)
    x = generator.normal(size=(400, 4)) * [1, 10, 0.01, 1]
    x[:, 3] = np.rint(x[:, 3])
    two = (x[:, 0] * x[:, 3] > x[:, 1] / 10).astype(int)
    return x, two, two + (x[:, 2] > 0), x[:, 0] + x[:, 1]


@pytest.mark.parametrize(
    "model",
    [
        tree.DecisionTreeRegressor(max_depth=4),
        tree.ExtraTreeRegressor(max_depth=4),
        ensemble.RandomForestRegressor(5, max_depth=3),
        ensemble.ExtraTreesRegressor(5, max_depth=3),
        ensemble.GradientBoostingRegressor(n_estimators=8),
        ensemble.GradientBoostingRegressor(n_estimators=8, loss="huber"),
        ensemble.HistGradientBoostingRegressor(max_iter=8),
    ],
    ids=lambda model: f"{type(model).__name__} {getattr(model, 'loss', '')}",
)
def test_regressors_give_their_predictions(data, model) -> None:
    x, _, _, target = data
    forest = read_forest(model.fit(x, target))
    np.testing.assert_allclose(forest.evaluate(x)[:, 0], model.predict(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kinds", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        tree.DecisionTreeClassifier(max_depth=4),
        tree.ExtraTreeClassifier(max_depth=4, class_weight="balanced"),
        ensemble.RandomForestClassifier(5, max_depth=3),
        ensemble.ExtraTreesClassifier(5, max_depth=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_averaged_classifiers_give_probabilities(data, model, kinds: int) -> None:
    x, target = data[0], data[kinds - 1]
    forest = read_forest(model.fit(x, target))
    found, wanted = forest.evaluate(x), model.predict_proba(x)
    np.testing.assert_allclose(found, wanted[:, 1:] if kinds == 2 else wanted, atol=1e-12)
    assert forest.meaning.classes == tuple(map(str, range(kinds)))
    # Scikit-learn decides even votes by the order of its sums, so rows near to them are left out.
    ordered = np.sort(wanted, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-9
    np.testing.assert_array_equal(forest.meaning.decide(found)[clear], model.predict(x)[clear])


@pytest.mark.parametrize("kinds", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        ensemble.GradientBoostingClassifier(n_estimators=6),
        ensemble.GradientBoostingClassifier(n_estimators=6, init="zero"),
        ensemble.HistGradientBoostingClassifier(max_iter=6),
    ],
    ids=["GradientBoosting", "GradientBoosting from zero", "HistGradientBoosting"],
)
def test_boosted_classifiers_give_their_decision_function(data, model, kinds: int) -> None:
    x, target = data[0], data[kinds - 1]
    forest = read_forest(model.fit(x, target))
    found, wanted = forest.evaluate(x), np.asarray(model.decision_function(x)).reshape(len(x), -1)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(forest.meaning.decide(found), model.predict(x))
    np.testing.assert_allclose(forest.meaning.probabilities(found), model.predict_proba(x), atol=1e-9)


def test_comparisons_are_those_of_scikit_learn_at_thresholds(data) -> None:
    """Rows just at, below and above every threshold, as 64-bit numbers."""
    x, two, _, _ = data
    for model in (tree.DecisionTreeClassifier(max_depth=6), ensemble.HistGradientBoostingClassifier(max_iter=3)):
        forest = read_forest(model.fit(x, two))
        edges = []
        for one in forest.trees:
            for feature, threshold in zip(one.feature, one.threshold, strict=True):
                if feature >= 0:
                    for moved in (threshold, np.nextafter(threshold, -9e9), np.nextafter(threshold, 9e9)):
                        row = x[0].copy()
                        row[feature] = moved
                        edges.append(row)
        rows = np.array(edges)
        found = forest.evaluate(rows)
        wanted = model.predict_proba(rows)[:, 1]
        link = forest.meaning.link == "sigmoid"
        np.testing.assert_allclose(forest.meaning.probabilities(found)[:, 1] if link else found[:, 0], wanted)


def test_what_is_not_read_is_refused_with_the_reason(data) -> None:
    x, two, _, target = data
    missing = x.copy()
    missing[::3, 0] = np.nan
    hist = ensemble.HistGradientBoostingClassifier
    for model, message in (
        (linear_model.LogisticRegression().fit(x, two), "LogisticRegression is not read as a forest"),
        (hist(categorical_features=[3], max_iter=3).fit(np.abs(x), two), "categor"),
        (tree.DecisionTreeRegressor().fit(missing, np.isnan(missing[:, 0])), "missing value"),
        (hist(max_iter=3).fit(missing, np.isnan(missing[:, 0])), "missing value"),
        (tree.DecisionTreeRegressor(max_depth=2).fit(x, np.stack([target, target], 1)), "several targets"),
        (
            ensemble.GradientBoostingRegressor(n_estimators=2, init=linear_model.LinearRegression()).fit(x, target),
            "starts from another model",
        ),
        (
            ensemble.HistGradientBoostingRegressor(max_iter=2, loss="poisson").fit(x, np.abs(target)),
            "exponential",
        ),
        (tree.DecisionTreeClassifier().fit(x, np.zeros(len(x))), "one class alone"),
    ):
        with pytest.raises(UsageError, match=message):
            read_forest(model)


def test_a_subclass_is_not_taken_for_its_parent(data) -> None:
    class Other(tree.DecisionTreeRegressor):
        pass

    with pytest.raises(UsageError, match="Other is not read"):
        read_forest(Other().fit(data[0], data[3]))
