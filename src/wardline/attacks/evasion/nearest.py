"""Attacks that look for the nearest misread input: what they share, and the curve that their distances draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wardline.attacks.evasion.box import Box
from wardline.attacks.evasion.distances import SeeksNearest, Sizes, quantiles
from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.result import AttackResult
from wardline.attacks.protocol.target import Target
from wardline.robust.ball import Ball

_POINTS = 17  # of the curve


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
        target: what is attacked.
    """

    def __init__(self, target: Target, batch: Batch, ball: Ball) -> None:
        self.ball = ball
        bounds = Box.of(target, batch, Ball(norm="l2", radius=0.0))  # l2: bounds that the radius does not cut
        spread = float((bounds.high - bounds.low).flatten(1).sum(dim=1).max())
        self.box = dataclasses.replace(bounds, ball=Ball(norm=ball.norm, radius=spread))
        self.distance = torch.full((len(bounds),), torch.inf)
        self.found = bounds.x.clone()
        self.target = target
        self._batch = batch

    def offer(self, rows: Tensor, changed: Tensor) -> None:
        """Keep those of these misread inputs that are nearer than what their rows had."""
        sizes = self.ball.size(changed - self.box.x[rows])
        nearer = sizes < self.distance[rows]
        rows, changed, sizes = rows[nearer], changed[nearer], sizes[nearer]
        self.distance[rows], self.found[rows] = sizes, changed.detach()
        inside = sizes <= self.ball.radius
        if inside.any():
            self.box.keep(rows[inside], changed[inside])

    def sizes(self) -> Sizes:
        """How far each row's nearest find is: [rows]."""
        return self.distance.double().numpy()

    def confirm(self) -> None:
        """Ask the model as it is deployed about every find; what it reads rightly was none."""
        rows = torch.nonzero(self.distance.isfinite())[:, 0]
        if len(rows):
            labels = self.target.labels(self.found[rows].numpy())
            right = rows[torch.from_numpy((labels < 0) | (labels == self._batch.y[rows.numpy()]))]
            self.distance[right] = torch.inf


class NearestAttack(SeeksNearest[Nearest]):
    """An attack with gradients that looks for the nearest misread input.

    Its `run` adds to `details` ``distance`` (the norm; quantiles over the examples that were attacked, None where no
    misread input was found for that many) and ``curve`` (radius, accuracy of all examples that were begun under a
    change of at most that size, its interval).
    """

    __slots__ = ()

    def begin(self, target: Target, batch: Batch) -> Nearest:
        """Nothing found yet."""
        return Nearest(target, batch, self.ball)

    def told(self, searches: Sequence[Nearest], distance: Sizes, result: AttackResult) -> dict[str, object]:
        """Distances, and the accuracy at every radius."""
        if not len(distance):
            return {"distance": {"norm": self.ball.norm}, "curve": []}
        finite = distance[np.isfinite(distance)]
        farthest = max(float(finite.max()) if len(finite) else 0.0, self.ball.radius)
        begun = int(result.details["examples"])
        curve = []
        for radius in np.linspace(0.0, farthest, _POINTS).tolist():
            robust = int((distance > radius).sum())
            curve.append({"radius": radius, "accuracy": robust / begun, "interval": clopper_pearson(robust, begun)})
        return {
            "distance": {
                "norm": self.ball.norm,
                "found": len(finite),
                "quantiles": quantiles(distance),
            },
            "curve": curve,
        }
