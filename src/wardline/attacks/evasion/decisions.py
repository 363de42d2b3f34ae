"""What the attacks share that see nothing but labels: questions, the nearest success so far, and curves of distance.

Such an attack walks along the boundary between two classes and tries to come near the original. So what it finds is a
distance for each example; success within a radius is one reading of it.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import binom

from wardline.attacks.evasion.distances import SeeksNearest, Sizes, if_finite, quantile, quantiles
from wardline.attacks.evasion.in_ball import InBall
from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.result import AttackResult, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Interval, UsageError, Verdict
from wardline.robust.ball import Ball

UNIT = Ball(norm="l2", radius=1.0)
"""For inputs whose scale is not known: a Euclidean distance of 1."""

NUMBERS_AT_ONCE = 1 << 21
"""Of 32 bits each: 8 MiB of probes, which still fit the cache of a processor."""

_NATURAL = 3  # inputs of other classes that are tried as a start
_NOISE = 50  # draws of noise that are tried where they fail
_FALLING = 0.9  # the last half of the questions shortened the median distance by more than a tenth
_CHECKPOINTS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Decisions:
    """Asks whether changed inputs leave their class, and keeps the nearest that does.

    Inputs are flat here. A probe is clipped to the bounds, and features that cannot be changed keep their value.

    Args:
        target: what is asked.
        batch: what is attacked; each find within the ball is written into `batch.best` at once.
        ball: its norm is the distance, its radius the line up to which a find is a success.
        queries: the most questions for one example.

    Attributes:
        x: the originals, [rows, features].
        nearest: the nearest input of another class so far; the original where there is none.
        distance: how far it is; infinite where there is none.
        spent: questions so far, [rows].
        trace: questions and distances at the ends of steps of the search, for curves.
    """

    def __init__(self, target: Target, batch: Batch, *, ball: Ball, queries: int) -> None:
        spec = target.spec
        if not isinstance(spec, InputSpec) or spec.groups or np.asarray(spec.steps).any():
            raise UsageError(
                "this attack moves freely between values, and these inputs have groups or steps",
                hint="use evasion.tabular for tables and the attacks of the family text for texts",
            )
        self.target, self.batch, self.ball, self.queries = target, batch, ball, queries
        self.x = batch.x.reshape(len(batch.x), -1)
        self.low, self.high = np.ravel(spec.low), np.ravel(spec.high)
        self.mutable = None if spec.mutable is None else spec.mutable.ravel()
        self.shape = spec.shape
        self.nearest = self.x.copy()
        self.distance = np.full(len(self.x), np.inf)
        self.spent = np.zeros(len(self.x), dtype=np.int64)
        self.trace: list[tuple[Rows, Sizes]] = []

    @property
    def features(self) -> int:
        """Numbers that an input has and that can be changed; 1 where there is none, and then nothing is found."""
        return self.x.shape[1] if self.mutable is None else max(1, int(self.mutable.sum()))

    def allowed(self, rows: Rows, probes: Floats) -> Floats:
        """The probes within the bounds and with what cannot be changed as it was: [rows, count, features]."""
        np.clip(probes, self.low, self.high, out=probes)
        if self.mutable is not None:
            probes = np.where(self.mutable, probes, self.x[rows][:, None])
        return probes

    def leave(self, rows: Rows, probes: Floats) -> npt.NDArray[np.bool_]:
        """Whether each probe is predicted as another class than its original's: [rows, count].

        An answer that is no number is no other class.

        Args:
            rows: of the batch.
            probes: [rows, count, features], allowed ones.

        Raises:
            BudgetSpent: if the target's budget ends.
        """
        count, width = probes.shape[1:]
        at_once = max(1, NUMBERS_AT_ONCE // (count * width))
        found = np.empty((len(rows), count), dtype=np.bool_)
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            labels = self.target.labels(probes[part].reshape(-1, *self.shape)).reshape(-1, count)
            found[part] = (labels >= 0) & (labels != self.batch.y[rows[part], None])
            self.spent[rows[part]] += count
        return found

    def try_points(self, rows: Rows, points: Floats) -> npt.NDArray[np.bool_]:
        """Ask about one point for each row and keep it where it is the nearest so far: [rows]."""
        found = self.leave(rows, points[:, None])[:, 0]
        hits, near = rows[found], points[found]
        sizes = self.size(near - self.x[hits])
        better = sizes < self.distance[hits]
        hits, near, sizes = hits[better], near[better], sizes[better]
        self.distance[hits], self.nearest[hits] = sizes, near
        inside = sizes <= np.float32(self.ball.radius)
        self.batch.best[hits[inside]] = near[inside].reshape(-1, *self.shape)
        return found

    def sizes(self) -> Sizes:
        """How far each row's nearest find is: [rows]."""
        return self.distance

    def confirm(self) -> None:
        """Every find is an answer of the model as it is deployed; there is nothing to ask again."""

    def size(self, change: Floats) -> Sizes:
        """The norm of each change: [rows]."""
        if not len(change):
            return np.zeros(0)
        sizes: Sizes = self.ball.size(torch.from_numpy(change)).double().numpy()
        return sizes

    def left(self) -> Rows:
        """How many questions each example has left: [rows]."""
        return self.queries - self.spent

    def note(self) -> None:
        """Remember where the search stands, for the curve."""
        self.trace.append((self.spent.copy(), self.distance.copy()))

    def start(self) -> Rows:
        """Find some input of another class for each row, and tell for which rows there is one.

        The other inputs of the batch are tried first, nearest ones of other classes, then uniform noise.
        """
        rng = self.batch.seeds.numpy("decisions.start")
        waiting = np.arange(len(self.x))
        for points in self._natural():
            waiting = waiting[self.left()[waiting] > 0]
            chosen = points[waiting] >= 0
            rows = waiting[chosen]
            if len(rows):
                self.try_points(rows, self.allowed(rows, self.x[points[rows]][:, None].copy())[:, 0])
            waiting = waiting[~np.isfinite(self.distance[waiting])]
        for _ in range(_NOISE):
            waiting = waiting[(self.left()[waiting] > 0) & ~np.isfinite(self.distance[waiting])]
            if not len(waiting):
                break
            noise = rng.random((len(waiting), 1, self.x.shape[1]), dtype=np.float32)
            noise = self.low + noise * (self.high - self.low)
            self.try_points(waiting, self.allowed(waiting, noise)[:, 0])
        self.note()
        return np.flatnonzero(np.isfinite(self.distance))

    def _natural(self) -> Iterator[Rows]:
        """The nearest inputs of other classes in the batch, first the nearest of all: indices [rows], -1 for none."""
        order = np.full((len(self.x), _NATURAL), -1, dtype=np.int64)
        for row, x in enumerate(self.x):
            others = np.flatnonzero(self.batch.y != self.batch.y[row])
            near = others[np.argsort(self.size(self.x[others] - x), kind="stable")[:_NATURAL]]
            order[row, : len(near)] = near
        yield from order.T

    def checks(self) -> tuple[Check, ...]:
        """Whether the search began everywhere, and whether it had come to rest."""
        without = int((~np.isfinite(self.distance)).sum())
        half, end = (quantile(_at(self, share * self.queries), 0.5) for share in (0.5, 1.0))
        falling = np.isfinite(half) and end < _FALLING * half
        return (
            Check(
                name="starting-points",
                outcome=Verdict.INCONCLUSIVE if without else Verdict.PASS,
                detail=f"for {without} of {len(self.x)} examples no input of another class was found to start from",
            ),
            Check(
                name="converged",
                outcome=Verdict.INCONCLUSIVE if falling else Verdict.PASS,
                detail=f"median distance {half:.4g} after half of {self.queries} queries, {end:.4g} at the end",
            ),
        )


