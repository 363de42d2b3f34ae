"""HopSkipJump: walks along the decision boundary with gradients that are estimated from labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from wardline.attacks.evasion.decisions import (
    NUMBERS_AT_ONCE,
    UNIT,
    DecisionAttack,
    Decisions,
    Floats,
    Rows,
)
from wardline.attacks.protocol.target import Access
from wardline.core.checks import at_least
from wardline.robust.ball import Ball

_FIRST_STEP = 0.1  # of the range of values: the first probes have no distance yet to scale with
_HALVINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSkipJump(DecisionAttack):
    """HopSkipJump: the strongest attack in common use that sees labels alone.

    All examples of a batch advance together, so that each round asks the model once for all their probes.

    Attributes:
        ball: within what a find counts as a success; its norm (``l2`` or ``linf``) is the distance that is made small.
        queries: the most questions for one example, at least 10.
        first_probes: probes of the first gradient estimate; the t-th takes sqrt(t) times as many.

    Raises:
        ValueError: for another norm or a number out of range.

    References: Chen, Jordan and Wainwright 2020, algorithm 2; step sizes and baseline as in section IV.
    """

    ball: Ball = UNIT
    queries: int = 5000
    first_probes: int = 100
    id: ClassVar[str] = "evasion.hopskipjump"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Chen, Jordan and Wainwright 2020, algorithm 2"

    def __post_init__(self) -> None:
        if self.ball.norm == "l1":
            raise ValueError("HopSkipJump knows the norms l2 and linf")
        at_least("queries", self.queries, 10)
        at_least("first_probes", self.first_probes, 2)

    def walk(self, decisions: Decisions) -> None:
        """Start at some input of another class, then estimate, step and bisect until the questions are spent."""
        rng = decisions.batch.seeds.numpy("hopskipjump")
        rows = decisions.start()
        points = decisions.nearest.copy()  # each row's place on the boundary, always an input of another class
        points[rows] = _to_boundary(decisions, rows, points[rows])
        decisions.note()
        step = 0
        while True:
            step += 1
            probes = round(self.first_probes * step**0.5)
            reserve = 2 + _HALVINGS // 4  # an estimate that leaves nothing for a step is wasted
            rows = rows[decisions.left()[rows] >= probes + reserve]
            if not len(rows):
                return
            distance = decisions.size(points[rows] - decisions.x[rows])
            scale = self._probe_size(decisions, distance, first=step == 1)
            direction = self._direction(decisions, rows, points[rows], scale, probes, rng)
            moved = _step(decisions, rows, points[rows], direction, distance / step**0.5)
            points[rows] = _to_boundary(decisions, rows, moved)
            decisions.note()

    def _probe_size(self, decisions: Decisions, distance: npt.NDArray[np.float64], *, first: bool) -> Floats:
        """How long the probes are: longer than the error of the bisection, by d^0.5 (l2) or d (linf)."""
        if first:
            return np.full(len(distance), _FIRST_STEP * float(np.max(decisions.high - decisions.low)), np.float32)
        return np.asarray(np.maximum(distance / decisions.features, 1e-7), dtype=np.float32)

    def _direction(
        self, decisions: Decisions, rows: Rows, points: Floats, scale: Floats, probes: int, rng: np.random.Generator
    ) -> Floats:
        """The estimated direction into the other class: [rows, features], of Euclidean length 1 or signs."""
        width = points.shape[1]
        direction = np.empty_like(points)
        at_once = max(1, NUMBERS_AT_ONCE // (probes * width))
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            size, place = scale[part, None, None], points[part, None]
            shape = (len(points[part]), probes, width)
            if self.ball.norm == "l2":
                noise = rng.standard_normal(shape, dtype=np.float32)
            else:
                noise = 2 * rng.random(shape, dtype=np.float32) - 1
            if decisions.mutable is not None:
                noise *= decisions.mutable
            noise /= np.linalg.norm(noise, axis=2, keepdims=True)
            noise *= size
            noise += place
            noise = decisions.allowed(rows[part], noise)
            signs = np.where(decisions.leave(rows[part], noise), np.float32(1), np.float32(-1))
            noise -= place  # what the clipping left of it
            # The mean sign is taken off, which lowers the variance; where all agree it would leave nothing.
            mean = signs.mean(axis=1, keepdims=True)
            weights = np.where(np.abs(mean) < 1, signs - mean, signs)
            direction[part] = np.matmul(weights[:, None], noise)[:, 0]
        if self.ball.norm == "linf":
            return np.sign(direction)
        lengths: Floats = np.linalg.norm(direction, axis=1, keepdims=True)
        direction /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return direction


def _step(
    decisions: Decisions, rows: Rows, points: Floats, direction: Floats, length: npt.NDArray[np.float64]
) -> Floats:
    """Go along the direction, half as far each time until the point is of another class; stay where none is."""
    moved = points.copy()
    waiting = np.arange(len(rows))
    steps = length.astype(np.float32)[:, None] * direction
    for _ in range(_HALVINGS):
        waiting = waiting[decisions.left()[rows[waiting]] > 0]
        if not len(waiting):
            break
        there = decisions.allowed(rows[waiting], (points[waiting] + steps[waiting])[:, None])[:, 0]
        found = decisions.try_points(rows[waiting], there)
        moved[waiting[found]] = there[found]
        waiting = waiting[~found]
        steps[waiting] /= 2
    return moved


def _to_boundary(decisions: Decisions, rows: Rows, points: Floats) -> Floats:
    """Bisect between each original and its point of another class; the near end that is still of another class.

    In the Euclidean norm along the straight line; in the largest norm the point is clipped into ever smaller boxes
    around the original (algorithm 1 of the paper).
    """
    originals, d = decisions.x[rows], decisions.features
    straight = decisions.ball.norm == "l2"
    far = np.ones(len(rows)) if straight else decisions.size(points - originals)
    near = np.zeros(len(rows))
    # In units of `far`; below the resolution of 32-bit numbers a bisection would only repeat itself.
    precision = np.maximum(far * d**-1.5 if straight else far * float(d) ** -2.0, 1e-6 * far)
    kept = points.copy()
    waiting = np.arange(len(rows))
    while True:
        open_ = (far - near)[waiting] > precision[waiting]
        waiting = waiting[open_ & (decisions.left()[rows[waiting]] > 0)]
        if not len(waiting):
            return kept
        middle = (far[waiting] + near[waiting]) / 2
        share, from_ = middle.astype(np.float32)[:, None], originals[waiting]
        if straight:
            there = from_ + share * (points[waiting] - from_)
        else:
            there = np.clip(points[waiting], from_ - share, from_ + share)
        found = decisions.try_points(rows[waiting], there)
        far[waiting[found]] = middle[found]
        kept[waiting[found]] = there[found]
        near[waiting[~found]] = middle[~found]
