"""Linear models as systems of equations: their weights follow from few answers, up to what cannot matter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from wardline.attacks.extraction.linear_solvers import Numbers, from_boundaries, from_logits, from_probabilities
from wardline.attacks.extraction.substitute import Flat
from wardline.attacks.extraction.theft import ExtractionData, Theft, run_theft
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import UsageError, Verdict
from wardline.core.checks import at_least
from wardline.models import Logistic, TrainedModel, columns
from wardline.models.predictor import Inputs
from wardline.models.torch_predictor import TorchPredictor

_SPARE = 16  # questions that test the first solution
_TOLERANCE = 1e-3  # of logits and probabilities: beyond it, answers were rounded or the model is not linear
_ROUNDING = 0.08  # of probabilities: rounding to one decimal moves them by 0.05, and the fit by a little more
_SATURATED = -60.0  # logarithms of probabilities below this are those of a zero
_GENEROUS = 20  # times as many questions as unknowns, where answers were rounded
_FOR_EACH_POINT = 60  # questions: 24 bisections, ends that turn out to be of one class, points that repeat others
_BISECTIONS = 24  # the precision of 32-bit inputs
_TRIES = 64  # pairs that are tried at once

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Equations:
    """Solves for the weights of a linear, logistic or softmax model.

    From scores: logits are linear in the inputs, so as many answers as an input has numbers, and one, give them all.
    Where a test shows that the answers were rounded, more are asked and the weights of greatest likelihood are taken.
    From labels alone: bisection between inputs of two classes gives points of the boundary between them, on which both
    logits are equal; enough such points give all weights up to a common factor, which changes no class.

    Weights along which admissible inputs do not vary (the common part of a one-hot group) cannot be known and do not
    matter; the smallest that fit are taken. From labels alone, groups and steps are kept as in some input of the pool
    and only continuous features are moved.

    No copy of a model that is not linear fits its answers; the checks ``linear`` and ``copy-fits`` say so.

    Attributes:
        queries: the most questions; None takes 20 for each unknown of a class from scores, and from labels 60 for each
            unknown of each class but one.

    Raises:
        ValueError: for a number out of range.

    References: Tramèr, Zhang, Juels, Reiter and Ristenpart 2016, sections 4.1, 6 and 7; Lowd and Meek 2005 (line
    search), here for several classes by one homogeneous system.
    """

    queries: int | None = None
    id: ClassVar[str] = "extraction.equations"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Tramèr, Zhang, Juels, Reiter and Ristenpart 2016, section 4.1; Lowd and Meek 2005"

    def __post_init__(self) -> None:
        if self.queries is not None:
            at_least("queries", self.queries, 2)

    def run(self, target: Target, data: ExtractionData, budget: Budget, seed: int) -> AttackResult:
        """Copy the target; ``copy`` in `examples` is a predictor, whose module holds the weights found.

        Raises:
            UsageError: from labels alone, if no feature is continuous.
        """
        threat = Threat(
            goal="a copy",
            access=target.access,
            limits="any admissible input may be asked about",
            knowledge="that the model is linear in its inputs",
        )
        return run_theft(self, target, data, threat=threat, budget=budget, seed=seed)

    def steal(self, theft: Theft) -> None:
        """Ask and solve."""
        if theft.access is Access.LABELS:
            self._from_labels(theft)
        else:
            self._from_scores(theft)

    def _from_scores(self, theft: Theft) -> None:
        unknowns = theft.spec.features + 1
        rng = theft.seeds.numpy("equations.rows")
        total = theft.allowance(self.queries or _GENEROUS * unknowns + 2 * _SPARE)
        centre, spread = None, 1.0
        first = min(unknowns + _SPARE, total)
        rows = draw(theft.spec, first, rng)
        scores = theft.ask_scores(rows)
        design = _Design(theft.spec)
        if _usable(scores).all():
            weights = from_logits(design.of(rows[:unknowns]), scores[:unknowns])
            if _error(weights, design.of(rows[unknowns:]), scores[unknowns:]) <= _TOLERANCE:
                weights = from_logits(design.of(rows), scores)
                theft.hand_in(design.predictor(weights, theft))
                return
        # Rounded. Answers that say 0 and 1 tell little, so the questions gather where the model is least sure.
        while True:
            asked, answers = theft.transcript()
            weights = from_probabilities(design.of(asked), answers)
            theft.hand_in(design.predictor(weights, theft))
            theft.doubts[:] = [_linearity(weights, design.of(asked), answers, rounded=_rounded(scores))]
            left = total - theft.queries
            if left <= 0:
                return
            certain = answers.max(axis=1)
            centre = asked[int(certain.argmin())]
            sure = float((certain[-unknowns:] > 0.99).mean())
            spread = spread / 4 if sure > 0.5 else spread
            rows = draw(theft.spec, min(left, 2 * len(asked)), rng, around=centre, spread=spread)
            theft.ask_scores(rows)

    def _from_labels(self, theft: Theft) -> None:
        spec, rng = theft.spec, theft.seeds.numpy("equations.labels")
        free = _free(spec)
        if not free.any():
            raise UsageError(
                "bisection needs a continuous feature, and these inputs have groups and steps alone",
                hint="give the attack scores, or use extraction.knockoff",
            )
        unknowns = (theft.classes - 1) * (spec.features + 1)
        total = theft.allowance(self.queries or _FOR_EACH_POINT * unknowns)
        design = _Design(spec)
        points, pairs = np.zeros((0, *spec.shape), dtype=np.float32), np.zeros((0, 2), dtype=np.int64)
        wanted, known = math.ceil(1.1 * unknowns), False
        while not known and total - theft.queries >= 2 + _BISECTIONS:
            while len(points) < wanted and (affordable := (total - theft.queries) // (2 + _BISECTIONS)):
                point, pair = _bisect(theft, min(_TRIES, affordable), free, rng)
                points, pairs = np.concatenate([points, point]), np.concatenate([pairs, pair])
            if not len(points):
                return  # the model names one class wherever it was asked: no boundary was found
            asked, answers = theft.transcript()
            weights, known = from_boundaries(
                design.of(points), pairs, classes=theft.classes, rows=design.of(asked), labels=answers.argmax(axis=1)
            )
            theft.hand_in(design.predictor(weights, theft))
            wanted = math.ceil(1.2 * len(points))  # of some pairs of classes there are more points than help


def draw(
    spec: InputSpec, count: int, rng: np.random.Generator, *, around: Inputs | None = None, spread: float = 1.0
) -> Floats:
    """Admissible inputs drawn from the whole range, or from a box of this share of it around one: [count, *shape].

    What has groups or steps is drawn from all of its values.
    """
    low, high = np.asarray(spec.low), np.asarray(spec.high)
    drawn = low + rng.random((count, *spec.shape), dtype=np.float32) * (high - low)
    if around is not None:
        free = _free(spec).reshape(spec.shape)
        drawn = np.where(free, around + spread * (drawn - around), drawn)
    return replace(spec, mutable=None).repair(drawn, np.full_like(drawn, np.nan))


def _free(spec: InputSpec) -> npt.NDArray[np.bool_]:
    """Which features, flat, take any value of their range."""
    free: npt.NDArray[np.bool_] = np.ravel(np.asarray(spec.steps) == 0).copy()
    free[[feature for group in spec.groups for feature in group]] = False
    return free


def _usable(scores: Floats) -> npt.NDArray[np.bool_]:
    lowest = scores.min(axis=1) - scores.max(axis=1)
    usable: npt.NDArray[np.bool_] = np.isfinite(scores).all(axis=1) & (lowest > _SATURATED)
    return usable


def _error(weights: Numbers, design: Numbers, scores: Floats) -> float:
    """The largest error of the centred logits."""
    if not len(scores):
        return np.inf
    centred = scores - scores.mean(axis=1, keepdims=True, dtype=np.float64)
    return float(np.abs(design @ weights - centred).max())


def _rounded(scores: Floats) -> bool:
    """Whether the probabilities behind these scores have at most five decimals."""
    digits = np.exp(scores.astype(np.float64)) * 1e5
    return bool((np.abs(digits - np.round(digits)) < 0.05).all())


def _linearity(weights: Numbers, design: Numbers, answers: Floats, *, rounded: bool) -> Check:
    """Whether a linear model gives these answers but for rounding; if not, a poor copy is no merit of the model's."""
    off = float(np.quantile(np.abs(softmax(design @ weights, axis=1) - answers), 0.95))
    return Check(
        name="linear",
        outcome=Verdict.PASS if off <= (_ROUNDING if rounded else _TOLERANCE) else Verdict.INCONCLUSIVE,
        detail=f"95 % of the answers are within {off:.2g} of those of the linear model that fits them best",
    )