class DecisionAttack(SeeksNearest[Decisions]):
    """An attack with the fields `ball` and `queries` that sees labels alone.

    Its `run` adds to `details` ``distance``: the norm, quantiles over all examples that were attacked (None where no
    change was found for that many), an interval of the median, and the median after so many queries.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def queries(self) -> int:
            """The most questions for one example."""

    def threat(self, target: Target) -> Threat:
        """Labels, and other inputs."""
        return dataclasses.replace(
            InBall.threat(self, target), knowledge="other inputs of the same kind, to start from"
        )

    def limits(self, target: Target) -> str:
        """What may be changed, and how often may be asked."""
        return f"{InBall.limits(self, target)}, {self.queries} queries an example"

    def begin(self, target: Target, batch: Batch) -> Decisions:
        """No question asked yet."""
        return Decisions(target, batch, ball=self.ball, queries=self.queries)

    def search(self, found: Decisions) -> tuple[Check, ...]:
        """Walk until the questions are spent."""
        self.walk(found)
        return found.checks()

    @abstractmethod
    def walk(self, decisions: Decisions) -> None:
        """Look for near inputs of another class; `decisions` keeps the nearest."""

    def told(self, searches: Sequence[Decisions], distance: Sizes, result: AttackResult) -> dict[str, object]:
        """Distances, and how they fell."""
        if not len(distance):
            return {"distance": {"norm": self.ball.norm}}
        at = sorted({max(1, round(share * self.queries)) for share in _CHECKPOINTS})
        after = {count: np.concatenate([_at(one, count) for one in searches]) for count in at}
        return {
            "distance": {
                "norm": self.ball.norm,
                "quantiles": quantiles(distance),
                "median_interval": _median_interval(distance),
                "curve": [
                    {"queries": count, "median": if_finite(quantile(sizes, 0.5))} for count, sizes in after.items()
                ],
            }
        }


def _at(search: Decisions, queries: float) -> Sizes:
    """Each example's distance when it had spent at most so many queries."""
    result = np.full(len(search.x), np.inf)
    for spent, distance in search.trace:
        result = np.where(spent <= queries, distance, result)
    return result


def _median_interval(values: Sizes) -> Interval | None:
    """Between two of the values, whatever their distribution; None if there are too few, or an end is infinite.

    References: Thompson 1936 (order statistics as limits of a median).
    """
    rank = int(binom.ppf(0.025, len(values), 0.5))
    ordered = np.sort(values)
    if rank < 1 or not np.isfinite(ordered[-rank]):
        return None
    low, high = float(ordered[rank - 1]), float(ordered[-rank])
    return Interval(low=low, high=high, level=0.95, method="order statistics")
