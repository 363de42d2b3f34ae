"""Programs of scikit-learn models give what the models give, and what cannot be compiled is named."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import compose, linear_model, neural_network, pipeline, preprocessing, svm
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from wardline.core import UsageError
from wardline.he.compiler.from_sklearn import read_sklearn
from wardline.he.compiler.merging import simplify

CLASSIFIERS = {
    "logistic": lambda: linear_model.LogisticRegression(),
    "logistic without intercept": lambda: linear_model.LogisticRegression(fit_intercept=False),
    "linear svm": lambda: svm.LinearSVC(),
    "sgd hinge": lambda: linear_model.SGDClassifier(random_state=0),
    "sgd log": lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "ridge classifier": lambda: linear_model.RidgeClassifier(),
    "discriminant": lambda: LinearDiscriminantAnalysis(),
}
REGRESSORS = {
    "ridge": lambda: linear_model.Ridge(),
    "least squares": lambda: linear_model.LinearRegression(),
    "sgd": lambda: linear_model.SGDRegressor(random_state=0),
}
ACTIVATIONS = ("relu", "tanh", "logistic", "identity")
SCALERS = {
    "none": lambda: None,
    "standard": lambda: preprocessing.StandardScaler(),
    "standard without mean": lambda: preprocessing.StandardScaler(with_mean=False),
    "standard without scale": lambda: preprocessing.StandardScaler(with_std=False),
    "min-max": lambda: preprocessing.MinMaxScaler((-1, 2)),
    "max-abs": lambda: preprocessing.MaxAbsScaler(),
    "robust": lambda: preprocessing.RobustScaler(),
    "whitened": lambda: PCA(3, whiten=True),
    "columns": lambda: compose.ColumnTransformer(
        [("a", preprocessing.StandardScaler(), [3, 0]), ("b", "passthrough", slice(1, 2)), ("c", "drop", [4])],
        remainder=preprocessing.MaxAbsScaler(),
    ),
}


def blobs(seed: int, classes: int, *, rows: int = 60, features: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    return 3 * rng.normal(size=(rows, features)) + rng.normal(size=(classes, features))[y] + 2, y


def fitted(model, scaler: str, x: np.ndarray, y: np.ndarray):
    whole = pipeline.make_pipeline(SCALERS[scaler](), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations do here
        return whole.fit(x, y)


def far(seed: int, features: int = 5) -> np.ndarray:
    return np.random.default_rng(seed + 1).normal(0, 4, size=(50, features))


def logits_of(model, x: np.ndarray) -> np.ndarray:
    """A perceptron's outputs before its last function, up to a constant of the row."""
    rest = model[:-1].transform(x)
    inner = model[-1]
    for index, (weights, offset) in enumerate(zip(inner.coefs_, inner.intercepts_, strict=True)):
        rest = rest @ weights + offset
        if index + 1 < len(inner.coefs_):
            neural_network._base.ACTIVATIONS[inner.activation](rest)
    return rest


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(CLASSIFIERS)),
    scaler=st.sampled_from(sorted(SCALERS)),
    classes=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 1000),
)
def test_linear_classifiers(name: str, scaler: str, classes: int, seed: int) -> None:
    x, y = blobs(seed, classes)
    model = fitted(CLASSIFIERS[name](), scaler, x, y)
    program = read_sklearn(model)
    new = far(seed)
    for one in (program, simplify(program)):
        found = one.evaluate(new)
        np.testing.assert_allclose(
            found[:, 0] if classes == 2 else found, model.decision_function(new), rtol=1e-9, atol=1e-9
        )
        assert [int(one.meaning.classes[index]) for index in one.decide(new)] == list(model.predict(new))
        if one.meaning.link != "none":
            np.testing.assert_allclose(one.meaning.probabilities(found), model.predict_proba(new), atol=1e-9)
    assert len(simplify(program).layers) == 1, "a scaler costs nothing"


