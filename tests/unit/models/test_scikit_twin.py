"""Twins compute what their estimators compute: the same labels, scores to 32-bit rounding, gradients that are right."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn import linear_model, pipeline, preprocessing
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC, NuSVC

from wardline.models.scikit_twin import scikit_twin


def blobs(seed: int, classes: int, *, rows: int = 60, features: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    x = rng.normal(size=(rows, features)) + 1.5 * rng.normal(size=(classes, features))[y]
    return x.astype(np.float32), y


def noise(seed: int, *, rows: int = 200, features: int = 5) -> np.ndarray:
    """Inputs far from the data too, where scores are large and classes close."""
    return np.random.default_rng(seed + 1).normal(0, 4, size=(rows, features)).astype(np.float32)


def mlp(**options) -> MLPClassifier:
    return MLPClassifier((6, 4), max_iter=15, random_state=0, **options)


ESTIMATORS = {
    "logistic": lambda: linear_model.LogisticRegression(),
    "logistic without intercept": lambda: linear_model.LogisticRegression(fit_intercept=False),
    "linear svm": lambda: LinearSVC(),
    "sgd": lambda: linear_model.SGDClassifier(random_state=0),
    "sgd, log loss": lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "ridge": lambda: linear_model.RidgeClassifier(),
    "perceptron": lambda: linear_model.Perceptron(random_state=0),
    "discriminant": lambda: LinearDiscriminantAnalysis(),
    "svc rbf": lambda: SVC(),
    "svc rbf auto": lambda: SVC(gamma="auto", C=5.0),
    "svc poly": lambda: SVC(kernel="poly", degree=3, coef0=0.7),
    "svc linear": lambda: SVC(kernel="linear"),
    "svc sigmoid": lambda: SVC(kernel="sigmoid", gamma=0.05, coef0=0.2),
    "svc ovo": lambda: SVC(decision_function_shape="ovo"),
    "svc breaking ties": lambda: SVC(break_ties=True),
    "nu svc": lambda: NuSVC(nu=0.2),
    "mlp relu": lambda: mlp(),
    "mlp tanh": lambda: mlp(activation="tanh"),
    "mlp logistic": lambda: mlp(activation="logistic"),
    "mlp identity": lambda: mlp(activation="identity"),
    "standardised": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
    "scaled without mean": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(with_mean=False), mlp()),
    "centred only": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(with_std=False), SVC()),
    "robust": lambda: pipeline.make_pipeline(preprocessing.RobustScaler(), LinearSVC()),
    "min-max": lambda: pipeline.make_pipeline(preprocessing.MinMaxScaler((-1, 2)), mlp()),
    "min-max clipped": lambda: pipeline.make_pipeline(preprocessing.MinMaxScaler(clip=True), SVC()),
    "max-abs": lambda: pipeline.make_pipeline(preprocessing.MaxAbsScaler(), linear_model.LogisticRegression()),
    "normalised": lambda: pipeline.make_pipeline(preprocessing.Normalizer(), linear_model.LogisticRegression()),
    "normalised by l1": lambda: pipeline.make_pipeline(preprocessing.Normalizer("l1"), LinearSVC()),
    "whitened": lambda: pipeline.make_pipeline(PCA(3, whiten=True), "passthrough", SVC()),
    "svd": lambda: pipeline.make_pipeline(TruncatedSVD(3), LinearSVC()),
    "selected": lambda: pipeline.make_pipeline(VarianceThreshold(), SelectKBest(k=3), LinearSVC()),
    "nested": lambda: pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        pipeline.make_pipeline(preprocessing.MaxAbsScaler(), linear_model.LogisticRegression()),
    ),
    "searched": lambda: GridSearchCV(linear_model.LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
}


def fitted(name: str, seed: int, classes: int):
    x, y = blobs(seed, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ESTIMATORS[name]().fit(x, y)


def scores(estimator, x: np.ndarray) -> np.ndarray:
    """Reference scores, up to a constant of each row."""
    if hasattr(estimator, "decision_function"):
        found = estimator.decision_function(x.astype(np.float64))
        return found if found.ndim == 2 else np.stack([np.zeros(len(found)), found], axis=1)
    with np.errstate(divide="ignore"):
        return np.log(estimator.predict_proba(x.astype(np.float64)))


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(
    max_examples=2,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
def test_a_twin_gives_the_labels_and_scores_of_its_estimator(name: str, seed: int, classes: int) -> None:
    estimator = fitted(name, seed, classes)
    twin = scikit_twin(estimator)
    assert twin is not None
    assert not twin.training
    x = np.concatenate([blobs(seed, classes)[0], noise(seed)])
    found = twin(torch.from_numpy(x)).numpy()
    assert found.dtype == np.float32
    # A margin below rounding is a tie in 32 bits; everything else must agree.
    top = np.sort(found, axis=1)
    clear = top[:, -1] - top[:, -2] > 4e-7 * (1 + np.abs(top[:, -1]))
    assert clear.mean() > 0.9
    labels = estimator.predict(x.astype(np.float64))
    assert (found.argmax(axis=1) == labels)[clear].all()
    wanted = scores(estimator, x)
    if wanted.shape == found.shape and "ovo" not in name:
        agreed = wanted.argmax(axis=1) == labels  # votes that tie are raised above the decision function
        assert agreed.mean() > 0.9
        # Probabilities that underflow to 0 or round to 1 have lost what their logits still tell.
        agreed &= np.isfinite(wanted).all(axis=1)
        if not hasattr(estimator, "decision_function"):
            # Of a probability near 1 the logarithm has lost digits already.
            agreed &= wanted.max(axis=1) < -1e-6
            wanted = wanted - wanted.max(axis=1, keepdims=True)
            found = found - found.max(axis=1, keepdims=True)
        assert agreed.any()
        np.testing.assert_allclose(found[agreed], wanted[agreed], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["logistic", "svc rbf", "svc poly", "mlp tanh", "whitened", "min-max clipped"])
def test_gradients_are_those_of_the_estimators_own_scores(name: str) -> None:
    estimator = fitted(name, 3, 2)
    twin = scikit_twin(estimator)
    x = blobs(3, 2)[0][:8] * np.float32(0.9)  # away from the bounds that clip, where a gradient jumps
    rows = torch.from_numpy(x).requires_grad_(True)
    out = twin(rows)
    (gradient,) = torch.autograd.grad((out[:, 1] - out[:, 0]).sum(), rows)
    step = 1e-5
    for column in range(x.shape[1]):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[:, column] += step
        down[:, column] -= step

        def margin(at: np.ndarray) -> np.ndarray:
            if hasattr(estimator, "decision_function"):
                return estimator.decision_function(at)
            prob = estimator.predict_proba(at)
            return np.log(prob[:, 1]) - np.log(prob[:, 0])

        wanted = (margin(up) - margin(down)) / (2 * step)
        np.testing.assert_allclose(gradient[:, column], wanted, rtol=1e-3, atol=1e-4)


def test_votes_that_tie_go_to_the_class_that_predict_names() -> None:
    tied = 0
    for seed in range(12):
        x, y = blobs(seed, 4, rows=24)
        estimator = SVC(C=0.3).fit(x, y)
        far = noise(seed, rows=600)
        labels = estimator.predict(far.astype(np.float64))
        tied += int((estimator.decision_function(far.astype(np.float64)).argmax(axis=1) != labels).sum())
        assert (scikit_twin(estimator)(torch.from_numpy(far)).argmax(dim=1).numpy() == labels).all()
    assert tied > 0, "the control: there are rows whose largest score is not what predict says"


def test_images_are_flattened_as_their_rows_were() -> None:
    x, y = blobs(0, 2, features=12)
    estimator = linear_model.LogisticRegression().fit(x, y)
    twin = scikit_twin(estimator)
    assert torch.equal(twin(torch.from_numpy(x.reshape(-1, 1, 3, 4))), twin(torch.from_numpy(x)))


class Reversed(linear_model.LogisticRegression):
    def predict(self, X):
        return 1 - super().predict(X)


def test_what_has_no_exact_twin_gets_none() -> None:
    x, y = blobs(0, 2)
    several = np.stack([y, 1 - y], axis=1)
    for estimator in (
        RandomForestClassifier(3, random_state=0).fit(x, y),
        KNeighborsClassifier().fit(x, y),
        Reversed().fit(x, y),
        SVC(kernel=lambda a, b: a @ b.T).fit(x, y),
        pipeline.make_pipeline(preprocessing.QuantileTransformer(n_quantiles=20), SVC()).fit(x, y),
    ):
        assert scikit_twin(estimator) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scikit_twin(mlp().fit(x, several)) is None


class Frame:
    """A table as a library of data frames has it: rows are not reached by their number."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.values

    def __getitem__(self, key):
        raise KeyError(key)


