"""How often a trigger works on a model: the attack success rate, with what speaks for and against the figure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.attacks.backdoors.poisons import Trials
from wardline.attacks.backdoors.triggers import WHITE_SQUARE, Trigger
from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Verdict
from wardline.models.predictor import Inputs

_REPEATED = 64  # inputs that are predicted twice


@dataclass(frozen=True, slots=True, kw_only=True)
class BackdoorTrigger:
    """Asks a model about inputs with a known trigger in them.

    The rate is the share of test inputs of other classes that are taken for the target once the trigger is in them. How
    many of them are without it is in the details (`unprovoked`), and is what guessing reaches.

    **A low rate clears the model of this trigger alone.** Whoever does not know the trigger has to search for one:
    see `wardline.robust.sanitise.trigger_search`.

    Attributes:
        trigger: what is put in.
        target: the class that it is said to lead to.
        sources: the classes on which it is said to work; empty for all but the target.
        id, needs, paper: see `Attack`.

    References: Gu et al. 2017, section 4.
    """

    trigger: Trigger = WHITE_SQUARE
    target: int = 0
    sources: tuple[int, ...] = ()
    id: str = field(default="backdoor.trigger", init=False)
    needs: Access = field(default=Access.LABELS, init=False)
    paper: str = field(default="Gu et al. 2017, section 4", init=False)

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Measure the success rate on clean test inputs; nothing is random but the model, if that is.

        Raises:
            AccessDenied: if the target does not even answer with labels.
            ValueError: if the inputs are not what the target's specification says, or none is of another class.
        """
        target.require(self.needs)
        target.spec.check(data.x)
        if not 0 <= self.target < target.classes:
            raise ValueError(f"the model tells {target.classes} classes apart, and {self.target} is none of them")
        rows = np.isin(data.y, self.sources) if self.sources else data.y != self.target
        if not rows.any():
            raise ValueError("the trigger needs inputs of other classes than the target")
        ledger = target.ledger
        before, began = ledger.queries, time.process_time()
        trials = Trials(x=self.trigger.stamp(data.x[rows]), y=data.y[rows], goal=self.target)
        with ledger.within(queries=budget.queries, seconds=budget.seconds):
            stamped = ask(target, trials.x, budget=budget)
            clean = ask(target, data.x, budget=budget)
        found = stamped.succeeded(trials)
        unprovoked = Trials(x=data.x[rows], y=data.y[rows], goal=self.target)
        chance = clean.part(rows).succeeded(unprovoked).rate or 0.0
        return AttackResult(
            attack=self.id,
            threat=Threat(
                goal=f"inputs with the trigger are taken for class {self.target}",
                access=self.needs,
                limits=str(self.trigger),
                knowledge="the trigger and the class",
            ),
            paper=self.paper,
            n=found.trials,
            rate=found.rate,
            interval=clopper_pearson(found.count, found.trials) if found.trials else None,
            chance=chance,
            tolerated=budget.tolerated,
            queries=ledger.queries - before,
            checks=(*checks_of(stamped, clean), admissible_check(target, trials.x, data.x[rows])),
            seed=seed,
            details={"clean_accuracy": clean.accuracy(data.y), "unprovoked": chance, "target": self.target},
            cpu_seconds=time.process_time() - began,
            examples={"x": data.x[rows], "adversarial": trials.x, "y": trials.y, "found": found.flags},
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a model said of some inputs.

    Attributes:
        labels: the class of each, -1 where the answer was no number; whatever stands where nothing was asked.
        asked: which inputs were asked about before the budget ended.
        unstable: how many of the first inputs were answered otherwise the second time.
        repeated: how many were asked twice.
    """

    labels: npt.NDArray[np.int64]
    asked: npt.NDArray[np.bool_]
    unstable: int
    repeated: int

    def part(self, rows: npt.NDArray[np.bool_]) -> Answers:
        """The answers to these inputs."""
        return Answers(labels=self.labels[rows], asked=self.asked[rows], unstable=self.unstable, repeated=self.repeated)

    def succeeded(self, trials: Trials) -> Succeeded:
        """Which trials went as the attacker wants; an answer that is no number never does."""
        flags = self.labels == trials.goal if trials.goal is not None else self.labels != trials.y
        return Succeeded(flags=flags & self.asked & (self.labels >= 0), trials=int(self.asked.sum()))

    def accuracy(self, y: npt.NDArray[np.int64]) -> dict[str, Any] | None:
        """The share of right answers with its interval; None if nothing was asked."""
        asked = int(self.asked.sum())
        right = int((self.asked & (self.labels == y)).sum())
        return {"value": right / asked, "interval": clopper_pearson(right, asked)} if asked else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Succeeded:
    """Trials that went as the attacker wants.

    Attributes:
        flags: which, [rows].
        trials: how many were asked about.
    """

    flags: npt.NDArray[np.bool_]
    trials: int

    @property
    def count(self) -> int:
        """How many succeeded."""
        return int(self.flags.sum())

    @property
    def rate(self) -> float | None:
        """Their share; None without trials."""
        return self.count / self.trials if self.trials else None


def unasked(rows: int) -> Answers:
    """Of so many inputs, the answers to none."""
    return Answers(
        labels=np.full(rows, -1, dtype=np.int64), asked=np.zeros(rows, dtype=np.bool_), unstable=0, repeated=0
    )


def ask(target: Target, x: Inputs, *, budget: Budget) -> Answers:
    """Ask a model about inputs, batch by batch, until the budget ends; the first ones are asked twice."""
    labels, asked = np.full(len(x), -1, dtype=np.int64), np.zeros(len(x), dtype=np.bool_)
    unstable = repeated = 0
    try:
        for start in range(0, len(x), budget.batch):
            part = slice(start, start + budget.batch)
            labels[part] = target.labels(x[part])
            asked[part] = True
        first = min(_REPEATED, len(x))
        again = target.labels(x[:first])
        repeated, unstable = first, int((again != labels[:first]).sum())
    except BudgetSpent:
        pass  # `asked` tells where it ended, and the checks say so
    return Answers(labels=labels, asked=asked, unstable=unstable, repeated=repeated)


def checks_of(*answers: Answers) -> tuple[Check, ...]:
    """Budget, determinism and finite answers, over all that was asked."""
    total, left = sum(len(one.asked) for one in answers), sum(int((~one.asked).sum()) for one in answers)
    unstable, repeated = sum(one.unstable for one in answers), sum(one.repeated for one in answers)
    silent = sum(int((one.asked & (one.labels < 0)).sum()) for one in answers)
    return (
        _check("budget", f"{left} of {total} inputs were never asked about", fine=not left),
        _check(
            "deterministic",
            f"{unstable} of {repeated} inputs were answered otherwise the second time",
            fine=not unstable and repeated > 0,
        ),
        _check("finite-answers", f"{silent} of {total} inputs got an answer that is no number", fine=not silent),
    )


def admissible_check(target: Target, changed: Inputs, original: Inputs) -> Check:
    """Whether inputs with the trigger are inputs that the model takes at all."""
    outside = int((~target.spec.admissible(changed, original)).sum())
    return _check(
        "admissible", f"{outside} of {len(changed)} inputs with the trigger break the specification", fine=not outside
    )


def _check(name: str, detail: str, *, fine: bool) -> Check:
    return Check(name=name, outcome=Verdict.PASS if fine else Verdict.INCONCLUSIVE, detail=detail)