def _bisect(theft: Theft, count: int, free: npt.NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Labels]:
    """Points on boundaries, and the two classes on their sides: [points, *shape], [points, 2].

    Each lies between an input of the pool, or a drawn one, and one that differs from it in continuous features.
    """
    spec, mask = theft.spec, free.reshape(theft.spec.shape)
    near = draw(spec, count, rng)
    known = rng.random(count) < 0.5  # half of them from the pool: natural categories, and classes that are rare
    near[known] = theft.pool[rng.integers(len(theft.pool), size=int(known.sum()))]
    far = np.where(mask, draw(spec, count, rng), near)
    ends = theft.ask_labels(np.concatenate([near, far]))
    if len(ends) != 2 * count or (ends < 0).any():
        return near[:0], np.zeros((0, 2), dtype=np.int64)
    here, there = ends[:count], ends[count:]
    kept = here != there
    near, far, here, there = near[kept], far[kept], here[kept], there[kept]
    for _ in range(_BISECTIONS if len(near) else 0):
        middle = (near + far) / 2
        labels = theft.ask_labels(middle)
        if len(labels) != len(middle) or (labels < 0).any():
            return near[:0], np.zeros((0, 2), dtype=np.int64)
        same = labels == here
        wide = (slice(None), *(None,) * len(spec.shape))
        near, far = np.where(same[wide], middle, near), np.where(same[wide], far, middle)
        there = np.where(same, there, labels)  # a third class in between: go on towards it
    return (near + far) / 2, np.stack([here, there], axis=1)


