"""The one training row that is not known, solved for from a released linear model."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.reconstruction.leakage import unmetered
from wardline.core import Verdict
from wardline.core.checks import positive

Numbers = npt.NDArray[np.float64]

_TINY = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InformedData:
    """A training set of which the adversary knows all rows but one, each secret row in its turn.

    The model minimises the sum of the rows' logistic losses plus half of `penalty` times the squared norm of the
    coefficients; intercepts are free. Of two classes, coefficients and intercept are those of the difference of the
    logits. That is what scikit-learn's `LogisticRegression` does, with a penalty of 1 / C.

    Attributes:
        x: all training rows, float64 or float32 [rows, columns].
        y: their classes, int64 [rows].
        secrets: indices of the rows that are sought, one at a time.
        penalty: at least 0.
        noise: standard deviation of the noise on the sum of gradients that the release is known to contain (objective
            perturbation), at least 0. Noise on the coefficients themselves reaches the sum through the curvature of the
            loss, which this attack does not model: a low rate there proves little.
        coefficients: as released, float64 [classes, columns], one row for two classes; None reads the target's
            network, whose 32 bits cost digits.
        intercepts: as released, float64 [classes], one for two classes; None reads the target's network.

    Raises:
        ValueError: if these do not fit together.
    """

    x: npt.NDArray[np.floating] = field(repr=False)
    y: npt.NDArray[np.int64] = field(repr=False)
    secrets: npt.NDArray[np.int64] = field(repr=False)
    penalty: float = 0.0
    noise: float = 0.0
    coefficients: Numbers | None = field(default=None, repr=False)
    intercepts: Numbers | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != (len(self.x),) or len(self.x) < 2:
            raise ValueError("x and y must be at least two rows and their classes")
        if not len(self.secrets) or self.secrets.min() < 0 or self.secrets.max() >= len(self.x):
            raise ValueError("secrets must be indices of rows, at least one")
        if not (0 <= self.penalty < np.inf and 0 <= self.noise < np.inf):
            raise ValueError("penalty and noise must be finite numbers of at least 0")
        if (self.coefficients is None) != (self.intercepts is None):
            raise ValueError("coefficients and intercepts are released together")


@dataclass(frozen=True, slots=True, kw_only=True)
class InformedAdversary:
    """The missing row, from the condition that the released model was optimal.

    At the optimum the gradients of all rows and of the penalty add up to nothing. What the known rows leave open is
    the missing row's gradient: residual times (row, 1). The intercept's entry is the residual, and dividing by it
    gives the row, whatever it was. Known noise on the sum makes the division a regression towards the known
    rows' mean, with their spread as the prior. What is found is moved to the nearest row that the target takes: within
    the range, and one-hot where the target says so.

    A trial succeeds if every number of the row is found to within `tolerance` of that column's range, and its class.

    Attributes:
        tolerance: as a share of each column's range; above 0.
        level: confidence of the interval, in (0, 1).

    References:
        Balle, Cherubin, Hayes 2022, section III (generalised linear models).
    """

    tolerance: float = 0.01
    level: float = 0.95

    def __post_init__(self) -> None:
        positive("tolerance", self.tolerance)

    @property
    def id(self) -> str:
        """``reconstruction.linear``."""
        return "reconstruction.linear"

    @property
    def needs(self) -> Access:
        """White box: the coefficients."""
        return Access.WHITE_BOX

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return "Balle, Cherubin, Hayes 2022, section III"

    def run(self, target: Target, data: InformedData, budget: Budget, seed: int) -> AttackResult:
        """Solve for each secret row; see the class.

        Args:
            target: the released model: one linear layer with intercepts.
            data: training set, which rows are sought, and how the model was trained.
            budget: `seconds` bounds the number of rows solved for.
            seed: stands in the result; nothing here is random.

        Raises:
            AccessDenied: if the adversary has no white-box access.
            ValueError: if the target is no linear model with intercepts, or does not fit the rows.
        """
        target.require(self.needs)
        spec = target.spec
        if not isinstance(spec, InputSpec):
            raise ValueError("a linear model takes numeric rows")  # noqa: TRY004 (a fault of the target)
        spec.check(data.x.astype(np.float32))
        began = time.process_time()
        released = _released(target, data)
        errors: list[float] = []
        right: list[bool] = []
        with target.ledger.within(queries=budget.queries, seconds=budget.seconds):
            for secret in data.secrets:
                try:
                    target.ledger.charge(0)
                except BudgetSpent:
                    break
                error, found = self._trial(released, data, spec, int(secret))
                errors.append(error)
                right.append(found)
        n = len(right)
        chance = float(np.mean([self._by_mean(data, int(secret)) for secret in data.secrets]))
        interval = clopper_pearson(sum(right), n, level=self.level) if n else None
        details: dict[str, object] = {"paper": self.paper, "access": self.needs.value, "tolerance": self.tolerance}
        if n:
            details["largest_error"] = {"median": float(np.median(errors)), "highest": float(np.max(errors))}
        return AttackResult(
            attack=self.id,
            threat=Threat(
                goal="reconstruct the one training row that is not known",
                access=self.needs,
                knowledge="all other training rows, the loss, the penalty, and how much noise there is",
            ),
            paper=self.paper,
            quantity="rows_reconstructed",
            n=n,
            rate=sum(right) / n if n else None,
            interval=interval,
            chance=chance,
            tolerated=budget.tolerated,
            queries=0,
            checks=(
                Check(
                    name="budget",
                    outcome=Verdict.PASS if n == len(data.secrets) else Verdict.INCONCLUSIVE,
                    detail=f"{len(data.secrets) - n} of {len(data.secrets)} rows were not tried",
                ),
                self._control(
                    data, spec, chance, succeeded=interval is not None and interval.low > max(chance, budget.tolerated)
                ),
            ),
            seed=seed,
            details=details,
            cpu_seconds=time.process_time() - began,
        )

    def _trial(
        self, released: tuple[Numbers, Numbers], data: InformedData, spec: InputSpec, secret: int
    ) -> tuple[float, bool]:
        """The largest error relative to its column's range, and whether the row was found."""
        known = np.delete(np.arange(len(data.x)), secret)
        x, residual = missing_record(
            released[0],
            released[1],
            data.x[known].astype(np.float64),
            _residuals(released, data.x[known].astype(np.float64), data.y[known]),
            penalty=data.penalty,
            noise=data.noise,
        )
        original = np.full((1, len(x)), np.nan, dtype=np.float32)  # nothing is as it was, so every step is snapped
        x = dataclasses.replace(spec, mutable=None).repair(x[None].astype(np.float32), original)[0].astype(np.float64)
        label = int(residual[0] < 0) if len(residual) == 1 else int(residual.argmin())
        error = float((np.abs(x - data.x[secret]) / _ranges(data)).max())
        return error, error <= self.tolerance and label == data.y[secret]

    def _by_mean(self, data: InformedData, secret: int) -> bool:
        mean = np.delete(data.x, secret, axis=0).astype(np.float64).mean(axis=0)
        return bool((np.abs(mean - data.x[secret]) / _ranges(data)).max() <= self.tolerance)

    def _control(self, data: InformedData, spec: InputSpec, chance: float, *, succeeded: bool) -> Check:
        """The same rows, from a model that was trained on them without noise."""
        if succeeded:
            return Check(name="control", outcome=Verdict.PASS, detail="not needed: the attack succeeded")
        bare = LogisticRegression(C=1.0 / max(data.penalty, 1e-3), tol=1e-10, max_iter=10_000).fit(data.x, data.y)
        plain = InformedData(x=data.x, y=data.y, secrets=data.secrets, penalty=max(data.penalty, 1e-3))
        released = bare.coef_.astype(np.float64), bare.intercept_.astype(np.float64)
        right = [self._trial(released, plain, spec, int(secret))[1] for secret in data.secrets]
        works = clopper_pearson(sum(right), len(right), level=self.level).low > chance
        detail = f"from a model without noise it finds {sum(right)} of {len(right)} rows"
        return Check(name="control", outcome=Verdict.PASS if works else Verdict.INCONCLUSIVE, detail=detail)


