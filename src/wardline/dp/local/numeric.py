"""Means of bounded numbers: each person sends one symbol of a finite alphabet, and each symbol stands for a score.

The papers draw real numbers. A real number that a computer draws is a floating-point number, and its low digits can
give away what it was computed from (Mironov 2012). So here a value is first put on a grid by a coin (which keeps its
mean), and a report is one of finitely many symbols, whose probabilities are exact fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wardline.core import Claim, Interval, SecureRandom
from wardline.core.checks import probability
from wardline.dp.local import _chance
from wardline.dp.local._claim import local_claim, scheme_of
from wardline.dp.local._scores import Mixture, Scored, TwoPoints, Window
from wardline.dp.local.frequency import Tally, check_tally, checked_values
from wardline.dp.local.wire import HEADER_BYTES, bytes_for, pack_integers, unpack_integers

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    import numpy.typing as npt
    from jaxtyping import Bool, Float64, Int64, UInt8

    from wardline.dp.accounting import PureDp

Method = Literal["duchi", "piecewise", "hybrid"]
"""Two points (least variance for a small epsilon), a window (for a large one), or both by turns (never worse)."""

FEW_REPORTS = 100
"""Below so many reports their spread is not trusted, and an interval takes the mechanism's largest variance."""

_CORES: dict[Method, Callable[[float], Scored]] = {"duchi": TwoPoints, "piecewise": Window, "hybrid": Mixture}
_REFERENCES: dict[Method, str] = {
    "duchi": "Duchi, Jordan and Wainwright 2018, section 4.1; Wang et al. 2019, algorithm 1",
    "piecewise": "Wang, Xiao, Yang, Zhao, Hui, Shin, Shin and Yu 2019, algorithm 2, on a grid",
    "hybrid": "Wang, Xiao, Yang, Zhao, Hui, Shin, Shin and Yu 2019, section 3.3, on a grid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanEstimate:
    """A mean, as far as randomised reports tell.

    Attributes:
        value: an unbiased estimate; it may lie outside of the bounds.
        std: its standard error, an upper estimate for the mean of those who reported.
        reports: how many persons reported.
        epsilon: what each report may tell about its sender.
        method, reference: how it was estimated.
    """

    value: float
    std: float
    reports: int
    epsilon: float
    method: str
    reference: str

    def interval(self, level: float = 0.95) -> Interval:
        """An interval for the mean of those who reported, by the normal approximation; it covers a little too often.

        If they are a random sample, it is one for the mean of the population as well.

        Raises:
            ValueError: for a level outside of (0, 1).
        """
        reach = NormalDist().inv_cdf((1 + probability("level", level)) / 2) * self.std
        return Interval(low=self.value - reach, high=self.value + reach, level=level, method="normal approximation")

    def __str__(self) -> str:
        return (
            f"mean {self.value:.6g} {self.interval()} of {self.reports:,} persons by {self.method}, "
            f"epsilon {self.epsilon:g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericResponse:
    """Randomises one number of each person, for the mean of all.

    Attributes:
        lower, upper: the bounds, fixed without looking at anybody's number; what lies beyond them counts as the bound.
        epsilon: what one report may tell, from 2**-20 to 64.
        method: duchi, piecewise or hybrid (by default).

    Raises:
        ValueError: for a figure out of range.

    Guarantee:
        epsilon-local differential privacy of one report against whoever receives it (see `claim`). A report is one of
        at most 65,538 symbols. Their probabilities are multiples of 2**-64 (or such a multiple spread evenly over
        symbols), rounded so that no ratio is above e**epsilon whatever the number and its place on the grid.

    References:
        Duchi, Jordan and Wainwright 2018; Wang et al. 2019; Mironov 2012.
    """

    lower: float
    upper: float
    epsilon: float
    method: Method = "hybrid"
    _core: Scored = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise ValueError("lower and upper must be finite numbers, the lower one first")
        if not math.isfinite(self.upper - self.lower):
            raise ValueError("the bounds lie too far apart")
        _chance.check_epsilon(self.epsilon)
        if self.method not in _CORES:
            raise ValueError("method must be duchi, piecewise or hybrid")
        object.__setattr__(self, "_core", _CORES[self.method](self.epsilon))

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON."""
        return scheme_of(
            self.method, lower=float(self.lower), upper=float(self.upper), epsilon=self.epsilon, symbols=self.symbols
        )

    @property
    def symbols(self) -> int:
        """How many different reports there are."""
        return len(self._core.scores)

    @property
    def ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a report, given any two numbers: never above e**epsilon."""
        return self._core.ratio

    @property
    def report_bytes(self) -> int:
        """The length of one report in its serial form, header included."""
        return HEADER_BYTES + bytes_for(self.symbols)

    @property
    def event(self) -> PureDp:
        """What one report costs the person who sends it."""
        from wardline.dp.accounting import PureDp

        return PureDp(epsilon=self.epsilon)

    def randomise(self, values: npt.ArrayLike, *, random: SecureRandom) -> Int64[np.ndarray, " persons"]:
        """The client's half: one symbol for each number.

        Args:
            values: finite numbers, one for each person; those beyond the bounds count as the bound.
            random: where the coins come from. Nothing that can be seeded is accepted.

        Raises:
            TypeError: if `random` is not a `SecureRandom`, or a value is no number.
            ValueError: if a value is not finite.
        """
        _chance.check_random(random)
        numbers = np.atleast_1d(np.asarray(values))
        if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
            raise TypeError("values must be a row of numbers")
        numbers = numbers.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("values must be finite")
        shares = (np.clip(numbers, self.lower, self.upper) - self.lower) / (self.upper - self.lower)
        return self._core.draw(2.0 * shares - 1.0, random)

    def tally(self, reports: npt.NDArray[Any]) -> Tally:
        """Count how often each symbol was sent.

        Raises:
            TypeError, ValueError: for a report that this mechanism does not make.
        """
        found = checked_values(reports, self.symbols)
        counts = np.bincount(found, minlength=self.symbols).astype(np.int64)
        return Tally(scheme=self.scheme, reports=len(found), counts=counts)

    def estimate(self, tally: Tally) -> MeanEstimate:
        """An unbiased estimate of the mean of those who reported, with its standard error.

        Raises:
            ValueError: for a tally of another mechanism, or of no report.
        """
        check_tally(tally, self.scheme)
        scores, reports = self._core.scores, tally.reports
        mean = float(tally.counts @ scores) / reports
        if reports < FEW_REPORTS:
            spread = self.worst_variance
        else:
            spread = (float(tally.counts @ (scores - mean) ** 2) / (reports - 1)) * self._half**2
        return MeanEstimate(
            value=self.lower + self._half * (1.0 + mean),
            std=math.sqrt(spread / reports),
            reports=reports,
            epsilon=self.epsilon,
            method=self.method,
            reference=_REFERENCES[self.method],
        )

    def variance(self, values: npt.ArrayLike) -> Float64[np.ndarray, " values"]:
        """The variance of one person's score, by her number; the estimate's is the mean of these over the reports."""
        numbers = np.clip(np.atleast_1d(np.asarray(values, dtype=np.float64)), self.lower, self.upper)
        squares = (2.0 * (numbers - self.lower) / (self.upper - self.lower) - 1.0) ** 2
        return (self._core.second_moment(squares) - squares) * self._half**2

    @property
    def worst_variance(self) -> float:
        """The largest variance of one person's score, whatever her number. It lies in the middle or at the ends."""
        return float(self.variance([self.lower, self.lower + self._half]).max())

    def claim(self) -> Claim:
        """What one report guarantees, and against whom."""
        return local_claim(
            scheme=self.scheme,
            epsilon=self.epsilon,
            exact=_chance.epsilon_of(self.ratio),
            reference=_REFERENCES[self.method],
            about="the number",
            hostile_report_shifts_sum_by=float(np.abs(self._core.scores).max() + 1.0) * self._half,
        )

    def pack(self, reports: npt.NDArray[Any]) -> UInt8[np.ndarray, "reports width"]:
        """The payloads of reports: the symbol, the lowest byte first."""
        return pack_integers(checked_values(reports, self.symbols), self.symbols)

    def unpack(
        self, payloads: UInt8[np.ndarray, "reports width"]
    ) -> tuple[Int64[np.ndarray, " reports"], Bool[np.ndarray, " reports"]]:
        """The reports in payloads, and which of them are symbols."""
        found = unpack_integers(payloads)
        return found, found < self.symbols

    @property
    def _half(self) -> float:
        return (self.upper - self.lower) / 2.0
