"""AutoAttack: four attacks that need no tuning, each on what withstood the ones before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.attacks.evasion.apgd import Apgd, ApgdTargeted
from wardline.attacks.evasion.fab import FabTargeted
from wardline.attacks.evasion.in_ball import EIGHT, InBall
from wardline.attacks.evasion.square import Square
from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Batch, ExampleAttack, Labelled, attack_examples
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Verdict
from wardline.core.checks import at_least
from wardline.models.predictor import Inputs
from wardline.robust.ball import Ball

Version: TypeAlias = Literal["standard", "rand"]
"""The customary ensemble, or the one for models that answer at random."""

_STEPS, _TARGETS, _QUERIES, _DRAWS = 100, 9, 5000, 20
_TARGETS_L1, _RESTARTS_L1 = 5, 5
_BLACK_BOX_GAP = 0.002  # as the authors' own flag: a fifth of a percent of the examples


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoAttack(InBall):
    """The ensemble that robustness is customarily compared by.

    ``standard``: Auto-PGD on cross-entropy, Auto-PGD towards nine classes, FAB towards nine classes, and the square
    attack with 5,000 queries. ``rand``, for models that answer at random: Auto-PGD on cross-entropy and on the
    difference of logits ratio, each gradient a mean over 20 draws. Every stage gets what the ones before it left.

    With less than the standard effort it runs as well, and says in a check and in `details` that it was reduced: such
    a figure is not to be compared with published ones.

    Attributes:
        ball: the changes that are allowed.
        version: which ensemble.
        steps: of each search that follows gradients; 100 is the standard.
        targets: classes that a search is aimed at; None takes the standard, 9 (with ``l1`` 5 for Auto-PGD), or all
            others where there are fewer.
        queries: of the square attack for one example; 5,000 is the standard.
        exact: whether Auto-PGD computes its gradients in full precision; see `Pgd`.

    Raises:
        ValueError: for a number out of range or an unknown version.

    Guarantee: none. A model that withstands it may fall to an attack that was made for it: defences that detect, that
    purify, or that adapt at run time need one.

    References: Croce and Hein 2020 (AutoAttack), section 5; Croce and Hein 2021 (Mind the box), section 4 (l1).
    """

    ball: Ball = EIGHT
    version: Version = "standard"
    steps: int = _STEPS
    targets: int | None = None
    queries: int = _QUERIES
    exact: bool = False
    id: ClassVar[str] = "evasion.autoattack"
    needs: ClassVar[Access] = Access.WHITE_BOX
    paper: ClassVar[str] = "Croce and Hein 2020 (AutoAttack), section 5"

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("queries", self.queries, 1)
        if self.targets is not None:
            at_least("targets", self.targets, 1)
        if self.version not in {"standard", "rand"}:
            raise ValueError("version must be standard or rand")

    @property
    def stages(self) -> tuple[ExampleAttack, ...]:
        """The attacks in their order."""
        if self.version == "rand":
            return (
                Apgd(ball=self.ball, steps=self.steps, draws=_DRAWS),
                Apgd(ball=self.ball, steps=self.steps, draws=_DRAWS, loss="dlr"),
            )
        sparse = self.ball.norm == "l1"
        targets = _TARGETS if self.targets is None else self.targets
        return (
            Apgd(ball=self.ball, steps=self.steps, restarts=_RESTARTS_L1 if sparse else 1, exact=self.exact),
            ApgdTargeted(
                ball=self.ball,
                steps=self.steps,
                targets=_TARGETS_L1 if sparse and self.targets is None else targets,
                exact=self.exact,
            ),
            FabTargeted(ball=self.ball, steps=self.steps, targets=targets, stop=True),
            Square(ball=self.ball, queries=self.queries),
        )

    def reduced(self, classes: int) -> tuple[str, ...]:
        """What is less than the standard on a model of so many classes; empty where nothing is."""
        most = min(_TARGETS, classes - 1)
        less = []
        if self.steps < _STEPS:
            less.append(f"{self.steps} steps instead of {_STEPS}")
        if self.version == "standard" and self.targets is not None and self.targets < most:
            less.append(f"{self.targets} target classes instead of {most}")
        if self.version == "standard" and self.queries < _QUERIES:
            less.append(f"{self.queries} queries instead of {_QUERIES}")
        return tuple(less)

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack these examples.

        `details` gains ``version`` (``standard``, or what was reduced) and ``stages``: for each the examples that it
        was given, those that it broke, and the accuracy of all examples after it.
        """
        campaign = _Campaign(plan=self)
        result = attack_examples(campaign, target, data, budget=budget, seed=seed)
        less = self.reduced(target.classes)
        version = f"reduced {self.version}: {', '.join(less)}" if less else self.version
        return dataclasses.replace(
            result,
            checks=(*result.checks, *campaign.checks(target.classes)),
            details={**result.details, "version": version, "stages": campaign.told(result)},
        )

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Run the stages on one batch."""
        campaign = _Campaign(plan=self)
        return (*campaign.craft(target, batch), *campaign.checks(target.classes))


@dataclass(slots=True, kw_only=True)
class _Stage:
    """What one stage was given and what it broke, over all batches."""

    attack: ExampleAttack
    given: int = 0
    broken: int = 0
    cut_short: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Campaign:
    """The ensemble on one target, with what each of its stages achieved."""

    plan: AutoAttack
    stages: list[_Stage] = field(default_factory=list)
    attacked: list[int] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.plan.id

    @property
    def needs(self) -> Access:
        return self.plan.needs

    @property
    def paper(self) -> str:
        return self.plan.paper

    def threat(self, target: Target) -> Threat:
        return self.plan.threat(target)

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        return self.plan.within(changed, original)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        if self.plan.ball.radius == 0:
            return ()
        if not self.stages:
            self.stages.extend(_Stage(attack=attack) for attack in self.plan.stages)
        self.attacked.append(len(batch.x))
        left = np.arange(len(batch.x))
        told: list[Check] = []
        for stage in self.stages:
            if not len(left):
                break
            part = Batch(
                x=batch.x[left], y=batch.y[left], best=batch.x[left].copy(), seeds=batch.seeds.child(stage.attack.id)
            )
            stage.given += len(left)
            try:
                told += stage.attack.craft(target, part)
                labels = target.labels(part.best)
            except BudgetSpent:
                # The driver judges what was reached.
                stage.cut_short = True
                batch.best[left] = part.best
                raise
            inside = self.within(part.best, part.x) & target.spec.admissible(part.best, part.x)
            broken = inside & (labels >= 0) & (labels != part.y)
            stage.broken += int(broken.sum())
            batch.best[left[broken]] = part.best[broken]
            left = left[~broken]
        return tuple(_kindest_of_each(told))

    def checks(self, classes: int) -> Iterator[Check]:
        """Whether this was the standard, and whether the stage without gradients did better than those with them."""
        less = self.plan.reduced(classes)
        yield Check(
            name="standard",
            outcome=Verdict.INCONCLUSIVE if less else Verdict.PASS,
            detail=f"reduced: {', '.join(less)}" if less else f"the {self.plan.version} ensemble at its full effort",
        )
        square = next((stage for stage in self.stages if isinstance(stage.attack, Square)), None)
        if square is not None:
            trials = sum(self.attacked)
            share = square.broken / trials if trials else 0.0
            yield Check(
                name="black-box-against-white-box",
                outcome=Verdict.PASS if share <= _BLACK_BOX_GAP else Verdict.INCONCLUSIVE,
                detail=f"the square attack, without gradients, broke {square.broken} of {trials} examples "
                "that those with gradients did not",
            )

    def told(self, result: AttackResult) -> list[dict[str, object]]:
        """Each stage for tables."""
        begun, robust = int(result.details.get("examples", 0)), sum(self.attacked)
        rows: list[dict[str, object]] = []
        for stage in self.stages:
            robust -= stage.broken
            rows.append(
                {
                    "attack": stage.attack.id,
                    "given": stage.given,
                    "broken": stage.broken,
                    "cut_short": stage.cut_short,
                    "accuracy_after": robust / begun,
                    "interval": clopper_pearson(robust, begun),
                }
            )
        return rows


def _kindest_of_each(checks: list[Check]) -> list[Check]:
    """One check of each name: where the gradients of one stage can be used, those of another need not be."""
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    kept: dict[str, Check] = {}
    for check in checks:
        if check.name not in kept or order.index(check.outcome) < order.index(kept[check.name].outcome):
            kept[check.name] = check
    return list(kept.values())
