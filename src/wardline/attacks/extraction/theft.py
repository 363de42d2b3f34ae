"""What attacks share that copy a model: what they have, what they may ask, and how their copies are judged."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds, UsageError, Verdict
from wardline.models.predictor import Inputs, Predictor, labels_of

_REPEATED = 64
_FITS = 0.9  # a copy that does not even reproduce the answers it was made from was not made well

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExtractionData:
    """What the adversary has, and what the copy is judged on.

    Attributes:
        pool: inputs that the adversary has, without classes, [rows, ...]: natural ones, or of another source.
        held_out: inputs on which the copy and the model are compared, [rows, ...]; the adversary never sees them.
        truth: the true classes of `held_out`, int64, for the accuracies of both; None where nobody knows.

    Raises:
        ValueError: if a part is empty, or the true classes are not as many.
    """

    pool: Inputs = field(repr=False)
    held_out: Inputs = field(repr=False)
    truth: npt.NDArray[np.int64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not len(self.pool) or not len(self.held_out):
            raise ValueError("there must be inputs to ask about and inputs to judge on")
        if self.truth is not None and (self.truth.dtype != np.int64 or len(self.truth) != len(self.held_out)):
            raise ValueError("true classes are int64 indices, one for each input held out")


class Thief(Protocol):
    """An attack that copies a model. Implementations are frozen dataclasses whose fields are its settings."""

    @property
    def id(self) -> str:
        """Stands for it, for example ``extraction.knockoff``."""

    @property
    def needs(self) -> Access:
        """The least access it works with."""

    @property
    def paper(self) -> str:
        """Author, year, section."""

    def steal(self, theft: Theft) -> None:
        """Ask, and hand in copies through `theft.hand_in`; the last one counts.

        Raises:
            BudgetSpent: may pass through.
        """


class Theft:
    """One attempt to copy a target: questions, the answers so far, and the copies that were handed in.

    Args:
        target: what is copied.
        data: what the adversary has.
        seeds: randomness.
        expected: the target's classes of `data.held_out`.

    Attributes:
        asked, answers: all questions [rows, ...] and answers [rows, classes] so far, in pieces.
        doubts: what the attack itself has to say about its copy.
        curve: for each copy that was handed in, the questions until then and its agreement.
        copy: the last one; None before.
    """

    def __init__(self, target: Target, data: ExtractionData, *, seeds: Seeds, expected: npt.NDArray[np.int64]) -> None:
        self.spec = _numeric(target)
        self.access, self.classes, self.pool, self.seeds = target.access, target.classes, data.pool, seeds
        self.asked: list[Inputs] = []
        self.answers: list[Floats] = []
        self.curve: list[dict[str, Any]] = []
        self.doubts: list[Check] = []
        self.copy: Predictor | None = None
        self._target, self._held_out, self._expected = target, data.held_out, expected
        self._before = target.ledger.queries

    @property
    def queries(self) -> int:
        """Questions so far."""
        return self._target.ledger.queries - self._before

    def allowance(self, wanted: int) -> int:
        """How many of the wanted questions there are."""
        left = self._target.ledger.left()
        return wanted if left is None else min(wanted, left)

    def ask(self, x: Inputs) -> Floats:
        """Probabilities of the classes, [rows, classes]; 1 for the named class where labels are all there is.

        Rows without a finite answer are NaN and are not kept.

        Raises:
            BudgetSpent: if so many questions are not left.
        """
        if self.access is Access.LABELS:
            answers = np.full((len(x), self.classes), np.nan, dtype=np.float32)
            labels = self._target.labels(x)
            answers[labels >= 0] = np.eye(self.classes, dtype=np.float32)[labels[labels >= 0]]
        else:
            scores = self._target.scores(x).astype(np.float64)
            scores -= scores.max(axis=1, keepdims=True)
            answers = np.exp(scores)
            answers = (answers / answers.sum(axis=1, keepdims=True)).astype(np.float32)
        fine = np.isfinite(answers).all(axis=1)
        self.asked.append(np.asarray(x)[fine])
        self.answers.append(answers[fine])
        return answers

    def ask_scores(self, x: Inputs) -> Floats:
        """Logits up to a constant, as exactly as the target gives them.

        Raises:
            AccessDenied: if labels are all there is.
            BudgetSpent: if so many questions are not left.
        """
        scores = self._target.scores(x)
        exact = np.exp(scores - scores.max(axis=1, keepdims=True))
        self.asked.append(np.asarray(x))
        self.answers.append(exact / exact.sum(axis=1, keepdims=True))
        return scores

    def ask_labels(self, x: Inputs) -> npt.NDArray[np.int64]:
        """Classes; -1 where there was no finite answer.

        Raises:
            BudgetSpent: if so many questions are not left.
        """
        labels = self._target.labels(x)
        fine = labels >= 0
        self.asked.append(np.asarray(x)[fine])
        self.answers.append(np.eye(self.classes, dtype=np.float32)[labels[fine]])
        return labels

    def transcript(self) -> tuple[Inputs, Floats]:
        """All questions and answers so far."""
        return np.concatenate(self.asked), np.concatenate(self.answers)

    def hand_in(self, copy: Predictor) -> None:
        """Let a copy be judged; the adversary is not told how it fared."""
        self.copy = copy
        agreed, n = int(self.agrees().sum()), len(self._expected)
        self.curve.append({"queries": self.queries, "agreement": agreed / n, "interval": clopper_pearson(agreed, n)})

    def agrees(self) -> npt.NDArray[np.bool_]:
        """Whether the copy says what the model says, on each input held out."""
        result: npt.NDArray[np.bool_] = self.labels() == self._expected
        return result

    def labels(self) -> npt.NDArray[np.int64]:
        """The copy's classes of the inputs held out."""
        if self.copy is None:
            raise ValueError("no copy was handed in")
        return labels_of(self.copy.answer(self._held_out), self.copy.gives)

    def checks(self, *, cut: bool) -> tuple[Check, ...]:
        """Whether the copy was made as well as its answers allow."""
        checks = [
            Check(
                name="budget",
                outcome=Verdict.INCONCLUSIVE if cut else Verdict.PASS,
                detail=f"{self.queries} questions; the budget ended {'before' if cut else 'after'} the attack did",
            )
        ]
        if self.copy is not None and self.asked:
            x, answers = self.transcript()
            fits = float((labels_of(self.copy.answer(x), self.copy.gives) == answers.argmax(axis=1)).mean())
            checks.append(
                Check(
                    name="copy-fits",
                    outcome=Verdict.PASS if fits >= _FITS else Verdict.INCONCLUSIVE,
                    detail=f"the copy reproduces {fits:.3f} of the answers it was made from",
                )
            )
        return (*checks, *self.doubts)


