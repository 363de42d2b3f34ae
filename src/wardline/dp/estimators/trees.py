"""Differentially private boosted trees: a classifier and a regressor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from wardline.core import Claim, SecureRandom
from wardline.core.checks import at_least
from wardline.dp.estimators._common import Account, PrivateEstimator, check_budget, encode_labels, fit_claim
from wardline.dp.estimators.binning import Grid, check_categorical, edges, make_bins
from wardline.dp.estimators.boosting import LEAVES, BoostingPlan, boost, noisy_histogram, plan_boosting
from wardline.dp.estimators.rows import check_bounds, unit_weights
from wardline.dp.estimators.targets import (
    QUANTUM,
    BinaryTarget,
    MultinomialTarget,
    RegressionTarget,
    Target,
    quantise_outputs,
    start_and_clip,
)

if TYPE_CHECKING:
    from wardline.dp.ledger import Ledger, Limit

_MOST_ROWS = 2**28  # sums of so many residuals are exact in doubles
_TARGET_CELLS = 128  # of the histogram that tells where a regression starts and where it clips

_METHOD_TEXT = (
    (
        "Arithmetic on whole numbers is exact, and so are the samplers of discrete Gaussian noise if the machine's "
        "logarithm errs by less than 64 units in the last place.",
    ),
    "Nori, Caruana, Bu, Shen and Kulkarni 2021 (DP-EBM); Balle and Wang 2018 and Dong, Roth and Su 2022 (Gaussian "
    "mechanisms and their composition); Canonne, Kamath and Steinke 2020 (discrete Gaussian noise)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The features of all rows on their grid, and how much each row counts.

    Attributes:
        grid: the public grid.
        cells: for each feature the cell of each row.
        weights: whole parts of `QUANTUM` for rows that share a unit, which add up to at most `QUANTUM`; None if every
            row counts fully.
    """

    grid: Grid
    cells: Sequence[Int64[np.ndarray, " rows"]]
    weights: Int64[np.ndarray, " rows"] | None


def _read(X: Float64[np.ndarray, "rows columns"], grid: Grid, groups: Any, random: SecureRandom) -> _Columns:
    if len(X) > _MOST_ROWS:
        raise ValueError(f"at most {_MOST_ROWS} rows can be added up exactly")
    weights = None
    if groups is not None:
        _, shared = unit_weights(groups, len(X), most=None, random=random)
        weights = QUANTUM // shared
    cells = [grid.read(feature, X[:, feature]) for feature in range(X.shape[1])]
    return _Columns(grid=grid, cells=cells, weights=weights)