def test_a_projection_that_was_told_to_give_data_frames_has_a_twin() -> None:
    x, y = blobs(0, 3)
    estimator = pipeline.make_pipeline(preprocessing.StandardScaler(), PCA(3), linear_model.LogisticRegression())
    rows = noise(0)
    expected = estimator.fit(x, y).decision_function(rows.astype(np.float64))
    transform = estimator[1].transform
    estimator[1].transform = lambda part: Frame(transform(part))  # what set_output(transform="pandas") comes to
    np.testing.assert_allclose(scikit_twin(estimator)(torch.from_numpy(rows)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("size", [0.0, 1e-18, 1e-15, 1e-14, 1.0])
def test_a_row_that_is_as_good_as_zero_is_left_by_the_twin_as_by_the_normaliser(norm: str, size: float) -> None:
    x, y = blobs(0, 3)
    estimator = pipeline.make_pipeline(preprocessing.Normalizer(norm), linear_model.LogisticRegression()).fit(x, y)
    row = np.array([[size, 0, 0, -size, 0]], dtype=np.float32)
    expected = estimator.decision_function(row.astype(np.float64))
    np.testing.assert_allclose(scikit_twin(estimator)(torch.from_numpy(row)).numpy(), expected, rtol=1e-5, atol=1e-6)
