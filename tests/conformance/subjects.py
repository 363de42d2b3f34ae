"""Row counts per group with bounded contributions and whole-number noise: a sound mechanism, and broken twins of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wardline.attacks.auditing.mechanism_conformance import Draw
from wardline.core import SecureRandom, Seeds
from wardline.dp.mechanisms import discrete_gaussian, discrete_laplace, scale_for, sigma_for

GROUPS = 3
ROWS = 4
Table = tuple[tuple[int, int], ...]
"""Rows of person and group."""


@dataclass(frozen=True)
class Moves:
    l1: int
    l2_squared: int
    linf: int


class LaplaceCounts:
    """Keeps at most `ROWS` rows of each person, counts rows per group, adds discrete Laplace noise."""

    epsilon = 1.0
    delta = 0.0
    grid = 1.0
    sensitivity = Moves(l1=ROWS, l2_squared=ROWS**2, linf=ROWS)
    kept_rows = ROWS

    @property
    def scale(self) -> float:
        return scale_for(epsilon=self.epsilon, l1=self.sensitivity.l1)

    def exact(self, table: Table) -> NDArray[np.int64]:
        counts = np.zeros(GROUPS, dtype=np.int64)
        for person in {person for person, _ in table}:
            mine = sorted(group for one, group in table if one == person)[: self.kept_rows]
            np.add.at(counts, mine, 1)
        return counts

    def source(self) -> Draw:
        random = SecureRandom()
        return lambda count: discrete_laplace(count, scale=self.scale, random=random)

    def cumulative(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        values = np.asarray(values, dtype=np.float64)
        ratio = np.exp(-1 / self.scale)
        # Powers of what is not the case would overflow.
        up, down = np.maximum(values, 0), np.minimum(values, 0)
        return np.where(values >= 0, 1 - ratio ** (up + 1) / (1 + ratio), ratio**-down / (1 + ratio))

    def table(self, *, with_unit: bool) -> Table:
        """A person with more rows than are kept, all in one group, and some others."""
        others = ((2, 0), (2, 1), (3, 2))
        return (*others, *((1, 0) for _ in range(ROWS + 3))) if with_unit else others

    def outputs(self, trials: int, *, with_unit: bool) -> NDArray[np.int64]:
        exact = self.exact(self.table(with_unit=with_unit))
        return exact + self.source()(trials * GROUPS).reshape(trials, GROUPS)


class GaussianCounts(LaplaceCounts):
    """The same with discrete Gaussian noise: (epsilon, delta)-private by the conversion of Bun and Steinke 2016."""

    delta = 1e-4

    @property
    def scale(self) -> float:
        root = np.sqrt(np.log(1 / self.delta) + self.epsilon) - np.sqrt(np.log(1 / self.delta))
        return sigma_for(rho=float(root**2), l2_squared=self.sensitivity.l2_squared)

    def source(self) -> Draw:
        random = SecureRandom()
        return lambda count: discrete_gaussian(count, sigma=self.scale, random=random)

    def cumulative(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        places = np.arange(-int(30 * self.scale), int(30 * self.scale) + 1)
        table = np.cumsum(np.exp(-0.5 * (places / self.scale) ** 2))
        return (table / table[-1])[np.clip(np.asarray(values) - places[0], 0, len(table) - 1)]


class TooSmall(LaplaceCounts):
    """Its noise is 10 % too small."""

    def source(self) -> Draw:
        random = SecureRandom()
        return lambda count: discrete_laplace(count, scale=0.9 * self.scale, random=random)


class TooSmallGaussian(GaussianCounts):
    """Its noise is 10 % too small."""

    def source(self) -> Draw:
        random = SecureRandom()
        return lambda count: discrete_gaussian(count, sigma=0.9 * self.scale, random=random)


class Seeded(LaplaceCounts):
    """Its noise is the right one, and comes again at every start."""

    def source(self) -> Draw:
        generator = Seeds(0).numpy("noise")

        def draw(count: int) -> NDArray[np.int64]:
            prob = 1 - np.exp(-1 / self.scale)
            return generator.geometric(prob, count) - generator.geometric(prob, count)

        return draw


class ForkBlind(LaplaceCounts):
    """Seeded by the operating system, but not again after a fork."""

    def source(self) -> Draw:
        generator = np.random.default_rng()

        def draw(count: int) -> NDArray[np.int64]:
            prob = 1 - np.exp(-1 / self.scale)
            return generator.geometric(prob, count) - generator.geometric(prob, count)

        return draw


class FloatNoise(LaplaceCounts):
    """Adds floating-point Laplace noise, as a textbook has it."""

    def source(self) -> Draw:
        generator = np.random.default_rng()
        return lambda count: generator.laplace(0, self.scale, count)


class RoundedToSixteenths(FloatNoise):
    """Lies on a grid, but not on the one that it claims."""

    def source(self) -> Draw:
        draw = super().source()
        return lambda count: np.rint(16 * draw(count)) / 16


class ForgetsAGroup(LaplaceCounts):
    """Believes that a person's rows all fall in one group but one."""

    sensitivity = Moves(l1=ROWS - 1, l2_squared=(ROWS - 1) ** 2, linf=ROWS - 1)


class OneRowTooMany(LaplaceCounts):
    """Compares with the bound by <= where < is right."""

    kept_rows = ROWS + 1


class OneDrawForTwo(LaplaceCounts):
    """Adds each number of noise to two groups."""

    def source(self) -> Draw:
        draw = super().source()
        return lambda count: np.repeat(draw(count // 2 + 1), 2)[:count]


def neighbours(seed: int, pairs: int) -> Iterator[tuple[Table, Table]]:
    """Random small tables, each also without one of its persons."""
    generator = Seeds(seed).numpy("tables")
    for _ in range(pairs):
        rows = generator.integers(0, [4, GROUPS], (int(generator.integers(1, 25)), 2))
        table = tuple(map(tuple, rows.tolist()))
        person = table[0][0]
        yield table, tuple(row for row in table if row[0] != person)


def power_of_fit(subject: LaplaceCounts, twin: LaplaceCounts, trials: int, *, bins: int, alarm: float) -> float:
    """The probability that chi-square notices the twin's noise, by the noncentral distribution."""
    edges = np.unique(np.quantile(twin.source()(trials), np.linspace(0, 1, bins + 1)[1:-1], method="nearest"))
    right = np.diff(np.concatenate([[0], subject.cumulative(edges), [1]]))
    wrong = np.diff(np.concatenate([[0], _shrunk(subject, edges), [1]]))
    distance = trials * float(np.sum((wrong - right) ** 2 / right))
    freedom = len(right) - 1
    return float(stats.ncx2.sf(stats.chi2.isf(alarm / 2, freedom), freedom, distance))


def _shrunk(subject: LaplaceCounts, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    ratio = np.exp(-1 / (0.9 * subject.scale))
    up, down = np.maximum(edges, 0), np.minimum(edges, 0)
    return np.where(edges >= 0, 1 - ratio ** (up + 1.0) / (1 + ratio), ratio ** -(down * 1.0) / (1 + ratio))
