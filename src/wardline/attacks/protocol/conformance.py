"""Checks that an attack is what the protocol says: a suite that anybody can run on an attack of their own.

    report = attack_conformance(Subject(make=MyAttack, predictor=model, spec=spec, data=examples))
    report.raise_for_failures()

A figure from an attack is believed because of what these checks look at: that it can be repeated, kept to its budget,
saw no more than its threat model says, and left model and data as they were. None shows that an attack is strong.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardline.attacks.protocol.attack import Attack
from wardline.attacks.protocol.ledger import BudgetSpent, QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget, Check
from wardline.attacks.protocol.spec import Spec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.core import Verdict, canonical_json
from wardline.models.predictor import Differentiable, Gives, Inputs, Predictor, labels_of

_ID = re.compile(r"[a-z_]+\.[a-z0-9_]+")
_YEAR = re.compile(r"\b(19|20)\d\d\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An attack, and something small to try it on.

    Attributes:
        make: makes the attack; called several times.
        predictor: a model that shows at least what the attack needs, and answers the same each time.
        spec: what its inputs look like.
        data: what the attack takes, for most a `Labelled` with about ten rows that the model gets right, and some that
            the attack succeeds on.
        powerless: makes the same attack with nothing that it may change, if there is such a setting; None finds out
            whether it has a field `ball`, and takes a radius of 0.
        batch: examples that are attacked at once; several batches show more than one.
        seed: of the runs.
    """

    make: Callable[[], Attack]
    predictor: Predictor
    spec: Spec
    data: Any = field(repr=False)
    powerless: Callable[[], Attack] | None = None
    batch: int = 4
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackConformance:
    """All checks of an attack."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that it failed."""
        return tuple(check.name for check in self.checks if check.outcome is not Verdict.PASS)

    def raise_for_failures(self) -> None:
        """Raise if any check failed.

        Raises:
            AssertionError: telling all findings.
        """
        if self.failed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        return "\n".join(f"{check.outcome.value} {check.name}: {check.detail}" for check in self.checks)


def attack_conformance(subject: Subject) -> AttackConformance:
    """Run all checks; the attack runs about ten times.

    Returns:
        One check for each of: description, repetition, global state, honest counting, canonical JSON, data and model
        left as they were, successes that can be predicted again within specification and threat, caps on queries at
        several points, access, and no success without freedom. Those that do not apply are left out.
    """
    first = _Trial(subject)
    checks = [_description(subject, first), *first.checks()]
    if checks[-1].outcome is Verdict.PASS:  # what is no JSON cannot be compared
        checks.append(_repetition(subject, first))
    checks += _successes(subject, first)
    checks.append(_caps(subject, first))
    checks += _access(subject)
    checks += _powerless(subject)
    return AttackConformance(checks=tuple(checks))


class _Trial:
    """One run, and what it did to the world."""

    def __init__(
        self,
        subject: Subject,
        *,
        attack: Attack | None = None,
        cap: int | None = None,
        budget: Budget | None = None,
        access: Access | None = None,
    ) -> None:
        self.counting = _counted(subject.predictor)
        target = Target(self.counting, subject.spec, access=access, ledger=QueryLedger(cap=cap), name="subject")
        self.ledger = target.ledger
        before, state = _arrays(subject.data), _global_state()
        self.attack = subject.make() if attack is None else attack
        self.result: AttackResult = self.attack.run(
            target, subject.data, budget or Budget(batch=subject.batch), subject.seed
        )
        self.moved_state = [name for name, value in _global_state().items() if value != state[name]]
        self.changed = [name for name, value in _arrays(subject.data).items() if value != before[name]]

    def checks(self) -> Iterator[Check]:
        yield _check("global-state", not self.moved_state, f"generators moved: {', '.join(self.moved_state) or 'none'}")
        yield _check("data-kept", not self.changed, f"arrays changed: {', '.join(self.changed) or 'none'}")
        asked, told = self.counting.rows, self.result.queries
        yield _check(
            "honest-counting",
            asked == told == self.ledger.queries,
            f"the model was asked about {asked} rows, the ledger counts {self.ledger.queries}, the result {told}",
        )
        problem = ""
        try:
            canonical_json(self.result.to_json())
            self.result.measurement().to_json()
        except (TypeError, ValueError) as error:
            problem = str(error)
        yield _check("canonical-json", not problem, problem or "the result is canonical JSON, and a measurement")


def _description(subject: Subject, trial: _Trial) -> Check:
    attack, result = trial.attack, trial.result
    needs: object = attack.needs
    access: object = result.threat.access
    wrong = []
    if not _ID.fullmatch(attack.id):
        wrong.append(f"the id {attack.id!r} is not of the form family.name")
    if not isinstance(needs, Access):
        wrong.append("what it needs is no access")
    if not _YEAR.search(attack.paper):
        wrong.append(f"the paper {attack.paper!r} names no year")
    if (result.attack, result.paper) != (attack.id, attack.paper):
        wrong.append("the result names another attack or paper")
    if not result.threat.goal or not isinstance(access, Access):
        wrong.append("the threat has no goal or no access")
    if result.seed != subject.seed:
        wrong.append("the result names another seed")
    if result.n == 0:
        wrong.append("no trial ran to its end, so that little could be checked")
    return _check("described", not wrong, "; ".join(wrong) or f"{attack.id}: {attack.paper}")


def _repetition(subject: Subject, first: _Trial) -> Check:
    again = _Trial(subject)
    one, other = first.result.to_json(), again.result.to_json()
    names = [name for name in one if one[name] != other.get(name)]
    # Two rates may be equal by chance; the inputs that were found are not.
    before, after = _arrays(dict(first.result.examples)), _arrays(dict(again.result.examples))
    names += [f"examples.{name}" for name in before if before[name] != after.get(name)]
    return _check("same-seed-same-json", not names, f"fields that differ: {', '.join(names) or 'none'}")