def missing_record(
    coefficients: Numbers,
    intercepts: Numbers,
    known_x: Numbers,
    known_residuals: Numbers,
    *,
    penalty: float = 0.0,
    noise: float = 0.0,
) -> tuple[Numbers, Numbers]:
    """Solve the stationarity condition of a linear model for the one row that is missing.

    It holds for every loss whose gradient is residual times (row, 1): squared and logistic ones, with half of
    `penalty` times the squared norm of the coefficients. For least squares the residual is prediction minus target, so
    the missing target is the prediction minus the residual found.

    Args:
        coefficients: [outputs, columns], at the optimum over all rows.
        intercepts: [outputs], not penalised.
        known_x: [rows, columns], all rows but the missing one.
        known_residuals: [rows, outputs].
        penalty: at least 0.
        noise: standard deviation of what was added to the sum of gradients, at least 0.

    Returns:
        The missing row, [columns], and its residuals, [outputs].

    References: Balle, Cherubin, Hayes 2022, section III.
    """
    open_by_coefficient = -(known_residuals.T @ known_x + penalty * coefficients)
    residual: Numbers = -known_residuals.sum(axis=0)
    energy = float((residual**2).sum())
    if noise == 0:
        row: Numbers = residual @ open_by_coefficient / max(energy, _TINY)
        return row, residual
    mean, variance = known_x.mean(axis=0), np.maximum(known_x.var(axis=0), _TINY)
    apart = residual @ (open_by_coefficient - residual[:, None] * mean)
    guess: Numbers = mean + apart / (energy + noise**2 / variance)
    return guess, residual


def _residuals(released: tuple[Numbers, Numbers], x: Numbers, y: npt.NDArray[np.int64]) -> Numbers:
    """Predicted probabilities minus one at the true class; of two classes, the second one's alone."""
    logits = x @ released[0].T + released[1]
    if logits.shape[1] == 1:
        single: Numbers = 1.0 / (1.0 + np.exp(-logits)) - (y == 1)[:, None]
        return single
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    residuals: Numbers = shifted / shifted.sum(axis=1, keepdims=True)
    residuals[np.arange(len(y)), y] -= 1.0
    return residuals


def _ranges(data: InformedData) -> Numbers:
    spread: Numbers = np.ptp(data.x.astype(np.float64), axis=0)
    return np.where(spread > 0, spread, 1.0)


def _released(target: Target, data: InformedData) -> tuple[Numbers, Numbers]:
    if data.coefficients is not None and data.intercepts is not None:
        found = data.coefficients, data.intercepts
    else:
        values = [value.detach().numpy().astype(np.float64) for value in unmetered(target).parameters()]
        if [value.ndim for value in values] != [2, 1]:
            raise ValueError("the target is no single linear layer with intercepts")
        found = values[0], values[1]
        if target.classes == 2 and len(found[0]) == 2:
            found = found[0][1:] - found[0][:1], found[1][1:] - found[1][:1]
    outputs = 1 if target.classes == 2 else target.classes
    if found[0].shape != (outputs, data.x.shape[1]) or found[1].shape != (outputs,):
        raise ValueError("coefficients and intercepts do not fit the rows and classes")
    return found
