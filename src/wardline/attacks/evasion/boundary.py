"""The boundary attack: a random walk along the decision boundary towards the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from wardline.attacks.evasion.decisions import (
    UNIT,
    DecisionAttack,
    Decisions,
    Floats,
    Rows,
)
from wardline.attacks.protocol.target import Access
from wardline.core.checks import at_least
from wardline.robust.ball import Ball

_SIDEWAYS = 5  # every so many steps the sideways part is asked about by itself
_WINDOW = 20  # answers between two changes of a step size
_GROWTH = 1.5
_STILL = 1e-7
_NOTED = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary(DecisionAttack):
    """The boundary attack: the oldest that sees labels alone. It asks more than HopSkipJump for the same distance.

    Attributes:
        ball: within what a find counts as a success, of norm ``l2``: the walk is on spheres.
        queries: the most questions for one example, at least 10.
        sideways: the first step around the original, as a share of the distance to it.
        forwards: the first step towards it, likewise.

    Raises:
        ValueError: for another norm or a number out of range.

    References: Brendel, Rauber and Bethge 2018, section 2 and algorithm 1.
    """

    ball: Ball = UNIT
    queries: int = 5000
    sideways: float = 0.05
    forwards: float = 0.05
    id: ClassVar[str] = "evasion.boundary"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Brendel, Rauber and Bethge 2018, algorithm 1"

    def __post_init__(self) -> None:
        if self.ball.norm != "l2":
            raise ValueError("the boundary attack knows the norm l2 alone")
        at_least("queries", self.queries, 10)
        if not (0 < self.sideways < 1 and 0 < self.forwards < 1):
            raise ValueError("first steps are shares of a distance, between 0 and 1")

    def walk(self, decisions: Decisions) -> None:
        """Step around the original and towards it; keep what is of another class; adapt the lengths of both steps."""
        rng = decisions.batch.seeds.numpy("boundary")
        rows = decisions.start()
        steps = _Steps(rows=len(decisions.x), sideways=self.sideways, forwards=self.forwards)
        count = 0
        while True:
            ask_sideways = count % _SIDEWAYS == 0
            rows = rows[(decisions.left()[rows] >= 1 + ask_sideways) & (steps.forwards[rows] > _STILL)]
            if not len(rows):
                decisions.note()
                return
            around, forward = _proposal(decisions, rows, steps, rng)
            if ask_sideways:
                steps.tell_sideways(rows, decisions.try_points(rows, around))
            steps.tell_forwards(rows, decisions.try_points(rows, forward))
            count += 1
            if count % _NOTED == 0:
                decisions.note()


def _proposal(decisions: Decisions, rows: Rows, steps: _Steps, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A point on the sphere around the original, and the one from there towards it."""
    originals = decisions.x[rows]
    away = decisions.nearest[rows] - originals
    distance = np.linalg.norm(away, axis=1, keepdims=True).astype(np.float32)
    unit = away / np.maximum(distance, np.finfo(np.float32).tiny)
    noise: Floats = rng.standard_normal(away.shape, dtype=np.float32)
    if decisions.mutable is not None:
        noise *= decisions.mutable
    noise -= (noise * unit).sum(axis=1, keepdims=True) * unit
    sideways = steps.sideways[rows, None].astype(np.float32)
    noise *= sideways * distance / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    noise += away
    noise /= np.sqrt(1 + sideways**2)
    noise += originals
    around = decisions.allowed(rows, noise[:, None])[:, 0]
    # Clipping may have brought it nearer already; the step forwards makes up what is missing.
    now = np.linalg.norm(around - originals, axis=1, keepdims=True).astype(np.float32)
    wanted = (1 - steps.forwards[rows, None].astype(np.float32)) * distance
    shrink = np.minimum(1, wanted / np.maximum(now, np.finfo(np.float32).tiny))
    forward: Floats = originals + shrink * (around - originals)
    return around, forward


class _Steps:
    """The lengths of both steps of each example, adapted so that about half and a sixth of them succeed."""

    def __init__(self, *, rows: int, sideways: float, forwards: float) -> None:
        self.sideways = np.full(rows, sideways)
        self.forwards = np.full(rows, forwards)
        self._asked = np.zeros((2, rows), dtype=np.int64)
        self._won = np.zeros((2, rows), dtype=np.int64)

    def tell_sideways(self, rows: Rows, found: npt.NDArray[np.bool_]) -> None:
        """A boundary that is flat at this scale lets half of the steps pass: then longer ones may as well."""
        for chosen, factor in self._judge(0, rows, found, low=0.2, high=0.5):
            self.sideways[chosen] = np.minimum(self.sideways[chosen] * factor, 0.9)
            self.forwards[chosen] = np.minimum(self.forwards[chosen] * factor, 0.9)

    def tell_forwards(self, rows: Rows, found: npt.NDArray[np.bool_]) -> None:
        """Steps forwards that seldom succeed are too long."""
        for chosen, factor in self._judge(1, rows, found, low=0.1, high=0.25):
            self.forwards[chosen] = np.minimum(self.forwards[chosen] * factor, 0.9)

    def _judge(
        self, kind: int, rows: Rows, found: npt.NDArray[np.bool_], *, low: float, high: float
    ) -> tuple[tuple[Rows, float], ...]:
        self._asked[kind, rows] += 1
        self._won[kind, rows] += found
        full = rows[self._asked[kind, rows] >= _WINDOW]
        rate = self._won[kind, full] / np.maximum(self._asked[kind, full], 1)
        self._asked[kind, full] = self._won[kind, full] = 0
        return (full[rate > high], _GROWTH), (full[rate < low], 1 / _GROWTH)
