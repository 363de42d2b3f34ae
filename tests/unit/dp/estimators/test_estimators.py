"""The three estimators as a user meets them: what they learn, what they refuse, what they charge and claim."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from wardline.core import BudgetError, Claim, Seeds, canonical_json
from wardline.dp import Ledger, Limit, dataset_key
from wardline.dp.accounting import compose
from wardline.dp.estimators import DpBoostingClassifier, DpBoostingRegressor, DpLogisticRegression

BUDGET = {"epsilon": 4.0, "delta": 1e-6}
MAKERS = {
    "objective": lambda **kw: DpLogisticRegression(**BUDGET | {"bounds": (-4, 4)} | kw),
    "output": lambda **kw: DpLogisticRegression(**BUDGET | {"bounds": (-4, 4), "method": "output"} | kw),
    "classifier": lambda **kw: DpBoostingClassifier(**BUDGET | {"bounds": (-4, 4)} | kw),
    "regressor": lambda **kw: DpBoostingRegressor(**BUDGET | {"bounds": (-4, 4), "target_bounds": (-1, 3)} | kw),
}
CLASSIFIERS = ["objective", "output", "classifier"]


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


@pytest.fixture(params=CLASSIFIERS)
def make_classifier(request):
    return MAKERS[request.param]


def test_three_classes_are_told_apart(make_classifier, blobs):
    x, y = blobs
    labels = np.array(["low", "left", "right"])[y]
    model = make_classifier(epsilon=8.0).fit(x, labels)
    assert model.classes_.tolist() == ["left", "low", "right"]
    assert model.score(x, labels) > 0.9
    probs = model.predict_proba(x)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0)
    assert (model.classes_[probs.argmax(axis=1)] == model.predict(x)).all()
    assert model.decision_function(x).shape == (900, 3)


def test_two_classes_are_told_apart(make_classifier, blobs):
    x, y = blobs
    model = make_classifier().fit(x, y == 0)
    assert model.score(x, y == 0) > 0.9
    assert model.decision_function(x).shape == (900,)
    assert ((model.decision_function(x) > 0) == model.predict(x)).all()
    np.testing.assert_allclose(model.predict_proba(x)[:, 1], 1 / (1 + np.exp(-model.decision_function(x))))


def test_a_regression_finds_the_curve_and_stays_within_its_bounds():
    rng = Seeds(12).numpy("curve")
    x = rng.uniform(-4, 4, (4000, 2))
    y = np.sin(x[:, 0]) + 0.1 * rng.normal(size=4000) + 1.0
    model = MAKERS["regressor"]().fit(x, y)
    assert model.score(x, y) > 0.85
    assert (np.abs(model.predict(x * 100) - 1) <= 2).all()
    wild = MAKERS["regressor"](target_bounds=(-1, 1.2)).fit(x, y)
    assert wild.predict(x).max() <= 1.2


def test_categories_need_no_order():
    rng = Seeds(13).numpy("categories")
    x = np.stack([rng.integers(2, 22, 6000), rng.uniform(0, 1, 6000)], axis=1)
    y = (x[:, 0] % 3 == 0).astype(int)
    lower, upper = [2, 0], [21, 1]
    by_place = DpBoostingClassifier(**BUDGET, bounds=(lower, upper), categorical_features=[0]).fit(x, y)
    assert by_place.score(x, y) > 0.95
    assert by_place.bin_edges_[0].tolist() == list(range(2, 22))
    with pytest.raises(ValueError, match="categorical feature 0 has a code that is not one of 2 to 21"):
        by_place.predict([[22, 0.5]])
    with pytest.raises(ValueError, match="categorical feature 0"):
        by_place.predict([[2.5, 0.5]])


def test_scores_and_edges_say_what_the_model_does(blobs):
    x, y = blobs
    model = MAKERS["classifier"]().fit(x, y == 0)
    total = np.full(len(x), model.start_[0])
    for feature, (ends, scores) in enumerate(zip(model.bin_edges_, model.scores_, strict=True)):
        place = np.clip(np.searchsorted(ends, x[:, feature], side="right") - 1, 0, len(ends) - 2)
        total += scores[0][place]
    np.testing.assert_allclose(total, model.decision_function(x))


def test_values_beyond_the_bounds_are_clipped(make_classifier, blobs):
    x, y = blobs
    model = make_classifier().fit(x, y == 0)
    np.testing.assert_array_equal(model.predict_proba([[4.0, -4.0]]), model.predict_proba([[400.0, -1e300]]))


def test_two_fits_differ_since_their_noise_does(make, blobs):
    x, y = blobs
    model = make()
    how = "decision_function" if hasattr(model, "decision_function") else "predict"
    first, second = (getattr(model.fit(x, y), how)(x) for _ in range(2))
    assert (first != second).any()
    assert "random_state" not in model.get_params()


def test_the_claim_says_what_was_spent(make, blobs):
    x, y = blobs
    model = make().fit(x, y)
    claim = model.claim_
    assert isinstance(claim, Claim)
    assert (claim.quantity, claim.value, claim.direction) == ("epsilon", 4.0, "at_most")
    assert claim.parameters["delta"] == 1e-6
    assert claim.parameters["unit"] == "row"
    assert compose(model.events_, delta=1e-6) <= 4.0
    assert compose(model.events_, delta=1e-6) > 3.9
    assert Claim.from_json(json.loads(canonical_json(claim))) == claim
    told = " ".join(claim.assumptions)
    assert ("classes that occur in y are public" in told) == hasattr(model, "classes_")
    if hasattr(model, "classes_"):
        named = make(classes=[0, 1, 2]).fit(x, y).claim_
        assert "classes that occur in y are public" not in " ".join(named.assumptions)


def test_named_classes_may_be_absent(make_classifier, blobs):
    x, _ = blobs
    model = make_classifier(classes=["no", "yes"]).fit(x, np.full(len(x), "no"))
    assert model.classes_.tolist() == ["no", "yes"]
    assert (model.predict(x) == "no").mean() > 0.9


def test_every_fit_is_charged(make, blobs, tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    key = dataset_key(source_sha256="ab" * 32, unit="row")
    model = make(ledger=ledger, dataset=key).fit(*blobs)
    assert ledger.spent(key, delta=1e-6).epsilon == pytest.approx(4.0, rel=1e-3)
    assert [entry.kind for entry in ledger.entries(key)] == ["charge", "seal"]
    model.fit(*blobs)
    assert [entry.kind for entry in ledger.entries(key)] == ["charge", "seal"] * 2
    assert 5.0 < ledger.spent(key, delta=2e-6).epsilon <= 8.0
    ledger.verify()


def test_a_limit_of_just_one_fit_allows_one_fit(make, blobs, tmp_path):
    x, y = blobs
    ledger = Ledger(tmp_path / "ledger.sqlite")
    key = dataset_key(source_sha256="cd" * 32, unit="row")
    model = make(ledger=ledger, dataset=key, limit=Limit(epsilon=4.0, delta=1e-6)).fit(x, y)
    with pytest.raises(BudgetError):
        model.fit(x, y)


def test_clones_charge_the_same_ledger(blobs, tmp_path):
    x, y = blobs
    ledger = Ledger(tmp_path / "ledger.sqlite")
    key = dataset_key(source_sha256="ef" * 32, unit="row")
    model = MAKERS["objective"](ledger=ledger, dataset=key)
    pipeline = make_pipeline(FunctionTransformer(np.tanh), clone(model))
    scores = cross_val_score(pipeline, x, y, cv=3)
    assert scores.min() > 0.5
    assert ledger.spent(key, delta=1e-3).releases == 3


def test_a_failing_charge_leaves_the_estimator_as_it_was(make, blobs, tmp_path):
    x, y = blobs
    ledger = Ledger(tmp_path / "ledger.sqlite")
    key = dataset_key(source_sha256="01" * 32, unit="row")
    model = make(ledger=ledger, dataset=key, limit=Limit(epsilon=0.1, delta=1e-5))
    with pytest.raises(BudgetError):
        model.fit(x, y)
    assert not hasattr(model, "claim_")
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "scores_")


def test_persons_are_protected_with_all_of_their_rows(make, blobs):
    x, y = blobs
    groups = np.arange(900) // 4
    model = make(epsilon=20.0).fit(x, y, groups=groups)
    assert model.claim_.parameters["unit"] == "person"
    assert "person with all of their rows" in model.claim_.assumptions[0]
    assert model.score(x, y) > 0.55
    with pytest.raises(ValueError, match="groups must have 900 entries"):
        model.fit(x, y, groups=groups[1:])


def test_a_person_counts_no_more_than_another_however_many_rows_they_have():
    """One person has 900 rows of class 1, a hundred others a row of class 0 each; noise moves this by 0.3 or so."""
    labels, groups = np.r_[np.ones(900, dtype=int), np.zeros(100, dtype=int)], np.r_[np.zeros(900), np.arange(1, 101)]
    for kind in ("objective", "classifier"):
        model = MAKERS[kind](epsilon=50.0, classes=[0, 1])
        assert model.fit(np.ones((1000, 2)), labels, groups=groups).decision_function([[1.0, 1.0]])[0] < -0.5
        assert model.fit(np.ones((1000, 2)), labels).decision_function([[1.0, 1.0]])[0] > 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0}, "epsilon must be a finite number above 0"),
        ({"epsilon": -1.0}, "epsilon must be a finite number above 0"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"epsilon": 1e-4}, "epsilon must lie between"),
        ({"epsilon": 1000.0}, "epsilon must lie between"),
        ({"delta": 0.0}, "delta must lie strictly between 0 and 1"),
        ({"delta": 1.0}, "delta must lie strictly between 0 and 1"),
        ({"delta": 1e-40}, "delta must be at least"),
        ({"bounds": None}, "bounds must be given"),
        ({"bounds": (4, -4)}, "lower bound of feature 0 is not below"),
        ({"bounds": ([0, 0, 0], [1, 1, 1])}, "2 numbers, one for each feature"),
        ({"bounds": (0, float("inf"))}, "bounds must be finite"),
        ({"dataset": "x"}, "mean nothing without ledger"),
        ({"limit": Limit(epsilon=1, delta=1e-5)}, "mean nothing without ledger"),
    ],
)
def test_bad_settings_are_refused(make, blobs, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings).fit(*blobs)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("objective", {"clip_norm": 0.0}, "clip_norm"),
        ("objective", {"regularization": -1.0}, "regularization"),
        ("objective", {"regularization": 1e-9}, "regularization must be at least"),
        ("objective", {"method": "hope"}, "method must be objective or output"),
        ("objective", {"max_rows_per_group": 0}, "max_rows_per_group"),
        ("classifier", {"epochs": 0}, "epochs"),
        ("classifier", {"learning_rate": 0.0}, "learning_rate"),
        ("classifier", {"learning_rate": 1.5}, "learning_rate"),
        ("classifier", {"categorical_features": [2]}, "no feature"),
        ("classifier", {"categorical_features": ["age"]}, "no feature"),
        ("classifier", {"categorical_features": [0], "bounds": (0, 0.5)}, "whole numbers"),
        ("classifier", {"categorical_features": [0], "bounds": (0, 256)}, "at most 256 codes"),
        ("classifier", {"categorical_features": [0]}, "categorical feature 0 has a code"),
        ("classifier", {"epochs": 10**6}, "numbers of noise"),
        ("regressor", {"target_bounds": None}, "target_bounds must be given"),
        ("regressor", {"target_bounds": (1, 1)}, "not below"),
    ],
)
def test_bad_settings_of_one_kind_are_refused(kind, settings, message, blobs):
    with pytest.raises(ValueError, match=message):
        MAKERS[kind](**settings).fit(*blobs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers_are_refused(make, blobs, value):
    x, y = blobs
    bad = x.copy()
    bad[5, 1] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        make().fit(bad, y)
    model = make().fit(x, y)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        model.predict(bad)


def test_data_that_does_not_fit_is_refused(make, blobs):
    x, y = blobs
    with pytest.raises(ValueError, match="0 sample"):
        make().fit(x[:0], y[:0])
    with pytest.raises(ValueError, match="inconsistent"):
        make().fit(x, y[1:])
    with pytest.raises(ValueError, match="expecting 2 features"):
        make().fit(x, y).predict(x[:, :1])
    with pytest.raises(ValueError, match="NaN"):
        make().fit(x, np.where(y == 0, np.nan, y))


def test_labels_that_are_no_classes_are_refused(make_classifier, blobs):
    x, y = blobs
    with pytest.raises(ValueError, match="only one class"):
        make_classifier().fit(x, np.zeros(900))
    with pytest.raises(ValueError, match="not among classes"):
        make_classifier(classes=[0, 1]).fit(x, y)
    with pytest.raises(ValueError, match="at least two labels"):
        make_classifier(classes=[0, 0]).fit(x, y)
    with pytest.raises(ValueError, match="continuous"):
        make_classifier().fit(x, x[:, 0])


def test_a_ledger_needs_the_name_of_a_data_set(make, blobs, tmp_path):
    with pytest.raises(ValueError, match="dataset must name"):
        make(ledger=Ledger(tmp_path / "ledger.sqlite")).fit(*blobs)


def test_released_coefficients_lie_on_a_grid(blobs):
    """A power of two divides them all: no bit of them comes from floating-point noise."""
    for kind in ("objective", "output"):
        model = MAKERS[kind]().fit(*blobs)
        numbers = np.r_[model.coef_.ravel(), model.intercept_]
        grid = 2.0**-40
        assert (numbers / grid == np.rint(numbers / grid)).all()
