"""What the attacks share that see nothing but labels: questions, the nearest success so far, and curves of distance.

Such an attack walks along the boundary between two classes and tries to come near the original. So what it finds is a
distance for each example; success within a radius is one reading of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import binom

from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Interval, UsageError, Verdict
from wardline.models.predictor import Inputs
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


class DecisionAttack(Protocol):
    """An attack that needs labels alone and looks for the nearest input of another class."""

    @property
    def id(self) -> str:
        """Stands for it."""

    @property
    def needs(self) -> Access:
        """Labels."""

    @property
    def paper(self) -> str:
        """Author, year, section."""

    @property
    def queries(self) -> int:
        """The most questions for one example."""

    @property
    def ball(self) -> Ball:
        """Within what a find counts as a success."""

    def search(self, decisions: Decisions) -> None:
        """Look for near inputs of another class; `decisions` keeps the nearest."""


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
        self.trace: list[tuple[Rows, npt.NDArray[np.float64]]] = []

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
        inside = self.inside(near, self.x[hits])
        self.batch.best[hits[inside]] = near[inside].reshape(-1, *self.shape)
        return found

    def size(self, change: Floats) -> npt.NDArray[np.float64]:
        """The norm of each change: [rows]."""
        if not len(change):
            return np.zeros(0)
        sizes: npt.NDArray[np.float64] = self.ball.size(torch.from_numpy(change)).double().numpy()
        return sizes

    def inside(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each change is within the ball: [rows]."""
        return within(self.ball, changed, original)

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
        half, end = (_quantile(_at(self, share * self.queries), 0.5) for share in (0.5, 1.0))
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


def within(ball: Ball, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
    """Whether each change lies in the ball, up to the rounding of 32-bit numbers: [rows]."""
    if not len(changed):
        return np.zeros(0, dtype=np.bool_)  # amax has no value for none
    change = torch.from_numpy(changed - original)
    result: npt.NDArray[np.bool_] = (ball.size(change) <= ball.radius * (1 + 1e-6)).numpy()
    return result


def threat_of(attack: DecisionAttack) -> Threat:
    """Who mounts such an attack."""
    return Threat(
        goal="another class",
        access=Access.LABELS,
        limits=f"{attack.ball.norm} at most {attack.ball.radius:g}, {attack.queries} queries an example",
        knowledge="other inputs of the same kind, to start from",
    )


def craft(attack: DecisionAttack, target: Target, batch: Batch) -> tuple[Check, ...]:
    """The `craft` of every such attack."""
    decisions = Decisions(target, batch, ball=attack.ball, queries=attack.queries)
    attack.search(decisions)
    return decisions.checks()


def run_decisions(attack: DecisionAttack, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
    """Run such an attack and add the distances to what the driver tells.

    `details` gains ``distance``: the norm, quantiles over all examples that were attacked (None where no change was
    found for that many), an interval of the median, and the median after so many queries. `examples` gains
    ``distance``, [rows], NaN for what was not attacked and infinite where nothing was found.
    """
    recorder = _Recorder(attack=attack)
    result = attack_examples(recorder, target, data, budget=budget, seed=seed)
    distance = np.concatenate([each.distance for each in recorder.searches]) if recorder.searches else np.empty(0)
    every = np.full(len(data), np.nan)
    every[np.flatnonzero(result.examples["right"])[: len(distance)]] = distance
    return dataclasses.replace(
        result,
        details={**result.details, "distance": _summary(attack, recorder.searches, distance)},
        examples={**result.examples, "distance": every},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder:
    """Passes everything on to the attack and keeps its searches, also one that the budget ended."""

    attack: DecisionAttack
    searches: list[Decisions] = dataclasses.field(default_factory=list)

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
        del target
        return threat_of(self.attack)

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        return within(self.attack.ball, changed, original)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        self.searches.append(Decisions(target, batch, ball=self.attack.ball, queries=self.attack.queries))
        self.attack.search(self.searches[-1])
        return self.searches[-1].checks()


def _summary(attack: DecisionAttack, searches: list[Decisions], distance: npt.NDArray[np.float64]) -> dict[str, object]:
    if not len(distance):
        return {"norm": attack.ball.norm}
    quantiles = {f"{q:g}": _finite(_quantile(distance, q)) for q in (0.1, 0.25, 0.5, 0.75, 0.9)}
    at = sorted({max(1, round(share * attack.queries)) for share in _CHECKPOINTS})
    curve = [
        {"queries": queries, "median": _finite(_quantile(np.concatenate([_at(s, queries) for s in searches]), 0.5))}
        for queries in at
    ]
    return {
        "norm": attack.ball.norm,
        "quantiles": quantiles,
        "median_interval": _median_interval(distance),
        "curve": curve,
    }


def _at(search: Decisions, queries: float) -> npt.NDArray[np.float64]:
    """Each example's distance when it had spent at most so many queries."""
    result = np.full(len(search.x), np.inf)
    for spent, distance in search.trace:
        result = np.where(spent <= queries, distance, result)
    return result


def _quantile(values: npt.NDArray[np.float64], q: float) -> float:
    # Not interpolated: between a number and infinity there is nothing.
    return float(np.quantile(values, q, method="lower"))


def _median_interval(values: npt.NDArray[np.float64]) -> Interval | None:
    """Between two of the values, whatever their distribution; None if there are too few, or an end is infinite.

    References: Thompson 1936 (order statistics as limits of a median).
    """
    rank = int(binom.ppf(0.025, len(values), 0.5))
    ordered = np.sort(values)
    if rank < 1 or not np.isfinite(ordered[-rank]):
        return None
    low, high = float(ordered[rank - 1]), float(ordered[-rank])
    return Interval(low=low, high=high, level=0.95, method="order statistics")


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