class _Boosted(PrivateEstimator):
    """What the classifier and the regressor share."""

    epsilon: float
    delta: float
    bounds: Any
    categorical_features: Sequence[int | str] | None
    epochs: int
    learning_rate: float
    ledger: Ledger | None
    dataset: str | None
    limit: Limit | None

    def _check(self) -> Account:
        check_budget(self.epsilon, self.delta)
        at_least("epochs", self.epochs, 1)
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must be above 0 and at most 1, not {self.learning_rate}")
        return Account(ledger=self.ledger, dataset=self.dataset, limit=self.limit)

    def _make_grid(self, columns: int) -> Grid:
        lower, upper = check_bounds(self.bounds, columns)
        names = getattr(self, "feature_names_in_", None)
        categorical = check_categorical(self.categorical_features, names, lower=lower, upper=upper)
        return Grid(lower=lower, upper=upper, categorical=categorical)

    def _plan(self, grid: Grid, outputs: int) -> BoostingPlan:
        features = len(grid.lower)
        draws = sum(grid.cells(one) for one in range(features)) + features * self.epochs * outputs * LEAVES
        return plan_boosting(epsilon=self.epsilon, delta=self.delta, features=features, epochs=self.epochs, draws=draws)

    def _learn(
        self,
        columns: _Columns,
        target: Target,
        *,
        plan: BoostingPlan,
        start: Float64[np.ndarray, " outputs"],
        random: SecureRandom,
    ) -> None:
        """Count, boost, and keep what may be published."""
        grid = columns.grid
        bins = [
            make_bins(
                noisy_histogram(
                    cells,
                    columns.weights,
                    size=grid.cells(feature),
                    noise_multiplier=plan.counting_noise,
                    random=random,
                ),
                noise=plan.counting_noise,
                categorical=bool(grid.categorical[feature]),
            )
            for feature, cells in enumerate(columns.cells)
        ]
        self.scores_ = boost(
            [one.of_cell[cells] for one, cells in zip(bins, columns.cells, strict=True)],
            bins,
            target,
            plan=plan,
            weights=columns.weights,
            start=start,
            learning_rate=self.learning_rate,
            random=random,
        )
        self.start_, self._bins, self._grid = start, bins, grid
        self.bin_edges_ = [edges(grid, feature, one) for feature, one in enumerate(bins)]
        self.events_ = plan.events

    def _claim(self, name: str, plan: BoostingPlan, *, unit: str, public_classes: bool | None) -> Claim:
        return fit_claim(
            name=name,
            budget=(self.epsilon, self.delta),
            unit=unit,
            public_classes=public_classes,
            parameters={
                "features": plan.features,
                "epochs": plan.epochs,
                "counting_noise_multiplier": plan.counting_noise,
                "step_noise_multiplier": plan.step_noise,
                "accountant": "Gaussian, closed form",
            },
            method=_METHOD_TEXT,
        )

    def _outputs(self, X: Any) -> Float64[np.ndarray, "rows outputs"]:
        """The sum of all functions and the start, for every row."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        total = np.repeat(self.start_[None, :], len(X), axis=0)
        for feature, (one, scores) in enumerate(zip(self._bins, self.scores_, strict=True)):
            total += scores.T[one.of_cell[self._grid.read(feature, X[:, feature])]]
        return total


class DpBoostingClassifier(ClassifierMixin, _Boosted):  # type: ignore[misc]
    """Boosted trees for classes: a sum of one function of each feature, learned from noisy sums.

    Every setting is an argument of its own, more than eight of them, because scikit-learn clones and searches over
    arguments. There is no `random_state`: noise that can be drawn again can be taken off again.

    Args:
        epsilon: what one `fit` may cost, in [0.01, 256].
        delta: the probability with which epsilon may not hold, in (0, 1); well below 1 / rows.
        bounds: (lower, upper) of the features, each a number or one for each feature. Public: values beyond are
            clipped, and nothing is read from the data. For a categorical feature, its first and last code.
        categorical_features: places or names of features whose values are codes without an order, at most 256 each.
            One such feature costs far less than a column of zeros and ones for each category.
        classes: all classes that may occur; None takes those in y, which are then public.
        epochs: how often every feature gets a tree, at least 1.
        learning_rate: the part of a Newton step that is taken, in (0, 1].
        ledger: where every fit is charged before it computes anything; None charges nothing.
        dataset: the key under which it is charged, needed with a ledger; see `wardline.dp.dataset_key`.
        limit: what the data set may spend in all; None for no limit.

    Attributes:
        scores_: for each feature the scores of its bins, one row for each class, or a single one for two classes.
        bin_edges_: for each feature where its bins begin and the last one ends; the codes of a categorical one.
        start_: the logits that the scores are added to.
        classes_: the classes in order.
        claim_: what was promised (`wardline.core.Claim`).
        events_: what was charged.
        n_features_in_, feature_names_in_: as in scikit-learn.

    Guarantee:
        All that `fit` learns is (epsilon, delta)-differentially private for adding or removing one row, or one group
        with all its rows, under the assumptions in `claim_`. Whatever is added up is a whole number, and the noise on
        it is exact: no floating-point noise anywhere.

    References:
        Nori, Caruana, Bu, Shen and Kulkarni 2021; see the module `boosting` for what differs.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        bounds: Any = None,
        categorical_features: Sequence[int | str] | None = None,
        classes: Sequence[Any] | None = None,
        epochs: int = 50,
        learning_rate: float = 0.4,
        ledger: Ledger | None = None,
        dataset: str | None = None,
        limit: Limit | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.categorical_features = categorical_features
        self.classes = classes
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.ledger = ledger
        self.dataset = dataset
        self.limit = limit

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn, once, with fresh noise. Fitting again is another release and another charge.

        Args:
            X: rows by features, finite numbers.
            y: one class for each row.
            groups: the person of each row; None protects single rows. A person's rows share one weight of 1, however
                many they are.

        Returns:
            The estimator itself.

        Raises:
            ValueError: for data or settings out of range.
            BudgetError: if the data set would exceed its limit.
        """
        account = self._check()
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=1)
        classes, codes = encode_labels(y, self.classes)
        random = SecureRandom()
        columns = _read(X, self._make_grid(X.shape[1]), groups, random)
        plan = self._plan(columns.grid, 1 if len(classes) == 2 else len(classes))
        unit = "row" if groups is None else "person"
        release_id = account.charge(plan.events, unit=unit, description="boosted trees, classifier")

        counts = noisy_histogram(
            codes, columns.weights, size=len(classes), noise_multiplier=plan.counting_noise, random=random
        )
        logits = np.log(np.maximum(counts, 1.0 + plan.counting_noise))
        target: Target
        if len(classes) == 2:
            target, start = BinaryTarget(labels=codes), logits[1:] - logits[:1]
        else:
            target, start = MultinomialTarget(labels=codes, outputs=len(classes)), logits - logits.mean()
        self._learn(columns, target, plan=plan, start=start, random=random)
        self.classes_ = classes
        self.claim_ = self._claim("boosting_classifier", plan, unit=unit, public_classes=self.classes is not None)
        account.seal(release_id, (self.start_, *self.scores_, *self.bin_edges_))
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "rows ..."]:
        """The margin in favour of the second class, or the logits of all classes if there are more."""
        found = self._outputs(X)
        return found[:, 0] if len(self.classes_) == 2 else found

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "rows classes"]:
        """The probability of each class."""
        found = self.decision_function(X)
        if found.ndim == 1:
            return np.stack([expit(-found), expit(found)], axis=1)
        probs: Float64[np.ndarray, "rows classes"] = softmax(found, axis=1)
        return probs

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class."""
        found = self.decision_function(X)
        places = (found > 0).astype(np.intp) if found.ndim == 1 else found.argmax(axis=1)
        chosen: npt.NDArray[Any] = self.classes_[places]
        return chosen


