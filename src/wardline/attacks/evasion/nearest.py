"""Attacks that look for the nearest misread input: what they share, and the curve that their distances draw."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wardline.attacks.evasion.box import Box
from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.models.predictor import Inputs
from wardline.robust.ball import Ball

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_POINTS = 17  # of the curve

Sizes = npt.NDArray[np.float64]


class Nearest:
    """The nearest misread input of each row so far.

    Args:
        target: what is attacked.
        batch: the examples; finds within the ball are written into `batch.best` at once.
        ball: its norm is the distance, its radius the line up to which a find is a success.

    Attributes:
        box: the batch with the bounds of the specification; its ball holds all of them, so nothing else confines it.
        ball: the one that counts.
        distance: of the nearest find, [rows]; infinite where there is none.
        found: the nearest find, [rows, ...]; the original where there is none.
    """

    def __init__(self, target: Target, batch: Batch, ball: Ball) -> None:
        self.ball = ball
        bounds = Box.of(target, batch, Ball(norm="l2", radius=0.0))  # l2: bounds that the radius does not cut
        spread = float((bounds.high - bounds.low).flatten(1).sum(dim=1).max())
        self.box = dataclasses.replace(bounds, ball=Ball(norm=ball.norm, radius=spread))
        self.distance = torch.full((len(bounds),), torch.inf)
        self.found = bounds.x.clone()
        self._target, self._batch = target, batch

    def offer(self, rows: Tensor, changed: Tensor) -> None:
        """Keep those of these misread inputs that are nearer than what their rows had."""
        sizes = self.ball.size(changed - self.box.x[rows])
        nearer = sizes < self.distance[rows]
        rows, changed, sizes = rows[nearer], changed[nearer], sizes[nearer]
        self.distance[rows], self.found[rows] = sizes, changed.detach()
        inside = sizes <= self.ball.radius
        if inside.any():
            self.box.keep(rows[inside], changed[inside])

    def confirm(self) -> None:
        """Ask the model as it is deployed about every find; what it reads rightly was none."""
        rows = torch.nonzero(self.distance.isfinite())[:, 0]
        if len(rows):
            labels = self._target.labels(self.found[rows].numpy())
            right = rows[torch.from_numpy((labels < 0) | (labels == self._batch.y[rows.numpy()]))]
            self.distance[right] = torch.inf


class NearestAttack(Protocol):
    """An attack that looks for the nearest misread input."""

    @property
    def id(self) -> str:
        """Stands for it."""

    @property
    def needs(self) -> Access:
        """The least access it works with."""

    @property
    def paper(self) -> str:
        """Author, year, section."""

    @property
    def ball(self) -> Ball:
        """Within what a find counts as a success."""

    def threat(self, target: Target) -> Threat:
        """What the adversary can do."""

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each change stays within the ball."""

    def search(self, target: Target, nearest: Nearest, batch: Batch) -> tuple[Check, ...]:
        """Offer misread inputs to `nearest`."""


def craft_nearest(attack: NearestAttack, target: Target, batch: Batch) -> tuple[Check, ...]:
    """The `craft` of every such attack."""
    return attack.search(target, Nearest(target, batch, attack.ball), batch)


def run_nearest(attack: NearestAttack, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
    """Run such an attack and add distances and the accuracy at every radius to what the driver tells.

    `details` gains ``distance`` (the norm; quantiles over the examples that were attacked, None where no misread input
    was found for that many) and ``curve`` (radius, accuracy of all examples that were begun under a change of at most
    that size, its interval). `examples` gains ``distance``: [rows], NaN for what was not attacked, infinite where
    nothing was found. Every distance is that of an input that the model as deployed was asked about and misread; where
    the budget ended first, it is that of the search alone, and the result's checks say so.
    """
    recorder = _Recorder(attack=attack)
    result = attack_examples(recorder, target, data, budget=budget, seed=seed)
    sizes = [one.distance.double().numpy() for one in recorder.searches]
    distance = np.concatenate(sizes) if sizes else np.empty(0)
    every = np.full(len(data), np.nan)
    every[np.flatnonzero(result.examples["right"])[: len(distance)]] = distance
    return dataclasses.replace(
        result,
        details={**result.details, **_told(attack.ball, distance, result)},
        examples={**result.examples, "distance": every},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder:
    """Passes everything on to the attack and keeps its searches, also one that the budget ended."""

    attack: NearestAttack
    searches: list[Nearest] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.attack.id

    @property
    def needs(self) -> Access:
        return self.attack.needs

    @property
    def paper(self) -> str:
        return self.attack.paper

    def threat(self, target: Target) -> Threat:
        return self.attack.threat(target)

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        return self.attack.within(changed, original)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        nearest = Nearest(target, batch, self.attack.ball)
        self.searches.append(nearest)
        checks = self.attack.search(target, nearest, batch)
        nearest.confirm()
        return checks


def _told(ball: Ball, distance: Sizes, result: AttackResult) -> dict[str, object]:
    if not len(distance):
        return {"distance": {"norm": ball.norm}, "curve": []}
    # Not interpolated: between a number and infinity there is nothing.
    quantiles = {f"{q:g}": float(np.quantile(distance, q, method="lower")) for q in _QUANTILES}
    finite = distance[np.isfinite(distance)]
    farthest = max(float(finite.max()) if len(finite) else 0.0, ball.radius)
    begun = int(result.details["examples"])
    curve = []
    for radius in np.linspace(0.0, farthest, _POINTS).tolist():
        robust = int((distance > radius).sum())
        curve.append({"radius": radius, "accuracy": robust / begun, "interval": clopper_pearson(robust, begun)})
    return {
        "distance": {
            "norm": ball.norm,
            "found": len(finite),
            "quantiles": {q: size if np.isfinite(size) else None for q, size in quantiles.items()},
        },
        "curve": curve,
    }
