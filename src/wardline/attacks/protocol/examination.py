"""What is wrong with a model, its inputs or its answers before any attack: reasons not to believe that it withstood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Check
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.models.answers import sums_to_one
from wardline.models.callable_predictor import Deciding
from wardline.models.predictor import Differentiable, Inputs, labels_of
from wardline.models.remote_predictor import RemotePredictor
from wardline.models.torch_predictor import TorchPredictor

_ROWS = 200
_ALONE = 12  # rows that are asked about one by one
_LEVEL = 0.999  # of the intervals that are compared: several comparisons are made
_ROUNDING = 1e-3  # of the spread of scores: what batching and threads may move
_NETWORK_TIES = 0.01  # share of rows whose label may flip by rounding alone

Answers = npt.NDArray[np.generic]


def preflight(target: Target, data: Labelled) -> tuple[Check, ...]:
    """Examine a model before it is attacked.

    At most 200 examples are asked about, each about a dozen times at most; every question is charged to the target's
    ledger. The examination belongs to whoever owns the model: it looks at scores and gradients whatever the adversary
    sees.

    Args:
        target: what will be attacked.
        data: examples with their true classes, as the model gets them in service.

    Returns:
        One check for each of: mode, bounds, finite answers, kind of scores, determinism, independence of the rest of
        a batch, decisions against scores, gradients against answers, preprocessing, and for a service what it did.
        Those that do not apply are left out. A check that is not passed must keep every result on this target from
        passing (`with_checks`).

    Guarantee:
        None: a model may be wrong in ways that these examples do not show. What is found was seen, and the figures
        are in each check.
    """
    order = np.linspace(0, len(data) - 1, min(_ROWS, len(data))).astype(np.int64)
    examined = _Examination(target, data.x[order], data.y[order])
    checks = [*examined.without_asking()]
    if any(check.outcome is Verdict.FAIL for check in checks):
        return tuple(checks)
    try:
        for check in examined.by_asking():
            checks.append(check)
    except BudgetSpent as spent:
        checks.append(_doubt("preflight-budget", f"not everything could be examined: {spent}"))
    service = target.predictor
    if isinstance(service, RemotePredictor):
        known = service.statistics
        trouble = known.refused + known.timeouts + known.failed + known.nonsense
        checks.append(_check("service", not trouble, str(known)))
    return tuple(checks)


def with_checks(result: AttackResult, checks: Sequence[Check]) -> AttackResult:
    """The result with what was found before the attack: a doubt there keeps it from passing."""
    return dataclasses.replace(result, checks=(*result.checks, *checks))


class _Examination:
    """One look at one model; the first answers are asked for once and compared with all the others."""

    def __init__(self, target: Target, x: Inputs, y: npt.NDArray[np.int64]) -> None:
        self.target, self.x, self.y = target, x, y
        self.gives = target.predictor.gives

    def ask(self, x: Inputs) -> Answers:
        self.target.ledger.charge(len(x))
        return self.target.predictor.answer(x)

    def without_asking(self) -> Iterator[Check]:
        try:
            self.target.spec.check(self.x)
        except ValueError as error:
            yield Check(name="inputs", outcome=Verdict.FAIL, detail=str(error))
        else:
            yield _check("inputs", True, f"{len(self.x)} examples are what the specification says")
        most = int(self.y.max())
        if most >= self.target.classes:
            detail = f"class {most} occurs, the model tells {self.target.classes} apart"
            yield Check(name="classes", outcome=Verdict.FAIL, detail=detail)

    def by_asking(self) -> Iterator[Check]:
        answers = self.ask(self.x)
        labels = labels_of(answers, self.gives)
        silent = int((labels < 0).sum())
        yield _check("finite-answers", not silent, f"{silent} of {len(labels)} answers are no number or no class")
        if silent == len(labels):
            return
        yield from self._mode()
        if self.gives != "labels":
            yield self._kind_of_scores(answers)
        yield self._repeated(answers)
        yield self._batching(answers)
        yield from self._decisions()
        yield from self._gradients(labels)
        yield from self._preprocessing(labels)

    def _mode(self) -> Iterator[Check]:
        predictor = self.target.predictor
        if not isinstance(predictor, TorchPredictor):
            return
        other = 0
        if predictor.was_training:
            # A module that nobody put into evaluation mode is at fault only if its mode changes what it says.
            self.target.ledger.charge(2 * len(self.x))
            rows, network = torch.from_numpy(self.x.astype(np.float32)), predictor.network()
            with torch.inference_mode(), torch.random.fork_rng(devices=[]):
                fixed, moving = network(rows), network.train()(rows)
            other = int((~torch.isclose(fixed, moving, rtol=1e-3, atol=1e-5, equal_nan=True)).any(dim=1).sum())
        yield _check(
            "evaluation-mode",
            not other,
            f"the model was handed over in training mode, in which it answers otherwise to {other} of {len(self.x)} "
            "inputs; it is attacked in evaluation mode, and the figures hold only if it is served like that"
            if other
            else "the model is in evaluation mode, or answers the same in both",
        )

    def _kind_of_scores(self, answers: Answers) -> Check:
        like = int(sums_to_one(answers).sum())
        if self.gives == "logits":
            return _check(
                "kind-of-scores",
                like < len(answers),
                f"{like} of {len(answers)} rows of what is said to be logits are probabilities: through a softmax "
                "gradients vanish; say that it gives probabilities"
                if like == len(answers)
                else "the logits are no probabilities",
            )
        fits = like == len(answers)
        detail = f"{like} of {len(answers)} rows of what is said to be probabilities sum to 1 and are not negative"
        return Check(name="kind-of-scores", outcome=Verdict.PASS if fits else Verdict.FAIL, detail=detail)

    def _repeated(self, answers: Answers) -> Check:
        moved, labels = self._differ(answers, self.ask(self.x))
        return _check(
            "deterministic",
            not moved,
            f"asked again, {moved} of {len(self.x)} answers are others, {labels} with another label"
            + ("; attack it with expectation over its randomness" if moved else ""),
        )

    def _batching(self, answers: Answers) -> Check:
        # Alone, and all in one batch of another order: either shows that a row's neighbours take part.
        alone = np.concatenate([self.ask(self.x[row : row + 1]) for row in range(min(_ALONE, len(self.x)))])
        moved, labels = self._differ(answers[: len(alone)], alone)
        turned = self.ask(self.x[::-1].copy())[::-1]
        more, others = self._differ(answers, turned)
        return _check(
            "batch-independent",
            not moved and not more,
            f"asked alone, {moved} of {len(alone)} answers are others ({labels} labels); in another order, "
            f"{more} of {len(self.x)} ({others} labels)",
        )

    def _decisions(self) -> Iterator[Check]:
        if isinstance(self.target.predictor, Deciding):
            self.target.ledger.charge(len(self.x))
            other = self.target.predictor.disagreements(self.x)
            detail = f"{other} of {len(self.x)} inputs are decided otherwise than their largest score says"
            yield _check("decides-by-scores", not other, detail)

    def _gradients(self, labels: npt.NDArray[np.int64]) -> Iterator[Check]:
        if self.x.dtype == object or not isinstance(self.target.predictor, Differentiable):
            return
        self.target.ledger.charge(len(self.x))
        with torch.inference_mode():
            shown = self.target.predictor.network()(torch.from_numpy(self.x.astype(np.float32))).argmax(dim=1).numpy()
        other = int((shown != labels)[labels >= 0].sum())
        yield _check(
            "network-is-the-model",
            other <= _NETWORK_TIES * len(labels),
            f"the network that gradients come from labels {other} of {len(labels)} inputs otherwise than the model",
        )

    def _preprocessing(self, labels: npt.NDArray[np.int64]) -> Iterator[Check]:
        right = int((labels == self.y).sum())
        chance = max(1.0 / self.target.classes, np.bincount(self.y).max() / len(self.y))
        found = clopper_pearson(right, len(self.y), level=_LEVEL)
        accuracy = right / len(self.y)
        if found.low <= chance:
            yield _check(
                "accuracy",
                False,
                f"accuracy {accuracy:.3f} {found} cannot be told from always naming one class ({chance:.3f})",
            )
        else:
            yield _check("accuracy", True, f"accuracy {accuracy:.3f} {found}, naming one class has {chance:.3f}")
        spec = self.target.spec
        if not isinstance(spec, InputSpec) or self.x.dtype != np.float32 or accuracy > 0.95:
            return
        best, better = "", 0
        for name, change in _rescalings(self.x):
            count = int((labels_of(self.ask(change(self.x)), self.gives) == self.y).sum())
            if count > better:
                best, better = name, count
        interval = clopper_pearson(better, len(self.y), level=_LEVEL)
        detail = f"accuracy {accuracy:.3f} as given, {better / len(self.y):.3f} {interval} with inputs as {best}"
        wrong = interval.low > found.high
        yield _check("preprocessing", not wrong, detail + ("; that is what the model was made for" if wrong else ""))

    def _differ(self, one: Answers, other: Answers) -> tuple[int, int]:
        """How many rows have other answers beyond rounding, and how many another label."""
        labels = int((labels_of(one, self.gives) != labels_of(other, self.gives)).sum())
        if self.gives == "labels":
            return labels, labels
        first, second = one.astype(np.float64), other.astype(np.float64)
        spread = np.nanmax(first) - np.nanmin(first) if np.isfinite(first).any() else 0.0
        near = np.isclose(first, second, rtol=0.0, atol=_ROUNDING * spread, equal_nan=True).all(axis=1)
        return int((~near).sum()), labels


def _rescalings(x: Inputs) -> Iterator[tuple[str, Callable[[Inputs], Inputs]]]:
    """Common ways to scale inputs, one of which somebody may have forgotten, or done twice."""
    axes = (0, *range(2, x.ndim))
    mean, spread = x.mean(axis=axes, keepdims=True), x.std(axis=axes, keepdims=True)
    spread = np.where(spread > 0, spread, 1)
    yield "255 x", lambda rows: (rows * 255).astype(np.float32)
    yield "x / 255", lambda rows: (rows / 255).astype(np.float32)
    yield "2 x - 1", lambda rows: (2 * rows - 1).astype(np.float32)
    yield "(x + 1) / 2", lambda rows: ((rows + 1) / 2).astype(np.float32)
    yield "1 - x", lambda rows: (1 - rows).astype(np.float32)
    yield "(x - mean) / standard deviation", lambda rows: ((rows - mean) / spread).astype(np.float32)


def _check(name: str, passed: bool, detail: str) -> Check:
    return Check(name=name, outcome=Verdict.PASS if passed else Verdict.INCONCLUSIVE, detail=detail)


def _doubt(name: str, detail: str) -> Check:
    return Check(name=name, outcome=Verdict.INCONCLUSIVE, detail=detail)
