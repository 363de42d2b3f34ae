"""Attacks that change examples one by one, and the driver that runs and judges all of them alike.

An attack only proposes. Whether it succeeded is decided here: the changed example must lie within the threat, be
admissible, and be predicted anew, by the model as it is deployed, as something else than its true class.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.ledger import BudgetSpent, ServiceLost
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat, service_lost
from wardline.attacks.protocol.target import Access, Target
from wardline.core import NoProgress, Progress, Seeds, Verdict
from wardline.models.predictor import Inputs

_SILENT = NoProgress()
_REPEATED = 64  # clean inputs that are predicted twice
_PIECE = 16  # outcomes asked for at once of a service that has failed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """Examples with their true classes.

    Attributes:
        x: inputs, [rows, ...].
        y: true classes, int64 [rows], at least 0.

    Raises:
        ValueError: if they are not as many, or none.
    """

    x: Inputs = field(repr=False)
    y: npt.NDArray[np.int64] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not len(self.y):
            raise ValueError("there must be as many classes as inputs, at least one")
        if self.y.dtype != np.int64 or self.y.min() < 0:
            raise ValueError("classes are int64 indices of at least 0")

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What an attack is to change.

    Attributes:
        x: inputs that the model predicts rightly, [rows, ...]; not to be changed.
        y: their true classes, [rows].
        best: what the attack has come up with so far, [rows, ...], at first a copy of `x`. Whatever stands here when
            the budget ends is what counts.
        seeds: randomness of this batch.
    """

    x: Inputs
    y: npt.NDArray[np.int64]
    best: Inputs
    seeds: Seeds


class ExampleAttack(Protocol):
    """An attack on single examples. Implementations are frozen dataclasses whose fields are its settings."""

    @property
    def id(self) -> str:
        """Stands for it, for example ``evasion.pgd``."""

    @property
    def needs(self) -> Access:
        """The least access it works with."""

    @property
    def paper(self) -> str:
        """Author, year, section."""

    def threat(self, target: Target) -> Threat:
        """What the adversary can do."""

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each change stays within the threat: [rows]."""

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Write the changed inputs into `batch.best`; tell what speaks for or against the attack having worked.

        Raises:
            BudgetSpent: may pass through; what stands in `batch.best` by then is used.
        """


def attack_examples(
    attack: ExampleAttack,
    target: Target,
    data: Labelled,
    *,
    budget: Budget,
    seed: int,
    progress: Progress = _SILENT,
) -> AttackResult:
    """Attack examples and judge the outcome.

    Examples that the model gets wrong unprovoked are not attacked: they count against its accuracy, not for the
    attack. Success is the share of the others that are predicted as another class after the change. Examples whose
    search the budget cut short count with what was found by then; examples that were never begun do not count. Either
    is stated in a check that keeps the result from passing, and the rate is then a lower bound. A service that fails
    ends the run in the same way: what was predicted anew by then counts, and examples without an outcome do not.

    Args:
        attack: what is tried.
        target: what it is tried on.
        data: examples with their true classes.
        budget: what may be spent.
        seed: of all randomness, at least 0.
        progress: told how many examples are done.

    Raises:
        AccessDenied: if the attack needs more access than the target gives.
        ValueError: if the inputs are not what the target's specification says.
    """
    target.require(attack.needs)
    target.spec.check(data.x)
    if data.y.max() >= target.classes:
        raise ValueError(f"class {int(data.y.max())} occurs, the model tells {target.classes} apart")
    ledger = target.ledger
    before = ledger.queries, ledger.gradients
    began = time.process_time()
    with ledger.within(queries=budget.queries, seconds=budget.seconds):
        run = _Run(attack=attack, target=target, data=data, seeds=Seeds(seed))
        progress.start(attack.id, len(data))
        run.go(budget.batch, progress)
        progress.finish()
    trials, successes = int(run.finished.sum()), int(run.found.sum())
    return AttackResult(
        attack=attack.id,
        threat=attack.threat(target),
        paper=attack.paper,
        n=trials,
        rate=successes / trials if trials else None,
        interval=clopper_pearson(successes, trials) if trials else None,
        tolerated=budget.tolerated,
        queries=ledger.queries - before[0],
        gradients=ledger.gradients - before[1],
        checks=run.checks(),
        seed=seed,
        details=run.details(),
        cpu_seconds=time.process_time() - began,
        examples=run.kept(),
    )


