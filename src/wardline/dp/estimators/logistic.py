"""Differentially private logistic regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from wardline.core import SecureRandom
from wardline.core.checks import at_least, positive
from wardline.dp.accounting import ApproximateDp, DpEvent, PoissonGaussian
from wardline.dp.estimators._common import Account, PrivateEstimator, check_budget, encode_labels, fit_claim
from wardline.dp.estimators.gaussian import DELTA_MARGIN
from wardline.dp.estimators.losses import LogisticLoss, Loss, MultinomialLoss
from wardline.dp.estimators.minimise import minimise
from wardline.dp.estimators.objective import NOISE_GRID, ObjectivePlan, Problem, plan_objective
from wardline.dp.estimators.output import OutputPlan, plan_output
from wardline.dp.estimators.rows import RowScaler, check_bounds, unit_weights
from wardline.dp.mechanisms import discrete_gaussian, discrete_laplace

if TYPE_CHECKING:
    from wardline.dp.ledger import Ledger, Limit

Method = Literal["objective", "output"]
Plan = ObjectivePlan | OutputPlan


class DpLogisticRegression(ClassifierMixin, PrivateEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Logistic regression, multinomial for more than two classes, that protects every row or person it learns from.

    Every setting is an argument of its own, more than eight of them, because scikit-learn clones and searches over
    arguments. There is no `random_state`: noise that can be drawn again can be taken off again.

    Args:
        epsilon: what one `fit` may cost, in [0.01, 256].
        delta: the probability with which epsilon may not hold, in (0, 1); well below 1 / rows.
        bounds: (lower, upper) of the features, each a number or one for each feature. Public: values beyond are
            clipped, and nothing is read from the data. Indicators have the bounds 0 and 1.
        clip_norm: the largest norm of a row's scaled features; longer rows are shortened. Above 0.
        regularization: Lambda, the weight of the squared coefficients beside the *sum* of the losses (1 / C in
            scikit-learn's terms, for scaled features); None derives it from epsilon.
        method: ``objective`` perturbs what is minimised, ``output`` the minimiser; see the module `objective` for the
            proof and the how-to for a comparison. The first is nearly always the more accurate.
        classes: all classes that may occur; None takes those in y, which are then public.
        max_rows_per_group: with ``objective`` and groups, the most rows of a person that are used, at least 1.
        ledger: where every fit is charged before it computes anything; None charges nothing.
        dataset: the key under which it is charged, needed with a ledger; see `wardline.dp.dataset_key`.
        limit: what the data set may spend in all; None for no limit.

    Attributes:
        coef_: one row of coefficients for each class, or a single one for two classes; they belong to the scaled
            features.
        intercept_: likewise.
        classes_: the classes in order.
        claim_: what was promised (`wardline.core.Claim`).
        events_: what was charged.
        n_features_in_, feature_names_in_: as in scikit-learn.

    Guarantee:
        All that `fit` learns is (epsilon, delta)-differentially private for adding or removing one row, or one group
        with all its rows, under the assumptions in `claim_`. It holds for the minimiser that is computed, whose
        distance from the exact one is certified and covered by noise, and no bit of the released numbers comes from
        floating-point noise: they are whole numbers with exact discrete noise, times a power of two.

    References:
        Chaudhuri, Monteleoni and Sarwate 2011; Kifer, Smith and Thakurta 2012; Iyengar et al. 2019, section 3 (method
        ``objective``); Wu, Li, Kumar, Chaudhuri, Jha and Naughton 2017 (method ``output``).
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        bounds: Any = None,
        clip_norm: float = 2.0,
        regularization: float | None = None,
        method: Method = "objective",
        classes: Sequence[Any] | None = None,
        max_rows_per_group: int = 8,
        ledger: Ledger | None = None,
        dataset: str | None = None,
        limit: Limit | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.clip_norm = clip_norm
        self.regularization = regularization
        self.method = method
        self.classes = classes
        self.max_rows_per_group = max_rows_per_group
        self.ledger = ledger
        self.dataset = dataset
        self.limit = limit

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn, once, with fresh noise. Fitting again is another release and another charge.

        Args:
            X: rows by features, finite numbers.
            y: one class for each row.
            groups: the person of each row; None protects single rows. A person's rows share one weight of 1.

        Returns:
            The estimator itself.

        Raises:
            ValueError: for data or settings out of range.
            BudgetError: if the data set would exceed its limit.
        """
        account = self._check()
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=1)
        lower, upper = check_bounds(self.bounds, X.shape[1])
        classes, codes = encode_labels(y, self.classes)
        scaler = RowScaler(lower=lower, upper=upper, clip_norm=self.clip_norm)
        most = self.max_rows_per_group if self.method == "objective" else None
        random = SecureRandom()
        kept, shared = unit_weights(groups, len(X), most=most, random=random)
        problem = Problem(
            row_norm=scaler.row_norm,
            classes=len(classes),
            columns=X.shape[1] + 1,
            rows_per_unit=1 if groups is None or most is None else most,
        )
        plan = self._plan(problem)
        events = _events(plan, epsilon=self.epsilon, delta=self.delta)
        unit = "row" if groups is None else "person"
        release_id = account.charge(events, unit=unit, description=f"logistic regression, {self.method} perturbation")

        loss = _loss(scaler.transform(X[kept]), codes[kept], 1.0 / shared, problem)
        theta = _release(loss, problem, plan, random)
        learned = theta.reshape(-1, problem.columns)
        self.coef_ = learned[:, :-1].copy()
        self.intercept_ = learned[:, -1].copy()
        self.classes_, self._scaler = classes, scaler
        self.events_ = events
        self.claim_ = fit_claim(
            name="logistic_regression",
            budget=(self.epsilon, self.delta),
            unit=unit,
            public_classes=self.classes is not None,
            parameters=_parameters(problem, plan, self.method),
            method=_METHOD_TEXT[self.method],
        )
        account.seal(release_id, (self.coef_, self.intercept_))
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "rows ..."]:
        """The margin in favour of the second class, or the logits of all classes if there are more."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        scaled = self._scaler.transform(X)
        found: Float64[np.ndarray, "rows ..."] = scaled[:, :-1] @ self.coef_.T + self.intercept_
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

    def _check(self) -> Account:
        check_budget(self.epsilon, self.delta)
        positive("clip_norm", self.clip_norm)
        if self.regularization is not None:
            positive("regularization", self.regularization)
        if self.method not in get_args(Method):
            raise ValueError(f"method must be objective or output, not {self.method!r}")
        at_least("max_rows_per_group", self.max_rows_per_group, 1)
        return Account(ledger=self.ledger, dataset=self.dataset, limit=self.limit)

    def _plan(self, problem: Problem) -> Plan:
        make = plan_objective if self.method == "objective" else plan_output
        return make(problem, epsilon=self.epsilon, delta=self.delta, regularization=self.regularization)


def _events(plan: Plan, *, epsilon: float, delta: float) -> tuple[DpEvent, ...]:
    if isinstance(plan, ObjectivePlan):
        # A limit with this very epsilon and delta is met: an accountant that rounds upwards has something left.
        return (ApproximateDp(epsilon=epsilon, delta=delta * (1 - DELTA_MARGIN)),)
    return (PoissonGaussian(sample_rate=1.0, noise_multiplier=plan.noise_multiplier, steps=1),)


def _loss(
    rows: Float64[np.ndarray, "rows columns"],
    codes: Int64[np.ndarray, " rows"],
    weights: Float64[np.ndarray, " rows"],
    problem: Problem,
) -> Loss:
    if problem.classes == 2:
        return LogisticLoss(rows=rows, signs=2.0 * codes - 1.0, weights=weights, row_norm=problem.row_norm)
    return MultinomialLoss(rows=rows, labels=codes, weights=weights, row_norm=problem.row_norm, classes=problem.classes)


def _release(loss: Loss, problem: Problem, plan: Plan, random: SecureRandom) -> Float64[np.ndarray, " size"]:
    """The one place where the data meets noise; its result is private."""
    size = problem.parameters
    if isinstance(plan, ObjectivePlan):
        # A power of two: multiplying whole numbers with it is exact.
        step = 2.0 ** math.floor(math.log2(plan.sigma * NOISE_GRID))
        linear = step * discrete_gaussian(size, sigma=plan.sigma / step, random=random).astype(np.float64)
    else:
        linear = np.zeros(size)
    theta = minimise(loss, regularization=plan.regularization, linear=linear, tolerance=problem.tolerance)
    whole = np.rint(theta / plan.grid).astype(np.int64)
    if isinstance(plan, ObjectivePlan):
        whole += discrete_laplace(size, scale=plan.mask_scale, random=random)
    else:
        whole += discrete_gaussian(size, sigma=plan.sigma, random=random)
    return whole.astype(np.float64) * plan.grid


def _parameters(problem: Problem, plan: Plan, method: Method) -> dict[str, Any]:
    shared = {
        "method": method,
        "row_norm": problem.row_norm,
        "classes": problem.classes,
        "rows_per_unit": problem.rows_per_unit,
        "regularization": plan.regularization,
    }
    if isinstance(plan, ObjectivePlan):
        return shared | {
            "noise_std": plan.sigma,
            "epsilon_curvature": plan.epsilon_curvature,
            "epsilon_noise": plan.epsilon_noise,
            "epsilon_rounding": plan.epsilon_rounding,
        }
    return shared | {"noise_multiplier": plan.noise_multiplier}


_METHOD_TEXT: dict[str, tuple[tuple[str, ...], str]] = {
    "objective": (
        (
            "Double precision follows IEEE 754, and a library's logarithm and exponential err by less than 32 units in "
            "the last place.",
        ),
        "Chaudhuri, Monteleoni and Sarwate 2011; Kifer, Smith and Thakurta 2012; Iyengar et al. 2019; Redberg, Koskela "
        "and Wang 2023 (objective perturbation; the proof for this form stands in the source)",
    ),
    "output": (
        (
            "Double precision follows IEEE 754, and a library's logarithm and exponential err by less than 32 units in "
            "the last place.",
        ),
        "Wu et al. 2017 (output perturbation); Balle and Wang 2018 (the Gaussian mechanism)",
    ),
}
