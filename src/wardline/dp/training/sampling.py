"""Poisson sampling: every privacy unit joins a step by a coin of its own, with all of its rows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64

from wardline.core import SecureRandom

_AT_ONCE = 1 << 14  # coins that show heads, in a block of steps
_LONGEST_BLOCK = 256  # steps


class UnitRows:
    """Which rows belong to which privacy unit.

    Attributes:
        counts: how many rows each unit has.
        most: the most rows that a unit has.

    Args:
        unit: each row's unit, from 0 to the number of units - 1; every unit has at least one row.

    Raises:
        ValueError: if a unit has no row, or a number is negative.
    """

    def __init__(self, unit: Int64[np.ndarray, " rows"]) -> None:
        if unit.size and int(unit.min()) < 0:
            raise ValueError("privacy units are numbered from 0")
        self.counts: npt.NDArray[np.int64] = np.bincount(unit).astype(np.int64)
        if unit.size and int(self.counts.min()) == 0:
            raise ValueError("privacy units are numbered without gaps")
        self._order = np.argsort(unit, kind="stable")
        self._starts = np.concatenate(([0], np.cumsum(self.counts)))
        self.most = int(self.counts.max(initial=0))

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, units: Int64[np.ndarray, " units"]) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
        """All rows of these units, and for each row the position of its unit among them."""
        if self.most == 1:
            return self._order.take(units), np.arange(len(units))
        counts = self.counts[units]
        position = np.repeat(np.arange(len(units)), counts)
        within = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows: npt.NDArray[np.int64] = self._order[self._starts[units][position] + within]
        return rows, position


class PoissonSampler:
    """Poisson samples, step after step, at a cost that grows with the sample and not with the data.

    The coins of all steps and units stand in one long line. From one coin that shows heads to the next it is a
    geometric number of coins, so those numbers are drawn, for a block of steps at once, and the coins between are not.

    Args:
        n_units: how many units there are, at least 1.
        sample_rate: probability that a unit joins a step, in (0, 1].
        random: where the coins come from. The accountant's amplification by sampling holds only if nobody can
            know who was sampled, so nothing that can be seeded is accepted.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
        ValueError: if a number is out of range.

    Guarantee:
        Every coin shows heads with probability `sample_rate`, independently, to within 2**-40: a gap G has
        P(G >= k) = (1 - sample_rate)^k up to a relative error of 1e-14 (64-bit logarithms) and an absolute one of
        2**-64 (64 random bits a gap). Of gaps more than 16 times as long as the mean, which have a probability of
        1e-7, the coins are less exact: to within 2**-64 / (1 - sample_rate)^k.

    References:
        Abadi et al. 2016, section 3.1; Zhu and Wang 2019 (Poisson subsampling); Devroye 1986, section X.2
        (geometric numbers by inversion).
    """

    def __init__(self, n_units: int, *, sample_rate: float, random: SecureRandom) -> None:
        if not isinstance(random, SecureRandom):
            raise TypeError("sampling that amplifies privacy comes from SecureRandom only")
        if n_units < 1:
            raise ValueError("there must be at least one privacy unit")
        if not 0 < sample_rate <= 1:
            raise ValueError("sample_rate must be above 0 and at most 1")
        self._n_units = n_units
        self._rate = sample_rate
        self._random = random
        self._steps = max(1, int(min(_LONGEST_BLOCK, _AT_ONCE / (n_units * sample_rate))))
        self._block: list[npt.NDArray[np.int64]] = []

    def draw(self) -> Int64[np.ndarray, " units"]:
        """The units of the next step, in ascending order.

        The result may be empty, and its size is private: neither may decide about noise or scale.
        """
        if not self._block:
            self._block = self._samples(self._steps)[::-1]
        return self._block.pop()

    def _samples(self, steps: int) -> list[npt.NDArray[np.int64]]:
        if self._rate == 1:
            return [np.arange(self._n_units, dtype=np.int64)] * steps
        coins = steps * self._n_units
        expected = coins * self._rate
        enough = int(expected + 6 * math.sqrt(expected)) + 16
        heads = self._gaps(enough).cumsum() - 1
        while heads[-1] < coins:
            heads = np.concatenate((heads, heads[-1] + self._gaps(enough).cumsum()))
        bounds = np.searchsorted(heads, np.arange(steps + 1) * self._n_units)
        return [heads[bounds[step] : bounds[step + 1]] - step * self._n_units for step in range(steps)]

    def _gaps(self, count: int) -> npt.NDArray[np.int64]:
        """How many coins further on the next heads is: at least 1."""
        # Uniform on the midpoints of 2**-64: the tail of long gaps, next to 0, is resolved best.
        uniform = (self._random.uint64(count).astype(np.float64) + 0.5) * 2.0**-64
        with np.errstate(over="ignore"):
            gaps = np.log(uniform) / math.log1p(-self._rate)
        # A gap beyond the end of the line is as good as any other such gap, and fits into an integer.
        return np.minimum(gaps, self._steps * self._n_units).astype(np.int64) + 1


def poisson_sample(n_units: int, *, sample_rate: float, random: SecureRandom) -> Int64[np.ndarray, " units"]:
    """The units of one step, in ascending order: each with probability `sample_rate`, independently.

    Arguments, errors and guarantee are those of `PoissonSampler`, which is cheaper where there are many steps.
    """
    return PoissonSampler(n_units, sample_rate=sample_rate, random=random)._samples(1)[0]