class _Run:
    """One run over all examples, batch by batch."""

    def __init__(self, *, attack: ExampleAttack, target: Target, data: Labelled, seeds: Seeds) -> None:
        self.attack, self.target, self.data, self.seeds = attack, target, data, seeds
        n = len(data)
        self.adversarial = data.x.copy()
        self.begun, self.complete, self.right, self.found = (np.zeros(n, dtype=np.bool_) for _ in range(4))
        self.silent, self.outside = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        self.unstable = self.repeated = 0
        self.outages = len(target.ledger.outages)
        self.told: list[Check] = []

    @property
    def finished(self) -> npt.NDArray[np.bool_]:
        """Trials: what the model got right unprovoked, in batches that were begun."""
        return self.begun & self.right

    def go(self, batch_rows: int, progress: Progress) -> None:
        for start in range(0, len(self.data), batch_rows):
            rows = np.arange(start, min(start + batch_rows, len(self.data)))
            try:
                self._batch(rows, self.seeds.child(f"batch.{start}"))
            except BudgetSpent:
                return
            progress.advance(int(rows[-1]) + 1)

    def _batch(self, rows: npt.NDArray[np.int64], seeds: Seeds) -> None:
        x, y, target = self.data.x[rows], self.data.y[rows], self.target
        clean = target.labels(x)
        if rows[0] == 0:
            again = target.labels(x[:_REPEATED])
            self.repeated, self.unstable = len(again), int((again != clean[:_REPEATED]).sum())
        self.silent[rows] = clean < 0
        right = np.flatnonzero(clean == y)
        if not len(right):
            self.right[rows], self.begun[rows], self.complete[rows] = clean == y, True, True
            return
        batch = Batch(x=x[right], y=y[right], best=x[right].copy(), seeds=seeds)
        left = target.ledger.left()
        if left is not None and left <= len(right):
            raise BudgetSpent("not even the outcome could be checked")
        spent = False
        # What the final prediction costs is kept back, so that a cap is never exceeded and every outcome is checked.
        with target.ledger.within(queries=None if left is None else left - len(right)):
            try:
                self.told += self.attack.craft(target, batch)
            except BudgetSpent:
                spent = True
        judged = self._judge(rows[right], batch)
        # Without an outcome no trial: from the first such example on, the batch counts as never begun.
        reached = len(rows) if judged == len(right) else int(right[judged])
        told = rows[:reached]
        self.right[told], self.begun[told], self.complete[told] = (clean == y)[:reached], True, not spent
        if spent or judged < len(right):
            raise BudgetSpent("a batch was cut short")

    def _judge(self, rows: npt.NDArray[np.int64], batch: Batch) -> int:
        """Predict what the attack came up with anew, and record it; how many examples got an outcome."""
        allowed = self.attack.within(batch.best, batch.x) & self.target.spec.admissible(batch.best, batch.x)
        # An example that left the threat was not found; asking about the original instead keeps the batch whole.
        asked = batch.best.copy()
        asked[~allowed] = batch.x[~allowed]
        labels = self._final_labels(asked)
        judged = len(labels)
        rows, allowed, asked, y = rows[:judged], allowed[:judged], asked[:judged], batch.y[:judged]
        self.outside[rows] = ~allowed
        self.silent[rows] |= labels < 0
        self.found[rows] = allowed & (labels >= 0) & (labels != y)
        self.adversarial[rows] = asked
        return judged

    def _final_labels(self, asked: Inputs) -> npt.NDArray[np.int64]:
        """Outcomes, of the first rows alone if the service fails meanwhile."""
        # Time that ran out must not hide what was found: the answers were kept back and are always fetched.
        with self.target.ledger.untimed():
            if not self._lost():
                try:
                    return self.target.labels(asked)
                except ServiceLost:
                    pass  # it is said in a check; below, what it still tells is fetched
            # A service that limits the rate may go on answering after a while, piece by piece.
            labels = [np.zeros(0, dtype=np.int64)]
            for start in range(0, len(asked), _PIECE):
                try:
                    labels.append(self.target.labels(asked[start : start + _PIECE]))
                except BudgetSpent:
                    break
            return np.concatenate(labels)

    def _lost(self) -> list[str]:
        """Why the service was given up in this run; empty if it was not."""
        return self.target.ledger.outages[self.outages :]

    def checks(self) -> tuple[Check, ...]:
        n, begun = len(self.data), int(self.begun.sum())
        cut = begun - int(self.complete.sum())
        silent, outside = int(self.silent.sum()), int(self.outside.sum())
        checks = [
            Check(
                name="budget",
                outcome=Verdict.PASS if begun == n and not cut else Verdict.INCONCLUSIVE,
                detail=f"{n - begun} of {n} examples were never begun and {cut} cut short",
            ),
            Check(
                name="deterministic",
                outcome=Verdict.PASS if not self.unstable else Verdict.INCONCLUSIVE,
                detail=f"{self.unstable} of {self.repeated} inputs were answered otherwise the second time",
            ),
            Check(
                name="finite-answers",
                outcome=Verdict.PASS if not silent else Verdict.INCONCLUSIVE,
                detail=f"{silent} of {n} examples got an answer that is no number, clean or changed",
            ),
            Check(
                name="within-threat",
                outcome=Verdict.PASS if not outside else Verdict.INCONCLUSIVE,
                detail=f"{outside} changed examples left the threat model and were not counted",
            ),
        ]
        lost = self._lost()
        if lost:
            checks.append(service_lost(lost[0]))
        return (*checks, *_worst_of_each(self.told))

    def details(self) -> dict[str, object]:
        """Accuracies among the examples that were begun, clean and under attack."""
        begun, right = int(self.begun.sum()), int(self.finished.sum())
        if not begun:
            return {"examples": 0}
        robust = right - int(self.found.sum())
        return {
            "examples": begun,
            "clean_accuracy": {"value": right / begun, "interval": clopper_pearson(right, begun)},
            "robust_accuracy": {"value": robust / begun, "interval": clopper_pearson(robust, begun)},
        }

    def kept(self) -> dict[str, npt.NDArray[np.generic]]:
        """All outcomes, for curves and pictures."""
        return {
            "x": self.data.x,
            "adversarial": self.adversarial,
            "y": self.data.y,
            "right": self.right,
            "found": self.found,
        }


def _worst_of_each(checks: list[Check]) -> list[Check]:
    """One check of each name: the first of the worst outcome, so that one bad batch is not outvoted."""
    order = [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    kept: dict[str, Check] = {}
    for check in checks:
        if check.name not in kept or order.index(check.outcome) < order.index(kept[check.name].outcome):
            kept[check.name] = check
    return list(kept.values())