@settings(max_examples=15, deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(REGRESSORS)), scaler=st.sampled_from(sorted(SCALERS)), seed=st.integers(0, 1000))
def test_linear_regressors(name: str, scaler: str, seed: int) -> None:
    x, y = blobs(seed, 2)
    model = fitted(REGRESSORS[name](), scaler, x, x[:, 0] - y)
    new = far(seed)
    for program in (read_sklearn(model), simplify(read_sklearn(model))):
        np.testing.assert_allclose(program.evaluate(new)[:, 0], model.predict(new), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="decide"):
        program.decide(new)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    activation=st.sampled_from(ACTIVATIONS),
    scaler=st.sampled_from(sorted(SCALERS)),
    classes=st.sampled_from([2, 3]),
    hidden=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_perceptrons(activation: str, scaler: str, classes: int, hidden: list[int], seed: int) -> None:
    x, y = blobs(seed, classes)
    network = neural_network.MLPClassifier(tuple(hidden), activation=activation, max_iter=5, random_state=seed)
    model = fitted(network, scaler, x, y)
    new = far(seed)
    for program in (read_sklearn(model), simplify(read_sklearn(model))):
        found = program.evaluate(new)
        np.testing.assert_allclose(program.meaning.probabilities(found), model.predict_proba(new), atol=1e-9)
        np.testing.assert_allclose(found, logits_of(model, new), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_perceptron_that_predicts_numbers(activation: str) -> None:
    x, _ = blobs(0, 2)
    network = neural_network.MLPRegressor(hidden_layer_sizes=(6,), activation=activation, max_iter=5, random_state=0)
    model = fitted(network, "standard", x, x[:, :2])
    np.testing.assert_allclose(read_sklearn(model).evaluate(far(0)), model.predict(far(0)), rtol=1e-9, atol=1e-9)


def test_names_are_kept() -> None:
    polars = pytest.importorskip("polars")
    x, y = blobs(0, 2)
    table = polars.DataFrame(x, schema=list("abcde"))
    picked = compose.ColumnTransformer([("x", preprocessing.StandardScaler(), ["e", "b"])])
    model = pipeline.make_pipeline(picked, linear_model.LogisticRegression()).fit(table, y)
    program = read_sklearn(model)
    assert program.features == tuple("abcde")
    np.testing.assert_allclose(program.evaluate(x)[:, 0], model.decision_function(table), atol=1e-9)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (RandomForestClassifier(2), "RandomForestClassifier compares"),
        (DecisionTreeClassifier(), "DecisionTreeClassifier compares"),
        (svm.SVC(), "SVC is not compiled"),
        (pipeline.make_pipeline(preprocessing.Normalizer(), linear_model.LogisticRegression()), "Normalizer is not"),
        (pipeline.make_pipeline(preprocessing.MinMaxScaler(clip=True), linear_model.LogisticRegression()), "clips"),
        (
            pipeline.make_pipeline(
                compose.ColumnTransformer([("kind", preprocessing.OneHotEncoder(), [0])]),
                linear_model.LogisticRegression(),
            ),
            "OneHotEncoder",
        ),
    ],
)
def test_what_is_refused_is_named(model, named: str) -> None:
    x, y = blobs(0, 2)
    with pytest.raises(UsageError, match=named) as refused:
        read_sklearn(model.fit(np.round(x), y))
    assert refused.value.hint


def test_a_subclass_is_not_taken_for_its_parent() -> None:
    class Other(linear_model.LogisticRegression):
        pass

    x, y = blobs(0, 2)
    with pytest.raises(UsageError, match="Other"):
        read_sklearn(Other().fit(x, y))


def test_several_labels_a_row_are_refused() -> None:
    x, y = blobs(0, 2)
    labels = np.stack([y, 1 - y], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = neural_network.MLPClassifier((3,), max_iter=3).fit(x, labels)
    with pytest.raises(UsageError, match="several labels"):
        read_sklearn(model)


def test_an_unfitted_model_is_a_bad_argument() -> None:
    with pytest.raises(ValueError, match="not fitted"):
        read_sklearn(linear_model.LogisticRegression())