def run_theft(
    thief: Thief, target: Target, data: ExtractionData, *, threat: Threat, budget: Budget, seed: int
) -> AttackResult:
    """Copy a model and judge the copy: `rate` is the share of held-out inputs on which both agree.

    `chance` is the share of the class that the model names most often, which a copy that knows nothing reaches. The
    questions of the comparison are charged and reported, and are not available to the attack.

    Args:
        thief: the attack.
        target: what is copied.
        data: what the adversary has.
        threat: who attacks.
        budget: what may be spent; `tolerated` is the agreement that a model may suffer.
        seed: of all randomness, at least 0.

    Raises:
        AccessDenied: if the attack needs more access than the target gives.
        ValueError: if the inputs are not what the target's specification says.
        BudgetSpent: if the budget does not even suffice for the comparison.
    """
    target.require(thief.needs)
    for x in (data.pool, data.held_out):
        _numeric(target).check(x)
    before, began, cut = (target.ledger.queries, target.ledger.gradients), time.process_time(), False
    with target.ledger.within(queries=budget.queries, seconds=budget.seconds):
        expected = target.labels(data.held_out)
        again = target.labels(data.held_out[:_REPEATED])
        theft = Theft(target, data, seeds=Seeds(seed), expected=expected)
        try:
            thief.steal(theft)
        except BudgetSpent:
            cut = True
    answered = expected >= 0
    n = int(answered.sum()) if theft.copy is not None else 0
    agreed = int((theft.agrees() & answered).sum()) if n else 0
    return AttackResult(
        attack=thief.id,
        threat=threat,
        paper=thief.paper,
        quantity="agreement",
        n=n,
        rate=agreed / n if n else None,
        interval=clopper_pearson(agreed, n) if n else None,
        chance=float(np.bincount(expected[answered]).max() / n) if n else 0.0,
        tolerated=budget.tolerated,
        queries=target.ledger.queries - before[0],
        gradients=target.ledger.gradients - before[1],
        checks=(*theft.checks(cut=cut), *_answer_checks(expected, again)),
        seed=seed,
        details=_details(theft, data, expected),
        cpu_seconds=time.process_time() - began,
        examples={"copy": theft.copy},
    )


def _numeric(target: Target) -> InputSpec:
    if not isinstance(target.spec, InputSpec):
        raise UsageError("a text model cannot be copied by these attacks", hint="they ask about numbers")
    return target.spec


def _answer_checks(expected: npt.NDArray[np.int64], again: npt.NDArray[np.int64]) -> tuple[Check, ...]:
    silent, unstable = int((expected < 0).sum()), int((again != expected[: len(again)]).sum())
    return (
        Check(
            name="finite-answers",
            outcome=Verdict.INCONCLUSIVE if silent else Verdict.PASS,
            detail=f"{silent} of {len(expected)} held-out inputs got an answer that is no number",
        ),
        Check(
            name="deterministic",
            outcome=Verdict.INCONCLUSIVE if unstable else Verdict.PASS,
            detail=f"{unstable} of {len(again)} inputs were answered otherwise the second time",
        ),
    )


def _details(theft: Theft, data: ExtractionData, expected: npt.NDArray[np.int64]) -> dict[str, Any]:
    details: dict[str, Any] = {"attack_queries": theft.queries, "curve": theft.curve}
    if data.truth is not None and theft.copy is not None:
        for name, labels in (("model_accuracy", expected), ("copy_accuracy", theft.labels())):
            right = int((labels == data.truth).sum())
            details[name] = {"value": right / len(labels), "interval": clopper_pearson(right, len(labels))}
    return details