class DpBoostingRegressor(RegressorMixin, _Boosted):  # type: ignore[misc]
    """Boosted trees for numbers: a sum of one function of each feature, learned from noisy sums.

    Every setting is an argument of its own, more than eight of them, because scikit-learn clones and searches over
    arguments. There is no `random_state`: noise that can be drawn again can be taken off again.

    Args:
        epsilon, delta, bounds, categorical_features, epochs, learning_rate, ledger, dataset, limit: as for
            `DpBoostingClassifier`.
        target_bounds: (lower, upper) of y. Public, like the bounds: values beyond are clipped. Residuals are
            clipped as well, at about twice the spread of y, which is learned privately.

    Attributes:
        scores_: for each feature the scores of its bins, in a single row; 1 is half the width of the target's bounds.
        bin_edges_, claim_, events_, n_features_in_, feature_names_in_: as for `DpBoostingClassifier`.
        start_: what the scores are added to, in the same units.

    Guarantee:
        As for `DpBoostingClassifier`.

    References:
        Nori, Caruana, Bu, Shen and Kulkarni 2021; see the module `boosting` for what differs.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        bounds: Any = None,
        target_bounds: Any = None,
        categorical_features: Sequence[int | str] | None = None,
        epochs: int = 50,
        learning_rate: float = 0.4,
        ledger: Ledger | None = None,
        dataset: str | None = None,
        limit: Limit | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.target_bounds = target_bounds
        self.categorical_features = categorical_features
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.ledger = ledger
        self.dataset = dataset
        self.limit = limit

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn, once, with fresh noise. Fitting again is another release and another charge.

        Args:
            X: rows by features, finite numbers.
            y: one number for each row.
            groups: the person of each row; None protects single rows. A person's rows share one weight of 1, however
                many they are.

        Returns:
            The estimator itself.

        Raises:
            ValueError: for data or settings out of range.
            BudgetError: if the data set would exceed its limit.
        """
        account = self._check()
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=1, y_numeric=True)
        low, high = self._target_range()
        random = SecureRandom()
        columns = _read(X, self._make_grid(X.shape[1]), groups, random)
        plan = self._plan(columns.grid, 1)
        unit = "row" if groups is None else "person"
        release_id = account.charge(plan.events, unit=unit, description="boosted trees, regressor")

        scaled = np.clip(2.0 * (np.clip(y, low, high) - low) / (high - low) - 1.0, -1.0, 1.0)
        counts = noisy_histogram(
            np.minimum(((scaled + 1.0) * (_TARGET_CELLS / 2)).astype(np.int64), _TARGET_CELLS - 1),
            columns.weights,
            size=_TARGET_CELLS,
            noise_multiplier=plan.counting_noise,
            random=random,
        )
        start, clip = start_and_clip(counts, noise=plan.counting_noise)
        target = RegressionTarget(values=quantise_outputs(scaled), unit=clip)
        self._learn(columns, target, plan=plan, start=start, random=random)
        self._range = low, high
        self.claim_ = self._claim("boosting_regressor", plan, unit=unit, public_classes=None)
        account.seal(release_id, (self.start_, *self.scores_, *self.bin_edges_))
        return self

    def predict(self, X: Any) -> Float64[np.ndarray, " rows"]:
        """The expected number, within the bounds of the target."""
        scaled = self._outputs(X)[:, 0]
        low, high = self._range
        found = low + (scaled + 1.0) / 2.0 * (high - low)
        predicted: Float64[np.ndarray, " rows"] = np.clip(found, low, high)
        return predicted

    def _target_range(self) -> tuple[float, float]:
        if self.target_bounds is None:
            raise ValueError(
                "target_bounds must be given as (lower, upper): they are public, so they must not be read from y"
            )
        low, high = check_bounds(self.target_bounds, 1)
        return float(low[0]), float(high[0])
