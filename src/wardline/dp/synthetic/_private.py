"""The one door to the rows: every look at them goes through here, is noisy, and is paid for out of one purse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import final

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.checks import at_least, positive
from wardline.dp.accounting import ZeroConcentrated
from wardline.dp.mechanisms import choice_event, discrete_gaussian, exponential, gaussian_event, sigma_for
from wardline.dp.synthetic._inference import Array
from wardline.dp.synthetic._tree import Clique
from wardline.dp.synthetic.coarsen import Coarsening
from wardline.dp.synthetic.fitting import Measured

_SCORE_BITS = 10  # expected counts enter scores as multiples of 2**-10, so that scores are whole numbers
_CACHED_CELLS = 1 << 22


@final
class Purse:
    """A zero-concentrated budget, counted exactly.

    Args:
        rho: what may be spent, above 0.

    Guarantee: mechanisms that were each paid for here, whose parameters may have been chosen after looking at
        the outputs of earlier ones, are together rho-zero-concentrated differentially private: a purse of fixed size
        is a filter.

    References: Feldman and Zrnic 2021, theorem 3.1 and section 4; Whitehouse, Ramdas, Rogers and Wu 2023.
    """

    __slots__ = ("_left", "total")

    def __init__(self, rho: float) -> None:
        self.total = positive("rho", rho)
        self._left = Fraction(rho)

    @property
    def left(self) -> float:
        """What is left, rounded down."""
        nearest = float(self._left)
        return nearest if Fraction(nearest) <= self._left else math.nextafter(nearest, 0.0)

    @property
    def spent_share(self) -> float:
        """Which share is spent, from 0 to 1."""
        return 1.0 - self.left / self.total

    def spend(self, rho: float) -> None:
        """Take some out.

        Raises:
            ValueError: if there is not so much left; nothing may be computed then.
        """
        cost = Fraction(rho)
        if cost <= 0 or cost > self._left:
            raise ValueError("the budget of this synthesis does not cover the next look at the data")
        self._left -= cost


@final
class PrivateRows:
    """Rows as cells, of which nothing leaves but noisy counts and private choices.

    Args:
        columns: the cell of each row, for each column.
        sizes: how many cells each column has.
        rows_per_unit: the most rows of one privacy unit, at least 1.
        purse: what pays.
        random: where the noise comes from.

    Guarantee: a unit changes at most `rows_per_unit` rows, hence the counts of any cells that do not overlap by at
        most that much in the sum of absolute and so in Euclidean norm. Each method is zero-concentrated with the
        cost that it takes out of the purse beforehand.
    """

    __slots__ = ("_columns", "_counted", "_per_unit", "_random", "purse", "sizes")

    def __init__(
        self,
        columns: Sequence[npt.NDArray[np.int64]],
        sizes: Sequence[int],
        *,
        rows_per_unit: int,
        purse: Purse,
        random: SecureRandom,
    ) -> None:
        self._columns = tuple(np.ascontiguousarray(one, dtype=np.int64) for one in columns)
        self._per_unit = at_least("rows_per_unit", rows_per_unit, 1)
        self._random = random
        self._counted: dict[Clique, npt.NDArray[np.int64]] = {}
        self.purse = purse
        self.sizes = tuple(sizes)

    def coarsened(self, coarsenings: Sequence[Coarsening]) -> PrivateRows:
        """The same rows with merged cells, behind the same door and paid out of the same purse."""
        return PrivateRows(
            [one.groups[column] for one, column in zip(coarsenings, self._columns, strict=True)],
            [one.size for one in coarsenings],
            rows_per_unit=self._per_unit,
            purse=self.purse,
            random=self._random,
        )

    def sigma(self, rho: float) -> float:
        """The standard deviation of the noise that this much pays for."""
        return sigma_for(rho=rho, l2_squared=self._per_unit**2)

    def measure(self, clique: Clique, *, rho: float) -> Measured:
        """Counts of a clique's cells under discrete Gaussian noise.

        Args:
            clique: the columns, ascending.
            rho: what to pay, above 0.

        Raises:
            ValueError: if the purse does not hold it.

        Guarantee: zero-concentrated with `rho`, in exact integer arithmetic.

        References: Canonne, Kamath and Steinke 2020, theorem 4.
        """
        sigma = self.sigma(rho)
        event = gaussian_event(sigma=sigma, l2_squared=self._per_unit**2)
        assert isinstance(event, ZeroConcentrated)
        self.purse.spend(event.rho)  # rounded up, and still no more than was asked for
        counts = self._count(clique)
        noisy = counts + discrete_gaussian(counts.size, sigma=sigma, random=self._random).reshape(counts.shape)
        return Measured(
            clique=clique, counts=noisy.astype(np.float64), variance=np.full(counts.shape, sigma**2, dtype=np.float64)
        )

    def choose(self, candidates: Iterable[tuple[Clique, Array, int, float]], *, epsilon: float) -> Clique:
        """Choose the clique whose counts are worst explained, by the exponential mechanism.

        The score is weight * (sum of absolute deviations of the counts from what is expected - penalty), in whole
        numbers: expected counts and penalties are rounded to multiples of 2**-10 before the rows come in.

        Args:
            candidates: cliques; the counts that are expected in their cells; a weight of at least 1; a penalty.
            epsilon: of the exponential mechanism, above 0.

        Raises:
            ValueError: if the purse does not hold epsilon**2 / 8, or without any candidate.

        Guarantee: zero-concentrated with epsilon**2 / 8. The sensitivity is 2**10 * rows_per_unit * largest weight.

        References: Cesar and Rogers 2021, lemma 3.1; McKenna, Mullins, Sheldon and Miklau 2022, section 4.1.
        """
        event = choice_event(epsilon=epsilon, as_="zero-concentrated")
        assert isinstance(event, ZeroConcentrated)
        self.purse.spend(event.rho)
        one = 1 << _SCORE_BITS
        cliques: list[Clique] = []
        scores: list[int] = []
        heaviest = 1
        for clique, expected, weight, penalty in candidates:
            away = np.abs((self._count(clique) << _SCORE_BITS) - np.rint(expected * one).astype(np.int64))
            scores.append(weight * (int(away.sum()) - round(penalty * one)))
            cliques.append(clique)
            heaviest = max(heaviest, weight)
        if max((abs(score) for score in scores), default=0) >= 1 << 62:
            raise ValueError("the scores are too large for whole numbers of 64 bits")
        place = exponential(
            np.array(scores, dtype=np.int64),
            epsilon=epsilon,
            sensitivity=one * self._per_unit * heaviest,
            random=self._random,
        )
        return cliques[place]

    def _count(self, clique: Clique) -> npt.NDArray[np.int64]:
        """The exact counts of a clique's cells; secret."""
        known = self._counted.get(clique)
        if known is not None:
            return known
        shape = [self.sizes[column] for column in clique]
        flat = np.zeros(len(self._columns[0]) if self._columns else 0, dtype=np.int64)
        for column, size in zip(clique, shape, strict=True):
            flat *= size
            flat += self._columns[column]
        counts = np.bincount(flat, minlength=math.prod(shape)).astype(np.int64).reshape(shape)
        if counts.size <= _CACHED_CELLS:
            self._counted[clique] = counts
        return counts
