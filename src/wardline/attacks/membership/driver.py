"""One run of a membership attack: candidates, scores, rates with intervals, and whether the attack works at all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wardline.attacks.membership.candidates import Candidates, pick_candidates
from wardline.attacks.membership.scores import Array
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.ledger import BudgetSpent, QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.roc import Roc, TprAtFpr, non_members_needed, non_members_to_bound, roc_curve, tpr_at_fpr
from wardline.core import NoProgress, Progress, Seeds, UsageError, Verdict
from wardline.core.checks import at_least, probability
from wardline.data import Examples
from wardline.models import columns
from wardline.models.predictor import Inputs

_SILENT = NoProgress()
_REPEATED = 64  # rows that are asked about twice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MembershipData:
    """Whom a membership attack asks about, and what its adversary has.

    Rows are flat; a target that takes images is asked about them in its own shape.

    Attributes:
        members: rows that the target was trained on.
        non_members: rows of the same kind that it was not trained on.
        recipe: how the target was trained, as the adversary imitates it; None where nobody knows. Without it there
            is no attack with reference models, and no positive control.
        companions: training rows that the adversary knows and does not ask about; online references learn from them.
        population: further rows of the same kind, none of them a candidate; offline references learn from them.

    Raises:
        ValueError: if the sides differ in columns or classes, or the recipe does not fit them.
    """

    members: Examples
    non_members: Examples
    recipe: ReferenceRecipe | None = None
    companions: Examples | None = None
    population: Examples | None = None

    def __post_init__(self) -> None:
        sides = [
            self.members,
            self.non_members,
            *(side for side in (self.companions, self.population) if side is not None),
        ]
        if len({(side.features, side.classes) for side in sides}) > 1:
            raise ValueError("members, non-members and others must have the same columns and classes")
        recipe = self.recipe
        if recipe is not None and columns(recipe.architecture) != len(self.members.features):
            raise ValueError("the recipe's architecture reads another number of columns than the rows have")
        if recipe is not None and recipe.architecture.classes != len(self.members.classes):
            raise ValueError("the recipe's architecture tells another number of classes apart")

    def needed_recipe(self, attack: str) -> ReferenceRecipe:
        """The recipe, for an attack that cannot do without.

        Raises:
            UsageError: if there is none.
        """
        if self.recipe is None:
            raise UsageError(
                f"{attack} trains reference models, and the data has no recipe for them",
                hint="give the architecture and the training settings as recipe, or choose membership.loss",
            )
        return self.recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a membership attack reports, and on how many.

    Attributes:
        fpr: false-positive rate at which members are recognised, in (0, 1).
        level: confidence of intervals, in (0, 1).
        max_candidates: the most units of a side that are asked about, at least 2.

    Raises:
        ValueError: for a number out of range.
    """

    fpr: float = 0.01
    level: float = 0.95
    max_candidates: int = 6000

    def __post_init__(self) -> None:
        probability("fpr", self.fpr)
        probability("level", self.level)
        at_least("max_candidates", self.max_candidates, 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Scores of units; higher speaks for membership.

    Attributes:
        members, non_members: a score for each unit.
        details: finite JSON values for the result.
    """

    members: Array
    non_members: Array
    details: dict[str, object]


class MembershipAttack(Protocol):
    """What the driver needs of an attack. Implementations are frozen dataclasses whose fields are settings."""

    @property
    def id(self) -> str:
        """Stands for it, for example ``membership.lira``."""

    @property
    def needs(self) -> Access:
        """The least access it works with."""

    @property
    def paper(self) -> str:
        """Author, year, section."""

    @property
    def limits(self) -> Limits:
        """What is reported, and on how many."""

    @property
    def prior(self) -> str:
        """What the adversary knows beforehand."""

    def score(
        self, target: Target, candidates: Candidates, data: MembershipData, *, seeds: Seeds, progress: Progress
    ) -> Sides:
        """Score the candidates on the target."""

    def control(
        self, target: Target, candidates: Candidates, recipe: ReferenceRecipe, *, seeds: Seeds, progress: Progress
    ) -> Sides:
        """Score candidates of a model that was made to memorise."""


def attack_membership(
    attack: MembershipAttack,
    target: Target,
    data: MembershipData,
    *,
    budget: Budget,
    seed: int,
    progress: Progress = _SILENT,
) -> AttackResult:
    """Tell members from non-members, and try the attack on a model that memorises if it finds nothing.

    The rate is the share of members that are recognised by a threshold which at most `fpr` of the non-members
    exceed. Its interval takes into account that the threshold was estimated. What guessing reaches is `fpr` itself.
    The area under the ROC curve is in the details.

    A success needs no control. Where there is none, the same attack is mounted on the same architecture trained on
    random labels; if it fails there as well, or no recipe says how to train it, the result is inconclusive.

    Args:
        attack: how candidates are scored.
        target: what is asked.
        data: candidates and what the adversary has.
        budget: what may be spent; `seconds` bounds training of references too.
        seed: of all randomness, at least 0.
        progress: told how training goes.

    Raises:
        AccessDenied: if the attack needs more access than the target gives.
        UsageError: if the data lacks what the attack needs.
        ValueError: if rows do not fit the target.
    """
    target.require(attack.needs)
    limits, ledger, seeds = attack.limits, target.ledger, Seeds(seed)
    candidates = pick_candidates(data.members, data.non_members, most=limits.max_candidates, seeds=seeds)
    if data.companions is not None:
        candidates = candidates.accompanied(data.companions)
    _fit(target, candidates.examples)
    before = ledger.queries, ledger.gradients
    began = time.process_time()
    checks: list[Check] = []
    sides: Sides | None = None
    with ledger.within(queries=budget.queries, seconds=budget.seconds):
        clocked = _Clocked(progress, ledger)
        try:
            checks.append(_repeated(target, candidates.examples.x))
            sides = attack.score(target, candidates, data, seeds=seeds, progress=clocked)
            checks.append(_check("budget", met=True, detail="everything that was to be asked was asked"))
        except BudgetSpent as spent:
            checks.append(_check("budget", met=False, detail=f"the attack was cut short: {spent}"))
        except UnusableAnswersError as unusable:
            checks.append(Check(name="finite-answers", outcome=Verdict.FAIL, detail=str(unusable)))
        figures = None if sides is None else _figures(sides, limits)
        checks += _enough(candidates, limits)
        if figures is not None and figures[1] is not None:
            if figures[1].interval.low > max(limits.fpr, budget.tolerated):
                checks.append(_check("control", met=True, detail="not needed: the attack succeeded"))
            else:
                checks.append(_area(figures[0]))
                checks.append(_control(attack, target, candidates, data, seeds=seeds, progress=clocked))
    rate = None if figures is None else figures[1]
    return AttackResult(
        attack=attack.id,
        threat=Threat(goal="tell who was trained on", access=attack.needs, knowledge=attack.prior),
        paper=attack.paper,
        quantity=f"tpr_at_fpr_{limits.fpr:g}",
        n=0 if rate is None else rate.trials,
        rate=None if rate is None else rate.value,
        interval=None if rate is None else rate.interval,
        chance=limits.fpr,
        tolerated=budget.tolerated,
        queries=ledger.queries - before[0],
        gradients=ledger.gradients - before[1],
        checks=tuple(checks),
        seed=seed,
        details=_details(attack, candidates, data, sides, figures),
        cpu_seconds=time.process_time() - began,
    )


class UnusableAnswersError(ValueError):
    """A model answered with something that is no number."""


def shaped(target: Target, x: Inputs) -> Inputs:
    """Flat rows in the shape that the target takes."""
    shape = target.spec.shape if isinstance(target.spec, InputSpec) else (-1,)
    return x.reshape(len(x), *shape)


def _fit(target: Target, examples: Examples) -> None:
    if not isinstance(target.spec, InputSpec):
        raise UsageError("membership attacks here need numeric rows", hint="attack the model behind the text encoder")
    if target.spec.features != len(examples.features):
        raise ValueError(f"the target takes {target.spec.features} numbers, rows have {len(examples.features)}")
    target.spec.check(shaped(target, examples.x))
    if len(examples.classes) != target.classes:
        raise ValueError(f"the target tells {target.classes} classes apart, the rows have {len(examples.classes)}")


def _repeated(target: Target, x: Inputs) -> Check:
    rows = shaped(target, x[:_REPEATED])
    unstable = int((target.labels(rows) != target.labels(rows)).sum())
    detail = f"{unstable} of {len(rows)} rows were answered otherwise the second time"
    return _check("deterministic", met=not unstable, detail=detail)


def _figures(sides: Sides, limits: Limits) -> tuple[Roc, TprAtFpr | None]:
    roc = roc_curve(sides.members, sides.non_members, level=limits.level)
    if len(sides.non_members) < non_members_needed(limits.fpr):
        return roc, None
    return roc, tpr_at_fpr(sides.members, sides.non_members, fpr=limits.fpr, level=limits.level)


def _enough(candidates: Candidates, limits: Limits) -> list[Check]:
    found = candidates.examples.n_units - candidates.members
    if found < non_members_needed(limits.fpr):
        needed = non_members_needed(limits.fpr)
        detail = f"a false-positive rate of {limits.fpr:g} needs at least {needed} non-members, there are {found}"
        return [Check(name="enough-non-members", outcome=Verdict.FAIL, detail=detail)]
    needed = non_members_to_bound(limits.fpr, level=limits.level)
    detail = f"from {needed} non-members on a rate above chance can be shown; there are {found}"
    return [_check("enough-non-members", met=found >= needed, detail=detail)]


def _area(roc: Roc) -> Check:
    """A rate at few false alarms may be low while the average candidate is well told apart: that is no pass."""
    detail = f"the area under the curve is {roc.auc:.3f}, {roc.auc_interval}"
    return _check("area", met=roc.auc_interval.low <= 0.5, detail=detail)


def _control(
    attack: MembershipAttack,
    target: Target,
    candidates: Candidates,
    data: MembershipData,
    *,
    seeds: Seeds,
    progress: Progress,
) -> Check:
    if data.recipe is None:
        detail = "without a recipe nobody can tell whether the attack works on a model that leaks"
        return _check("control", met=False, detail=detail)
    try:
        sides = attack.control(target, candidates, data.recipe, seeds=seeds.child("control"), progress=progress)
    except BudgetSpent as spent:
        return _check(
            "control", met=False, detail=f"there was no time to try the attack on a model that leaks: {spent}"
        )
    roc, rate = _figures(sides, attack.limits)
    if rate is None:
        return _check("control", met=False, detail="the model that leaks has too few non-members for this rate")
    works = roc.auc_interval.low > 0.5 and rate.at_threshold.low > rate.fpr_high
    detail = f"on a model made to memorise random labels it finds {rate.value:.3f}, with an area of {roc.auc:.3f}"
    return _check("control", met=works, detail=detail)


def _details(
    attack: MembershipAttack,
    candidates: Candidates,
    data: MembershipData,
    sides: Sides | None,
    figures: tuple[Roc, TprAtFpr | None] | None,
) -> dict[str, object]:
    details: dict[str, object] = {
        "paper": attack.paper,
        "access": attack.needs.value,
        "prior": attack.prior,
        "sizes": {
            "members": candidates.members,
            "non_members": candidates.examples.n_units - candidates.members,
            "members_in_all": data.members.n_units,
            "non_members_in_all": data.non_members.n_units,
        },
    }
    if sides is not None:
        details |= sides.details
    if figures is not None:
        roc, rate = figures
        details["auc"] = {"value": roc.auc, "interval": roc.auc_interval}
        details["roc"] = {"fpr": list(roc.fpr), "tpr": list(roc.tpr)}
        if rate is not None:
            details["reached_fpr"] = rate.reached_fpr
    return details


def _check(name: str, *, met: bool, detail: str) -> Check:
    return Check(name=name, outcome=Verdict.PASS if met else Verdict.INCONCLUSIVE, detail=detail)


class _Clocked:
    """Passes progress on, and ends training when the ledger's time is up."""

    def __init__(self, progress: Progress, ledger: QueryLedger) -> None:
        self._progress, self._ledger = progress, ledger

    def start(self, stage: str, total: int) -> None:
        self._progress.start(stage, total)

    def advance(self, done: int, detail: str = "") -> None:
        self._ledger.charge(0)
        self._progress.advance(done, detail)

    def finish(self, detail: str = "") -> None:
        self._progress.finish(detail)


def sides_of(scores: Array, members: int, details: dict[str, object]) -> Sides:
    """Scores of all units, members first, cut in two.

    Raises:
        UnusableAnswersError: if a score is no finite number.
    """
    broken = int((~np.isfinite(scores)).sum())
    if broken:
        raise UnusableAnswersError(f"{broken} of {len(scores)} candidates got a score that is no number")
    return Sides(members=scores[:members], non_members=scores[members:], details=details)
