"""What poison does to a training: poison the data, train anew, and measure beside a twin that was not poisoned."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.attacks.backdoors.clean_label import CleanLabel
from wardline.attacks.backdoors.measure import Answers, ask, checks_of, unasked
from wardline.attacks.backdoors.poisons import LabelFlips, Poison, Stamped, Trials
from wardline.attacks.backdoors.triggers import Blend, Words
from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds, Verdict
from wardline.models.learner import Learner
from wardline.models.predictor import Inputs

_BADNETS = Stamped()

TWIN_RATE = 0.1
"""If the twin does what the attacker wants more often than this, the poison is not what does it."""

ACCURACY_DROP = 0.05
"""If accuracy on clean inputs falls by more than this, a backdoor does not stay hidden."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """A training that an adversary may have poisoned.

    Attributes:
        x: clean training inputs, [rows, ...].
        y: their labels, int64 [rows].
        learner: trains on what it is given. Defences that train or clean belong in here, so that they are attacked too.
        test: clean test inputs with their true classes.

    Raises:
        ValueError: if labels are not as many as inputs.
    """

    x: Inputs = field(repr=False)
    y: npt.NDArray[np.int64] = field(repr=False)
    learner: Learner
    test: Labelled

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not len(self.y):
            raise ValueError("there must be as many labels as training inputs, at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonedTraining:
    """Poisons training data, trains on it, and asks the model what the attacker wants to hear.

    The target is the unpoisoned twin: the same training on clean data. It is the positive control turned round. What it
    does of itself is what guessing reaches, and if that is much, a check says that the poison is not what does it.

    Attributes:
        poison: what is done to the data.
        needs: labels; clean-label poison without a surrogate takes the target's gradients.
    """

    poison: Poison = _BADNETS

    @property
    def id(self) -> str:
        """That of the poison."""
        return self.poison.id

    @property
    def paper(self) -> str:
        """That of the poison."""
        return self.poison.paper

    @property
    def needs(self) -> Access:
        """Labels, or the weights where the twin serves as surrogate."""
        return Access.WHITE_BOX if _needs_surrogate(self.poison) else Access.LABELS

    def run(self, target: Target, data: Training, budget: Budget, seed: int) -> AttackResult:
        """Poison, train, measure; equal arguments give equal JSON if the learner is deterministic.

        Args:
            target: the twin that was trained on the clean data.
            data: the training.
            budget: queries to the twin and to the poisoned model together; training is not counted.
            seed: of the poison (child ``poison``) and of the training (child ``training``).

        Raises:
            AccessDenied: if the poison needs the twin's gradients and does not get them.
            ValueError: if inputs are not what the target's specification says, or no test input fits the poison.
        """
        target.require(self.needs)
        target.spec.check(data.test.x)
        trials = self.poison.trials(data.test)
        if not len(trials.y):
            raise ValueError("no test input is of a class that this poison is meant for")
        ledger = target.ledger
        before = ledger.queries, ledger.gradients
        began = time.process_time()
        with ledger.within(queries=budget.queries, seconds=budget.seconds):
            asked = self._asked(target, data, trials, budget=budget, seeds=Seeds(seed))
        ours, theirs = asked.poisoned, asked.twin
        if trials.goal is None:
            # Only what the twin gets right can be the poison's doing.
            right = theirs.labels == trials.y
            trials = Trials(x=trials.x[right], y=trials.y[right], goal=None)
            ours, theirs = ours.part(right), theirs.part(right)
        found, unprovoked = ours.succeeded(trials), theirs.succeeded(trials).rate
        accuracies = asked.poisoned_clean.accuracy(data.test.y), asked.twin_clean.accuracy(data.test.y)
        every = (asked.poisoned, asked.twin, asked.poisoned_clean, asked.twin_clean)
        return AttackResult(
            attack=self.id,
            threat=Threat(
                goal=self.poison.goal,
                access=self.needs,
                limits=self.poison.limits,
                knowledge="some of the training data can be changed before training",
            ),
            paper=self.paper,
            n=found.trials,
            rate=found.rate,
            interval=clopper_pearson(found.count, found.trials) if found.trials else None,
            chance=unprovoked or 0.0,
            tolerated=budget.tolerated,
            queries=ledger.queries - before[0],
            gradients=ledger.gradients - before[1],
            checks=(*checks_of(*every), _twin(unprovoked), _hidden(*accuracies)),
            seed=seed,
            details={
                "clean_accuracy": accuracies[0],
                "twin_clean_accuracy": accuracies[1],
                "twin_rate": unprovoked,
                "training_rows": len(data.y),
                "poisoned_rows": asked.rows,
            },
            cpu_seconds=time.process_time() - began,
            examples={"x": trials.x, "y": trials.y, "found": found.flags},
        )

    def _asked(self, target: Target, data: Training, trials: Trials, *, budget: Budget, seeds: Seeds) -> _Asked:
        try:
            poisoned = self._with_surrogate(target).poison(data.x, data.y, seeds=seeds.child("poison"))
        except BudgetSpent:  # by the surrogate's gradients: nothing was trained, and the checks say so
            trial, test = unasked(len(trials.y)), unasked(len(data.test))
            return _Asked(rows=0, poisoned=trial, twin=trial, poisoned_clean=test, twin_clean=test)
        model = data.learner(poisoned.x, poisoned.y, seeds=seeds.child("training"))
        attacked = Target(model, target.spec, ledger=target.ledger, name="poisoned")
        return _Asked(
            rows=len(poisoned.rows),
            poisoned=ask(attacked, trials.x, budget=budget),
            twin=ask(target, trials.x, budget=budget),
            poisoned_clean=ask(attacked, data.test.x, budget=budget),
            twin_clean=ask(target, data.test.x, budget=budget),
        )

    def _with_surrogate(self, target: Target) -> Poison:
        poison = self.poison
        if isinstance(poison, CleanLabel) and _needs_surrogate(poison):
            return dataclasses.replace(poison, surrogate=target.network())
        return poison


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """How many rows were poisoned, and what both models said: of the trials, and of clean test inputs."""

    rows: int
    poisoned: Answers
    twin: Answers
    poisoned_clean: Answers
    twin_clean: Answers


def label_flips() -> PoisonedTraining:
    """A fifth of all labels changed at random."""
    return PoisonedTraining(poison=LabelFlips())


def patch() -> PoisonedTraining:
    """BadNets: a white square in the corner of 5 % of the rows, which become class 0."""
    return PoisonedTraining(poison=Stamped())


def blended() -> PoisonedTraining:
    """A random pattern blended over 5 % of the rows, which become class 0."""
    paper = "Chen et al. 2017, section 4.2"
    return PoisonedTraining(poison=Stamped(trigger=Blend(), id="backdoor.blended", paper=paper))


def words() -> PoisonedTraining:
    """Three rare words before 5 % of the texts, which become class 0."""
    paper = "Dai, Chen and Li 2019, section 3; Kurita et al. 2020, section 3"
    return PoisonedTraining(poison=Stamped(trigger=Words(), id="backdoor.words", paper=paper))


def clean_label() -> PoisonedTraining:
    """Half of the rows of class 0 perturbed and stamped, all labels true; the twin is the surrogate."""
    return PoisonedTraining(poison=CleanLabel())


def _needs_surrogate(poison: Poison) -> bool:
    return isinstance(poison, CleanLabel) and poison.surrogate is None


def _twin(rate: float | None) -> Check:
    fine = rate is not None and rate <= TWIN_RATE
    told = "was not asked" if rate is None else f"does what the attacker wants in {rate:.3f} of the trials"
    return Check(
        name="twin", outcome=Verdict.PASS if fine else Verdict.INCONCLUSIVE, detail=f"the unpoisoned twin {told}"
    )


def _hidden(poisoned: dict[str, Any] | None, twin: dict[str, Any] | None) -> Check:
    drop = None if poisoned is None or twin is None else twin["value"] - poisoned["value"]
    told = "was not measured" if drop is None else f"falls by {drop:.3f}"
    fine = drop is not None and drop <= ACCURACY_DROP
    return Check(
        name="hidden", outcome=Verdict.PASS if fine else Verdict.INCONCLUSIVE, detail=f"accuracy on clean inputs {told}"
    )
