"""Membership from predicted classes alone: models hold on to what they were trained on when it is disturbed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt
from torch import nn

from wardline.attacks.membership.candidates import Candidates
from wardline.attacks.membership.control import memoriser
from wardline.attacks.membership.driver import (
    Limits,
    MembershipData,
    Sides,
    UnusableAnswersError,
    attack_membership,
    shaped,
    sides_of,
)
from wardline.attacks.membership.scores import Array, unit_means
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import NoProgress, Progress, Seeds
from wardline.core.checks import at_least
from wardline.models import build
from wardline.models.predictor import Inputs
from wardline.models.torch_predictor import TorchPredictor

Disturbance: TypeAlias = Literal["boundary", "noise", "shift"]

_SILENT = NoProgress()
_LADDER = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Standard deviations of noise, in units of each feature's own spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOnly:
    """Membership from how far a row can be disturbed before its predicted class leaves its true one.

    A row that is predicted wrongly as it stands scores lowest, so the attack contains the one that calls rightly
    predicted rows members.

    Attributes:
        disturbance: ``boundary`` walks to rows that are predicted otherwise and halves the step where the class
            changes, so it estimates the distance to the decision boundary; ``noise`` counts how many noisy copies
            keep the class; ``shift`` counts shifted copies of an image.
        partners: rows that are walked to (boundary), noisy copies at each of five strengths (noise), or pixels
            shifted at most (shift); at least 1.
        halvings: of each walk (boundary), at least 1.
        limits: what is reported, and on how many.

    References:
        Choquette-Choo, Tramer, Carlini, Papernot 2021, sections 3 and 4 (the boundary there is found by HopSkipJump;
        walking to rows of other classes needs no gradient estimate, and far fewer queries).
    """

    disturbance: Disturbance = "boundary"
    partners: int = 4
    halvings: int = 8
    limits: Limits = field(default_factory=lambda: Limits(max_candidates=1000))

    def __post_init__(self) -> None:
        at_least("partners", self.partners, 1)
        at_least("halvings", self.halvings, 1)

    @property
    def id(self) -> str:
        """``membership.label_only``."""
        return "membership.label_only"

    @property
    def needs(self) -> Access:
        """Labels."""
        return Access.LABELS

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return "Choquette-Choo, Tramer, Carlini, Papernot 2021, sections 3 and 4"

    @property
    def prior(self) -> str:
        """What the adversary knows beforehand."""
        return "the candidates with their true classes, and rows that were surely not trained on to set the threshold"

    def run(
        self, target: Target, data: MembershipData, budget: Budget, seed: int, *, progress: Progress = _SILENT
    ) -> AttackResult:
        """Attack; see `wardline.attacks.membership.driver.attack_membership`."""
        return attack_membership(self, target, data, budget=budget, seed=seed, progress=progress)

    def score(
        self, target: Target, candidates: Candidates, data: MembershipData, *, seeds: Seeds, progress: Progress
    ) -> Sides:
        """Disturb every candidate."""
        del data, progress
        examples = candidates.examples
        x = shaped(target, examples.x)
        labels = target.labels(x)
        if (labels < 0).any():
            raise UnusableAnswersError(f"{int((labels < 0).sum())} of {len(x)} rows got an answer that is no number")
        right = labels == examples.y
        scores = np.full(len(x), -1.0)
        kept = np.flatnonzero(right)
        scores[kept] = self._endurance(target, x, labels, kept, seeds)
        units = examples.n_units
        by_unit = unit_means(right.astype(np.float64), examples.unit, units)
        details: dict[str, object] = {
            "disturbance": self.disturbance,
            # What needs no disturbance: call a member what is predicted rightly (Yeom et al. 2018, section 3.1).
            "accuracy_on_members": float(by_unit[: candidates.members].mean()),
            "accuracy_on_non_members": float(by_unit[candidates.members :].mean()),
        }
        return sides_of(unit_means(scores, examples.unit, units), candidates.members, details)

    def control(
        self, target: Target, candidates: Candidates, recipe: ReferenceRecipe, *, seeds: Seeds, progress: Progress
    ) -> Sides:
        """The same questions to a model of the same architecture that memorises random labels."""
        made = memoriser(candidates.examples, candidates.members, recipe=recipe, seeds=seeds)
        network = build(recipe.architecture)
        network.load_state_dict({name: value[0] for name, value in made.stack.parameters.items()})
        predictor = TorchPredictor(nn.Sequential(nn.Flatten(), network), classes=recipe.architecture.classes)
        # Its own ledger counts no queries of the model under attack; the budget of those is not spent on it.
        other = Target(predictor, target.spec, access=Access.LABELS, name="control")
        empty = made.examples.take(np.zeros(0, dtype=np.int64))
        inner = Candidates(examples=made.examples, members=made.members, companions=empty)
        data = MembershipData(members=made.examples, non_members=made.examples)
        return self.score(other, inner, data, seeds=seeds, progress=progress)

    def _endurance(
        self, target: Target, x: Inputs, labels: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], seeds: Seeds
    ) -> Array:
        match self.disturbance:
            case "boundary":
                return self._distances(target, x, labels, kept)
            case "noise":
                return self._noisy(target, x, labels, kept, seeds)
            case "shift":
                return self._shifted(target, x, labels, kept)
            case _:
                assert_never(self.disturbance)

    def _distances(
        self, target: Target, x: Inputs, labels: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]
    ) -> Array:
        """The shortest of some walks to rows that are predicted as another class."""
        flat = x.reshape(len(x), -1).astype(np.float64)
        spread = _spread(flat)
        flat = flat / spread
        squares = (flat**2).sum(axis=1)
        best = np.full(len(kept), np.inf)
        order = np.empty((len(kept), 0), dtype=np.int64)
        if len(kept):
            apart = squares[kept, None] + squares[None] - 2 * flat[kept] @ flat.T
            apart[labels[kept, None] == labels[None]] = np.inf
            order = np.argsort(apart, axis=1, kind="stable")[:, : self.partners]
        for partner in order.T:
            reachable = labels[partner] != labels[kept]
            low, high = np.zeros(len(kept)), np.ones(len(kept))
            for _ in range(self.halvings):
                middle = (low + high) / 2
                points = _between(target, x[kept], x[partner], middle)
                same = target.labels(points) == labels[kept]
                low, high = np.where(same, middle, low), np.where(same, high, middle)
            walked = high * np.linalg.norm(flat[partner] - flat[kept], axis=1)
            best = np.where(reachable, np.minimum(best, walked), best)
        # Where the model knows one class only, no boundary was met: all rows are equally far from it.
        return np.where(np.isfinite(best), best, np.sqrt(flat.shape[1]))

    def _noisy(
        self, target: Target, x: Inputs, labels: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], seeds: Seeds
    ) -> Array:
        """The share of noisy copies that keep their class."""
        generator = seeds.numpy("membership.noise")
        spread = _spread(x.reshape(len(x), -1)).reshape(1, *x.shape[1:])
        kept_class = np.zeros(len(kept))
        for strength in _LADDER:
            for _ in range(self.partners):
                noise = strength * spread * generator.normal(size=(len(kept), *x.shape[1:]))
                points = _admissible(target, (x[kept] + noise).astype(np.float32), x[kept])
                kept_class += target.labels(points) == labels[kept]
        return kept_class / (len(_LADDER) * self.partners)

    def _shifted(self, target: Target, x: Inputs, labels: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]) -> Array:
        """The share of shifted copies that keep their class; the edge is repeated."""
        if x.ndim != 4:
            raise ValueError("shifts need images, [rows, channels, height, width]; choose boundary or noise")
        reach = self.partners
        padded = np.pad(x[kept], ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
        height, width = x.shape[2:]
        shifts = [(d, e) for d in range(-reach, reach + 1) for e in range(-reach, reach + 1) if abs(d) + abs(e) > 0]
        kept_class = np.zeros(len(kept))
        for down, right in shifts:
            moved = padded[:, :, reach + down : reach + down + height, reach + right : reach + right + width]
            kept_class += target.labels(np.ascontiguousarray(moved)) == labels[kept]
        return kept_class / len(shifts)


def _spread(flat: Inputs) -> npt.NDArray[np.float64]:
    """Standard deviation of each feature; 1 where it does not vary."""
    deviation: npt.NDArray[np.float64] = flat.astype(np.float64).std(axis=0)
    return np.where(deviation > 0, deviation, 1.0)


def _between(target: Target, start: Inputs, end: Inputs, share: Array) -> Inputs:
    weight = share.reshape(-1, *[1] * (start.ndim - 1))
    return _admissible(target, (start + weight * (end - start)).astype(np.float32), start)


def _admissible(target: Target, points: Inputs, original: Inputs) -> Inputs:
    """The nearest rows that the target takes: an endpoint may refuse others. Who only asks may ask about anybody."""
    if not isinstance(target.spec, InputSpec):
        return points
    return dataclasses.replace(target.spec, mutable=None).repair(points, original)
