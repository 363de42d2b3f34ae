"""Poisson sampling: every privacy unit joins a step by a coin of its own, with all of its rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64

from wardline.core import SecureRandom


class UnitRows:
    """Which rows belong to which privacy unit.

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

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def most(self) -> int:
        """The most rows that a unit has."""
        return int(self.counts.max(initial=0))

    def rows(self, units: Int64[np.ndarray, " units"]) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
        """All rows of these units, and for each row the position of its unit among them."""
        counts = self.counts[units]
        position = np.repeat(np.arange(len(units)), counts)
        within = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows: npt.NDArray[np.int64] = self._order[self._starts[units][position] + within]
        return rows, position


def poisson_sample(n_units: int, *, sample_rate: float, random: SecureRandom) -> Int64[np.ndarray, " units"]:
    """The units of one step, in ascending order: each with probability `sample_rate`, independently.

    The result may be empty, and its size is private: neither may decide about noise or scale.

    Args:
        n_units: how many units there are, at least 1.
        sample_rate: probability that a unit joins, in (0, 1].
        random: where the coins come from. The accountant's amplification by sampling holds only if nobody can
            know who was sampled, so nothing that can be seeded is accepted.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
        ValueError: if a number is out of range.

    Guarantee:
        Each coin is exact to 2**-64.

    References:
        Abadi et al. 2016, section 3.1; Zhu and Wang 2019 (Poisson subsampling).
    """
    if not isinstance(random, SecureRandom):
        raise TypeError("sampling that amplifies privacy comes from SecureRandom only")
    if n_units < 1:
        raise ValueError("there must be at least one privacy unit")
    if not 0 < sample_rate <= 1:
        raise ValueError("sample_rate must be above 0 and at most 1")
    return np.flatnonzero(random.bernoulli(n_units, sample_rate)).astype(np.int64)
