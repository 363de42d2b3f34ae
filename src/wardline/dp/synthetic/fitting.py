"""The distribution of greatest entropy that agrees best with noisy marginals: mirror descent on a junction tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.core.checks import at_least
from wardline.dp.synthetic._inference import Array, Calibrator
from wardline.dp.synthetic._tree import Clique, Tree, junction_tree

_SUFFICIENT = 0.5  # the share of the promised descent that a step must deliver (Armijo)
_GROWTH, _SHRINKAGE = 1.5, 0.5
_LEAST_STEP = 1e-12
_PATIENCE = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Noisy counts of a clique's cells. They cost their budget when they were drawn and may be published.

    Attributes:
        clique: the columns, ascending.
        counts: one number for each cell, float64, in the clique's shape.
        variance: of the noise on each cell, in the same shape; above 0.

    Raises:
        ValueError: if the shapes differ, the columns are out of order or a variance is not above 0.
    """

    clique: Clique
    counts: npt.NDArray[np.float64] = field(repr=False)
    variance: npt.NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        if self.counts.shape != self.variance.shape or self.counts.ndim != len(self.clique):
            raise ValueError("counts and variances have the shape of the clique's cells")
        if list(self.clique) != sorted(set(self.clique)):
            raise ValueError("the columns of a clique are given once each, in ascending order")
        if not (self.variance.min() > 0 and np.isfinite(self.counts).all() and np.isfinite(self.variance).all()):
            raise ValueError("counts are finite and variances are finite and above 0")


def combine(measurements: Iterable[Measured]) -> list[Measured]:
    """One measurement for each clique: the mean of all of its own, weighted by the inverse of their variances."""
    groups: dict[Clique, list[Measured]] = {}
    for one in measurements:
        groups.setdefault(one.clique, []).append(one)
    return [_mean(group) for group in groups.values()]


def _mean(group: Sequence[Measured]) -> Measured:
    if len(group) == 1:
        return group[0]
    weight = sum(1.0 / one.variance for one in group)
    counts = sum(one.counts / one.variance for one in group) / weight
    return Measured(clique=group[0].clique, counts=np.asarray(counts), variance=np.asarray(1.0 / weight))


def total_of(measurements: Iterable[Measured]) -> float:
    """The number of rows as the measurements tell it: the least-variance mean of their sums, at least 1."""
    sums = [(one.counts.sum(), one.variance.sum()) for one in measurements]
    weight = sum(1.0 / variance for _, variance in sums)
    return max(1.0, float(sum(total / variance for total, variance in sums) / weight))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A fitted distribution.

    Attributes:
        sizes: how many cells each column has.
        total: how many rows it stands for, as estimated from the measurements.
        tree: the junction tree.
        tables: the marginals of the tree's cliques, each summing to one.
        potentials: logarithms, one table for each measured clique: what a later fit starts from.
        steps: how many steps of mirror descent were taken.
        loss: half of the squared deviations from the measurements over their variances.
    """

    sizes: tuple[int, ...]
    total: float
    tree: Tree
    tables: tuple[Array, ...] = field(repr=False)
    potentials: Mapping[Clique, Array] = field(repr=False)
    steps: int
    loss: float


def fit(
    sizes: Sequence[int],
    measurements: Iterable[Measured],
    *,
    steps: int = 1000,
    start: Mapping[Clique, Array] | None = None,
    tolerance: float = 1e-5,
) -> Fit:
    """Find the distribution that minimises the weighted squared deviation from all measurements.

    Among the distributions with these marginals it is the one of greatest entropy: a product of one potential for each
    measured clique, exp of their sum. Each step multiplies potentials by exp(-step * gradient) and infers the new
    marginals exactly; the step is found by backtracking.

    Args:
        sizes: how many cells each column has.
        measurements: at least one.
        steps: the most steps, at least 1.
        start: potentials to begin with, from an earlier fit; cliques without any begin at zero.
        tolerance: stop when twenty steps together lessen the loss by less than this share of it.

    Raises:
        ValueError: without any measurement.

    Guarantee: post-processing. It reads the measurements and nothing else of the data.

    References:
        McKenna, Sheldon and Miklau 2019, algorithm 1; Beck and Teboulle 2003 (mirror descent).
    """
    at_least("steps", steps, 1)
    measured = combine(measurements)
    if not measured:
        raise ValueError("nothing was measured")
    cliques = [one.clique for one in measured]
    total = total_of(measured)
    tree = junction_tree(sizes, cliques)
    calibrator = Calibrator(sizes, tree, cliques)
    problem = _Problem(measured, total)
    known = start or {}
    theta = [known.get(one.clique, np.zeros(one.counts.shape)) for one in measured]
    tables = calibrator.run(theta)
    found = calibrator.parts_of(tables)
    loss, gradient = problem.at(found)
    step, taken, history = problem.first_step, 0, [loss]
    for taken in range(1, steps + 1):
        while True:
            trial = [one - step * slope for one, slope in zip(theta, gradient, strict=True)]
            trial_tables = calibrator.run(trial)
            trial_found = calibrator.parts_of(trial_tables)
            trial_loss, trial_gradient = problem.at(trial_found)
            promised = sum(
                float(np.vdot(slope, before - after))
                for slope, before, after in zip(gradient, found, trial_found, strict=True)
            )
            if loss - trial_loss >= _SUFFICIENT * promised or step < _LEAST_STEP:
                break
            step *= _SHRINKAGE
        if trial_loss > loss:
            break
        theta, tables, found, loss, gradient = trial, trial_tables, trial_found, trial_loss, trial_gradient
        step *= _GROWTH
        history.append(loss)
        if taken >= _PATIENCE and history[-1 - _PATIENCE] - loss <= tolerance * loss:
            break
    return Fit(
        sizes=tuple(sizes),
        total=total,
        tree=tree,
        tables=tuple(tables),
        potentials=dict(zip(cliques, theta, strict=True)),
        steps=taken,
        loss=loss,
    )


class _Problem:
    """The loss and its gradient in the probabilities of the measured cliques' cells."""

    def __init__(self, measured: Sequence[Measured], total: float) -> None:
        self._aims = [one.counts / total for one in measured]
        self._weights = [total**2 / one.variance for one in measured]
        self.first_step = 1.0 / max(float(weight.max()) for weight in self._weights)

    def at(self, found: Sequence[Array]) -> tuple[float, list[Array]]:
        loss, gradient = 0.0, []
        for table, aim, weight in zip(found, self._aims, self._weights, strict=True):
            away = table - aim
            slope = weight * away
            loss += 0.5 * float(np.vdot(slope, away))
            gradient.append(slope)
        return loss, gradient
