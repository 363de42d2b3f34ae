"""scikit-learn estimators as predictors: what `predict` says counts, and gradients exist where they are exact."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from wardline.models.predictor import Differentiable, labels_of
from wardline.models.scikit_predictor import scikit_predictor


def blobs(classes: int, *, rows: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    y = np.arange(rows) % classes
    return (rng.normal(size=(rows, 4)) + rng.normal(size=(classes, 4))[y]).astype(np.float32), y


BLACK_BOXES = {
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "forest": RandomForestClassifier(7, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=5),
    "neighbours": KNeighborsClassifier(3),
    "nearest centroid": NearestCentroid(),
    "calibrated": CalibratedClassifierCV(SGDClassifier(random_state=0), cv=2),
}


@pytest.mark.parametrize("name", BLACK_BOXES)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_black_box_answers_what_predict_says_and_has_no_gradient(name: str, classes: int) -> None:
    x, y = blobs(classes)
    words = np.array(["ash", "birch", "cedar"])[y]
    estimator = BLACK_BOXES[name].fit(x, words)
    predictor = scikit_predictor(estimator)
    assert not isinstance(predictor, Differentiable)
    assert predictor.classes == classes
    labels = labels_of(predictor.answer(x), predictor.gives)
    assert (np.array(["ash", "birch", "cedar"])[labels] == estimator.predict(x)).all()


@pytest.mark.parametrize("estimator", [LogisticRegression(), SVC(), SVC(decision_function_shape="ovo")])
@pytest.mark.parametrize("classes", [2, 3])
def test_an_exact_twin_makes_an_estimator_differentiable(estimator, classes: int) -> None:
    x, y = blobs(classes)
    predictor = scikit_predictor(estimator.fit(x, y))
    assert isinstance(predictor, Differentiable)
    assert predictor.gives == "logits"
    assert predictor.answer(x).shape == (len(x), classes)


def test_a_threshold_of_its_own_decides_rather_than_the_largest_score() -> None:
    x, y = blobs(2)
    inner = LogisticRegression().fit(x, y)
    moved = FixedThresholdClassifier(inner, threshold=0.9, response_method="predict_proba").fit(x, y)
    predictor = scikit_predictor(moved)
    labels = labels_of(predictor.answer(x), predictor.gives)
    assert (labels == moved.predict(x)).all()
    assert predictor.disagreements(x) == int((moved.predict(x) != inner.predict(x)).sum()) > 0
    assert scikit_predictor(inner).disagreements(x) == 0


def test_fitting_the_estimator_anew_does_not_change_the_predictor_nor_asking_the_rows() -> None:
    x, y = blobs(2)
    estimator = LogisticRegression().fit(x, y)
    predictor = scikit_predictor(estimator)
    before, copy = predictor.answer(x), x.copy()
    estimator.fit(x, 1 - y)
    estimator.coef_[:] = 7
    assert (predictor.answer(x) == before).all()
    assert (x == copy).all()


def test_what_is_no_fitted_classifier_of_one_label_is_refused() -> None:
    x, y = blobs(2)
    with pytest.raises(ValueError, match="LinearRegression is no classifier"):
        scikit_predictor(LinearRegression().fit(x, y))
    with pytest.raises(ValueError, match="not fitted"):
        scikit_predictor(LogisticRegression())
    with pytest.raises(ValueError, match="at least two classes"):
        scikit_predictor(DecisionTreeClassifier().fit(x, np.stack([y, y], axis=1)))
    with pytest.raises(ValueError, match="features"):
        scikit_predictor(LogisticRegression().fit(x, y)).answer(x[:, :2])


class RejectingInLabels(ClassifierMixin, BaseEstimator):
    """Says -1 where it is not sure, and lists its classes in an order of its own."""

    def fit(self, x, y):
        self.inner_ = LogisticRegression().fit(x, y)
        self.classes_ = self.inner_.classes_[::-1]
        return self

    def predict(self, x):
        sure = self.inner_.predict_proba(x).max(axis=1) > 0.8
        return np.where(sure, self.inner_.predict(x), -1)


class Rejecting(RejectingInLabels):
    """The same, with probabilities."""

    def predict_proba(self, x):
        return self.inner_.predict_proba(x)[:, ::-1]


def test_a_row_that_is_rejected_has_no_answer_and_classes_may_stand_in_any_order() -> None:
    x, y = blobs(3)
    estimator = Rejecting().fit(x, y)
    said = estimator.predict(x)
    assert 0 < (said == -1).sum() < len(x), "the control: some rows are rejected, and some are not"
    predictor = scikit_predictor(estimator)
    labels = labels_of(predictor.answer(x), predictor.gives)
    assert (labels == np.where(said == -1, -1, 2 - said)).all()
    silent = scikit_predictor(RejectingInLabels().fit(x, y))
    assert silent.gives == "labels"
    assert (silent.answer(x) == labels).all()


@pytest.mark.parametrize("classes", [3, 4])
def test_a_machine_inside_of_a_search_shows_one_score_a_class_too(classes: int) -> None:
    """With three classes there are three pairs as well, so that nothing else would notice."""
    x, y = blobs(classes)
    plain = scikit_predictor(SVC().fit(x, y)).answer(x)
    inner = make_pipeline(MaxAbsScaler(), SVC(decision_function_shape="ovo"))
    for search in (
        GridSearchCV(SVC(decision_function_shape="ovo"), {"C": [1.0]}, cv=2).fit(x, y),
        make_pipeline("passthrough", GridSearchCV(SVC(decision_function_shape="ovo"), {"C": [1.0]}, cv=2)).fit(x, y),
    ):
        np.testing.assert_allclose(scikit_predictor(search).answer(x), plain, rtol=1e-5)
    scores = scikit_predictor(GridSearchCV(inner, {"svc__C": [1.0]}, cv=2).fit(x, y)).answer(x)
    assert scores.shape == (len(x), classes)


def test_several_labels_a_row_and_a_score_for_each_pair_are_told() -> None:
    x, y = blobs(2)
    several = MLPClassifier((3,), max_iter=3, random_state=0).fit(x, np.stack([y, 1 - y], axis=1))
    with pytest.raises(ValueError, match="several labels a row"):
        scikit_predictor(several).answer(x)
    x, y = blobs(4)
    pairs = CalibratedClassifierCV(SVC(), cv=2).fit(x, y)
    pairs.decision_function = lambda rows: np.zeros((len(rows), 6))
    with pytest.raises(ValueError, match=r"decision_function gives \(6,\) numbers a row, there are 4 classes"):
        scikit_predictor(pairs).answer(x)
