"""Attribute inference: a hidden attribute of a known person, from what the model says of that person's class."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Interval, Verdict
from wardline.models.predictor import Inputs, Predictor

_ROUNDS = 500  # of the imputer's solver
_SURELY = 1e-12  # the least probability: one certain mistake must not outweigh all else

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributeData:
    """People whose attribute is sought, and what the adversary knows of others.

    The adversary sees of `people` their true class and all columns but the hidden ones; those serve to judge alone.

    Attributes:
        people: rows that the target was trained on, [rows, columns], with their classes.
        columns: the hidden columns: one, or all of a one-hot group.
        values: what these columns can hold, float32 [values, hidden columns], at least two.
        population: rows of the same kind that the target was not trained on, complete.
        twin: a model that was trained on these people until it knew them by heart; None if there is none. An attack
            that finds nothing is tried on it, to see whether it finds anything anywhere.

    Raises:
        ValueError: if these do not fit together, or somebody's attribute is none of the values.
    """

    people: Labelled
    columns: tuple[int, ...]
    values: npt.NDArray[np.float32] = field(repr=False)
    population: Labelled
    twin: Predictor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.people.x.ndim != 2 or self.people.x.shape[1:] != self.population.x.shape[1:]:
            raise ValueError("people and population must be rows of the same columns")
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns) or len(self.values) < 2:
            raise ValueError("values must hold at least two rows with a number for each hidden column")
        if not self.columns or min(self.columns) < 0 or max(self.columns) >= self.people.x.shape[1]:
            raise ValueError("columns must be indices of columns, at least one")
        for name, rows in (("people", self.people), ("population", self.population)):
            if (self.index(rows.x) < 0).any():
                raise ValueError(f"some of the {name} have an attribute that is none of the values")
        if len(np.unique(self.index(self.population.x))) < 2:
            raise ValueError("the population must show at least two of the values")

    def index(self, x: Inputs) -> npt.NDArray[np.int64]:
        """Which value each row holds; -1 for none."""
        apart: Numbers = np.abs(x[:, None, list(self.columns)].astype(np.float64) - self.values[None])
        same = apart.max(axis=2) <= 1e-5
        found: npt.NDArray[np.int64] = np.where(same.max(axis=1), same.argmax(axis=1), -1)
        return found

    def rest(self, x: Inputs) -> Inputs:
        """The columns that are not hidden."""
        return np.delete(x, list(self.columns), axis=1)

    def assume(self, x: Inputs, value: int) -> Inputs:
        """The rows as if everybody held one value."""
        assumed = x.copy()
        assumed[:, list(self.columns)] = self.values[value]
        return assumed


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeInference:
    """The most probable value, given all else that is known of a person and the model's confidence in the true class.

    The posterior of a value is its probability given the other columns, learned from the population, times the
    probability that the model gives to the person's true class if the person held it.

    **What counts as success.** Much of an attribute can be guessed without any model: that is imputation, and no leak.
    So the same population teaches two imputers, one that knows the other columns and one that knows the true class too,
    and the attack has to beat the upper end of what the better of them reaches on these people (`chance` of the
    result): else a model that says nothing would be blamed where the class misleads the second one. The paired
    advantage over the better one, with an interval that holds at least at its level, is in the details.

    Attributes:
        level: confidence of intervals, in (0, 1).

    References:
        Fredrikson, Lantz, Jha, Lin, Page, Ristenpart 2014; Fredrikson, Jha, Ristenpart 2015, section 4; Mehnaz et al.
        2022, section 4 (confidence scores); Jayaraman and Evans 2022 (imputation as the baseline).
    """

    level: float = 0.95

    @property
    def id(self) -> str:
        """``reconstruction.attribute``."""
        return "reconstruction.attribute"

    @property
    def needs(self) -> Access:
        """Scores."""
        return Access.SCORES

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return "Fredrikson, Jha, Ristenpart 2015, section 4; Mehnaz et al. 2022, section 4"

    def run(self, target: Target, data: AttributeData, budget: Budget, seed: int) -> AttackResult:
        """Guess everybody's attribute; see the class for what counts as success.

        Args:
            target: what is asked, once for every person and value.
            data: people and population.
            budget: what may be spent. People who were not reached do not count.
            seed: stands in the result; nothing here is random.

        Raises:
            AccessDenied: if the adversary does not see scores.
            ValueError: if the rows are not what the target takes.
        """
        target.require(self.needs)
        target.spec.check(data.people.x)
        began, before = time.process_time(), target.ledger.queries
        truth = data.index(data.people.x)
        prior, imputed = _imputers(data)
        log_p, reached, broken = _asked(target, data, budget)
        guessed = (np.log(prior[:reached]) + log_p).argmax(axis=1)
        right, by_prior, by_imputer = (
            guess[:reached] == truth[:reached] for guess in (guessed, prior.argmax(axis=1), imputed.argmax(axis=1))
        )
        interval = clopper_pearson(int(right.sum()), reached, level=self.level) if reached else None
        best = by_prior if by_prior.sum() > by_imputer.sum() else by_imputer
        baseline = clopper_pearson(int(best.sum()), reached, level=self.level) if reached else None
        details: dict[str, object] = {"paper": self.paper, "access": self.needs.value, "values": len(data.values)}
        if reached:
            details |= {
                "prior_alone": {"value": float(by_prior.mean()), "interval": _rate(by_prior, self.level)},
                "imputation": {"value": float(by_imputer.mean()), "interval": _rate(by_imputer, self.level)},
                "advantage": paired_advantage(right, best, level=self.level),
            }
        line = max(baseline.high if baseline is not None else 0.0, budget.tolerated)
        return AttackResult(
            attack=self.id,
            threat=Threat(
                goal="learn a hidden attribute of a known person",
                access=self.needs,
                knowledge="the other attributes and the true class of each person; complete rows of other people",
            ),
            paper=self.paper,
            quantity="attribute_success_rate",
            n=reached,
            rate=float(right.mean()) if reached else None,
            interval=interval,
            chance=baseline.high if baseline is not None else 0.0,
            tolerated=budget.tolerated,
            queries=target.ledger.queries - before,
            checks=(
                Check(
                    name="budget",
                    outcome=Verdict.PASS if reached == len(truth) else Verdict.INCONCLUSIVE,
                    detail=f"{len(truth) - reached} of {len(truth)} people were not reached",
                ),
                Check(
                    name="finite-answers",
                    outcome=Verdict.FAIL if broken else Verdict.PASS,
                    detail=f"{broken} people got an answer that is no number",
                ),
                self._control(target, data, prior, line, succeeded=interval is not None and interval.low > line),
            ),
            seed=seed,
            details=details,
            cpu_seconds=time.process_time() - began,
        )

    def _control(self, target: Target, data: AttributeData, prior: Numbers, line: float, *, succeeded: bool) -> Check:
        """Whether the attack finds attributes anywhere: on a model that knows these people by heart."""
        if succeeded:
            return Check(name="control", outcome=Verdict.PASS, detail="not needed: the attack succeeded")
        if data.twin is None:
            detail = "no model that leaks was given, so nobody can tell whether the attack works at all"
            return Check(name="control", outcome=Verdict.INCONCLUSIVE, detail=detail)
        other = Target(data.twin, target.spec, access=self.needs, name="twin")
        log_p, reached, _ = _asked(other, data, Budget())
        right = (np.log(prior) + log_p).argmax(axis=1) == data.index(data.people.x)
        found = clopper_pearson(int(right.sum()), reached, level=self.level)
        works = Verdict.PASS if found.low > line else Verdict.INCONCLUSIVE
        return Check(name="control", outcome=works, detail=f"on a model that leaks it is right for {right.mean():.3f}")


def paired_advantage(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], *, level: float) -> dict[str, object]:
    """How much more often the first guess is right than the second, on the same trials.

    The interval comes from exact ones of both shares of disagreement, each at half of the error.

    Args:
        first: whether each guess of the first kind was right, [trials], at least one.
        second: the same of the second kind.
        level: confidence, in (0, 1).
    """
    gains, losses = int((first & ~second).sum()), int((second & ~first).sum())
    half = 1.0 - (1.0 - level) / 2.0
    won, lost = (clopper_pearson(count, len(first), level=half) for count in (gains, losses))
    interval = Interval(
        low=won.low - lost.high, high=won.high - lost.low, level=level, method="Clopper-Pearson of both disagreements"
    )
    return {"value": (gains - losses) / len(first), "interval": interval}


def _asked(target: Target, data: AttributeData, budget: Budget) -> tuple[Numbers, int, int]:
    """Log-probability of the true class under each value, [people reached, values], how many, and how many broke."""
    people = data.people
    rows: list[Numbers] = [np.zeros((0, len(data.values)))]
    broken = 0
    with target.ledger.within(queries=budget.queries, seconds=budget.seconds):
        for start in range(0, len(people), budget.batch):
            part = slice(start, start + budget.batch)
            try:
                answers = [target.scores(data.assume(people.x[part], value)) for value in range(len(data.values))]
            except BudgetSpent:
                break
            logits = np.stack(answers, axis=1).astype(np.float64)
            broken += int((~np.isfinite(logits)).any(axis=(1, 2)).sum())
            logits = np.nan_to_num(logits)
            log_p = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
            rows.append(log_p[np.arange(len(log_p)), :, people.y[part]])
    found = np.concatenate(rows)
    return found, len(found), broken


def _imputers(data: AttributeData) -> tuple[Numbers, Numbers]:
    """Probabilities of each person's values from the other columns, without and with the true class."""
    known, asked = data.population, data.people
    truth = data.index(known.x)
    classes = np.eye(int(max(known.y.max(), asked.y.max())) + 1)
    found = []
    for with_class in (False, True):
        rows, wanted = (
            np.concatenate([data.rest(one.x), classes[one.y]] if with_class else [data.rest(one.x)], axis=1)
            for one in (known, asked)
        )
        if rows.shape[1] == 0:
            rows, wanted = np.zeros((len(rows), 1)), np.zeros((len(wanted), 1))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ROUNDS)).fit(rows, truth)
        table = np.full((len(asked), len(data.values)), _SURELY)
        table[:, model.classes_] = np.maximum(model.predict_proba(wanted), _SURELY)
        found.append(table)
    return found[0], found[1]


def _rate(right: npt.NDArray[np.bool_], level: float) -> Interval:
    return clopper_pearson(int(right.sum()), len(right), level=level)