class _Design:
    """Inputs as rows of a system: features scaled to [-1, 1] by their range, and a constant."""

    def __init__(self, spec: InputSpec) -> None:
        self._low = np.ravel(spec.low).astype(np.float64)
        self._width = np.ravel(spec.high).astype(np.float64) - self._low

    def of(self, x: Inputs) -> Numbers:
        scaled = 2 * (x.reshape(len(x), len(self._low)).astype(np.float64) - self._low) / self._width - 1
        return np.hstack([scaled, np.ones((len(x), 1))])

    def predictor(self, weights: Numbers, theft: Theft) -> TorchPredictor:
        """The model with these weights [features + 1, classes], in terms of the inputs as they are."""
        slope = 2 * weights[:-1] / self._width[:, None]
        offset = weights[-1] - weights[:-1].sum(axis=0) - (slope * self._low[:, None]).sum(axis=0)
        architecture = Logistic(inputs=len(slope), classes=theft.classes)
        model = TrainedModel(
            architecture=architecture,
            parameters={"head.weight": slope.T.astype(np.float32), "head.bias": offset.astype(np.float32)},
            features=tuple(f"x{index}" for index in range(columns(architecture))),
            classes=tuple(str(index) for index in range(theft.classes)),
        )
        return TorchPredictor(Flat(model.module()), classes=theft.classes)