def _successes(subject: Subject, trial: _Trial) -> Iterator[Check]:
    kept = trial.result.examples
    if not {"x", "adversarial", "y", "found"} <= set(kept):
        return
    found = np.asarray(kept["found"], dtype=np.bool_)
    original, changed, y = (np.asarray(kept[name])[found] for name in ("x", "adversarial", "y"))
    if not len(y):
        yield _check("successes", trial.result.rate in (0.0, None), "nothing was found")
        return
    labels = labels_of(subject.predictor.answer(changed), subject.predictor.gives)
    wrong = int(((labels == y) | (labels < 0)).sum())
    yield _check("successes", not wrong, f"{wrong} of {len(y)} successes are none when predicted again")
    outside = int((~subject.spec.admissible(changed, original)).sum())
    yield _check("within-specification", not outside, f"{outside} of {len(y)} successes leave the specification")
    within = getattr(trial.attack, "within", None)
    if callable(within):
        beyond = int((~within(changed, original)).sum())
        yield _check("within-threat", not beyond, f"{beyond} of {len(y)} successes leave the threat")


def _caps(subject: Subject, first: _Trial) -> Check:
    """Caps of the target and of the budget, at the very start, in the middle, and just before the end."""
    total = max(first.result.queries, 2)
    said, wrong = [], []
    for share, mine in ((0.0, False), (0.1, True), (0.5, False), (0.5, True), (0.9, False), (1.0, True)):
        cap = min(max(1, int(total * share)), total - 1)
        budget = Budget(batch=subject.batch, queries=cap if mine else None)
        try:
            trial = _Trial(subject, cap=None if mine else cap, budget=budget)
        except BudgetSpent:
            wrong.append(f"a cap of {cap} ended the run without a result")
            continue
        said.append(str(cap))
        if trial.counting.rows > cap:
            wrong.append(f"{trial.counting.rows} rows were asked about under a cap of {cap}")
        if trial.result.verdict is Verdict.PASS:
            wrong.append(f"cut short by a cap of {cap}, the model passes")
    return _check("query-cap", not wrong, "; ".join(wrong) or f"caps of {', '.join(said)} were kept and told")


def _access(subject: Subject) -> Iterator[Check]:
    needed = subject.make().needs
    lower = [access for access in Access if not access.allows(needed)]
    if not lower:
        return
    wrong = []
    for access in lower:
        counting = _counted(subject.predictor)
        target = Target(counting, subject.spec, access=access)
        try:
            subject.make().run(target, subject.data, Budget(batch=subject.batch), subject.seed)
            wrong.append(f"it ran with {access.value}")
        except AccessDenied:
            if counting.rows:
                wrong.append(f"it asked {counting.rows} rows before it noticed that it has {access.value} alone")
    detail = "; ".join(wrong) or f"it needs {needed.value} and refuses less"
    yield _check("access", not wrong, detail)


def _powerless(subject: Subject) -> Iterator[Check]:
    attack: Any = subject.make() if subject.powerless is None else subject.powerless()
    if subject.powerless is None:
        ball = getattr(attack, "ball", None)
        if ball is None or not hasattr(ball, "radius"):
            return
        attack = dataclasses.replace(attack, ball=dataclasses.replace(ball, radius=0.0))
    result = _Trial(subject, attack=attack).result
    yield _check("powerless", result.rate in (0.0, None), f"with nothing to change its success is {result.rate}")


class _Counting:
    """A predictor that counts the rows that its model really answers."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.rows = 0

    @property
    def classes(self) -> int:
        return self.predictor.classes

    @property
    def gives(self) -> Gives:
        return self.predictor.gives

    def answer(self, x: Inputs) -> npt.NDArray[Any]:
        self.rows += len(x)
        return self.predictor.answer(x)


class _CountingDifferentiable(_Counting):
    def network(self) -> nn.Module:
        assert isinstance(self.predictor, Differentiable)
        return _CountingNetwork(self.predictor.network(), self)


class _CountingNetwork(nn.Module):
    def __init__(self, module: nn.Module, counter: _Counting) -> None:
        super().__init__()
        self.module = module
        self.counter = counter
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.counter.rows += len(x)
        answers: torch.Tensor = self.module(x)
        return answers


def _counted(predictor: Predictor) -> _Counting:
    return _CountingDifferentiable(predictor) if isinstance(predictor, Differentiable) else _Counting(predictor)


def _arrays(data: Any) -> dict[str, object]:
    """The contents of all arrays of some data, by name, to see whether one was written on."""
    if isinstance(data, np.ndarray):
        return {"data": data.tolist() if data.dtype == object else data.tobytes()}
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        data = {entry.name: getattr(data, entry.name) for entry in dataclasses.fields(data)}
    if isinstance(data, dict):
        parts: dict[str, Any] = data
        return {f"{name}.{inner}": value for name, part in parts.items() for inner, value in _arrays(part).items()}
    return {}


def _global_state() -> dict[str, object]:
    """Where the generators stand that everybody shares: whoever draws from one cannot be repeated."""
    # Only the state is read; nothing is drawn.
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {"torch": torch.get_rng_state().numpy().tobytes(), "numpy": (name, np.asarray(keys).tobytes(), *rest)}


def _check(name: str, passed: bool, detail: str) -> Check:
    return Check(name=name, outcome=Verdict.PASS if passed else Verdict.FAIL, detail=detail)
