"""Means of several bounded numbers of each person: she reports about some of them, drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wardline.core import Claim, SecureRandom
from wardline.dp.local import _chance
from wardline.dp.local._claim import local_claim, scheme_of
from wardline.dp.local.frequency import Tally, check_tally
from wardline.dp.local.numeric import MeanEstimate, Method, NumericResponse
from wardline.dp.local.wire import HEADER_BYTES, bytes_for, pack_integers, unpack_integers

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy.typing as npt
    from jaxtyping import Bool, Int64, UInt8

    from wardline.dp.accounting import PureDp

MOST_NUMBERS = 256
_WORTH = 2.5
"""The epsilon that a number needs at least before it is worth while to report one more (Wang et al. 2019)."""

_REFERENCE = "Wang, Xiao, Yang, Zhao, Hui, Shin, Shin and Yu 2019, section 4.2 (algorithm 4)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericVectorResponse:
    """Randomises several numbers of each person, for the mean of each.

    Splitting epsilon over all numbers would drown each of them; so a person reports `sampled` of them, drawn evenly,
    each with epsilon / sampled.

    Attributes:
        lower, upper: the bounds of each number, fixed without looking at anybody's; at most 256 of them.
        epsilon: what one report may tell about all the numbers together, from 2**-20 to 64.
        method: how a single number is randomised.
        sampled: how many numbers a person reports: one for each 2.5 of epsilon, at least one.
        single: the mechanism for one of them, over [-1, 1].

    Raises:
        ValueError: for a figure out of range.

    Guarantee:
        epsilon-local differential privacy of one report against whoever receives it: which numbers are reported is
        drawn independently of their values, and `sampled` reports with epsilon / sampled each (rounded down) add up to
        no more than epsilon.

    References:
        Wang et al. 2019, section 4; Nguyen, Xiao, Yang, Hui, Shin and Shin 2016 (sampling one number).
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    epsilon: float
    method: Method = "hybrid"
    sampled: int = field(init=False)
    single: NumericResponse = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.lower) == len(self.upper) <= MOST_NUMBERS:
            raise ValueError(f"there must be as many lower as upper bounds, from 1 to {MOST_NUMBERS}")
        for low, high in zip(self.lower, self.upper, strict=True):
            NumericResponse(lower=low, upper=high, epsilon=self.epsilon, method=self.method)  # it checks them
        sampled = max(1, min(len(self.lower), math.floor(self.epsilon / _WORTH)))
        single = NumericResponse(
            lower=-1.0, upper=1.0, epsilon=_chance.part_of(self.epsilon, sampled), method=self.method
        )
        object.__setattr__(self, "sampled", sampled)
        object.__setattr__(self, "single", single)

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON."""
        return scheme_of(
            "numeric-vector",
            lower=[float(one) for one in self.lower],
            upper=[float(one) for one in self.upper],
            epsilon=self.epsilon,
            method=self.method,
            sampled=self.sampled,
        )

    @property
    def ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a report, given any two rows of numbers."""
        return self.single.ratio**self.sampled

    @property
    def report_bytes(self) -> int:
        """The length of one report in its serial form, header included."""
        return HEADER_BYTES + self.sampled * (bytes_for(len(self.lower)) + bytes_for(self.single.symbols))

    @property
    def event(self) -> PureDp:
        """What one report costs the person who sends it."""
        from wardline.dp.accounting import PureDp

        return PureDp(epsilon=self.epsilon)

    def randomise(self, values: npt.ArrayLike, *, random: SecureRandom) -> Int64[np.ndarray, "persons sampled two"]:
        """The client's half.

        Args:
            values: a row of finite numbers for each person; those beyond the bounds count as the bound.
            random: where the coins come from. Nothing that can be seeded is accepted.

        Returns:
            For each person the numbers that she reports about, in ascending order, and the symbol for each.

        Raises:
            TypeError: if `random` is not a `SecureRandom`, or a value is no number.
            ValueError: if a value is not finite, or rows have another length.
        """
        _chance.check_random(random)
        rows = np.asarray(values)
        count = len(self.lower)
        if rows.ndim != 2 or rows.shape[1] != count or rows.dtype.kind not in "iuf":
            raise TypeError(f"values must be rows of {count} numbers")
        rows = rows.astype(np.float64)
        if not np.isfinite(rows).all():
            raise ValueError("values must be finite")
        lower, upper = np.array(self.lower), np.array(self.upper)
        chosen = self._choose(len(rows), random)
        low, high = lower[chosen], upper[chosen]
        numbers = np.clip(np.take_along_axis(rows, chosen, axis=1), low, high)
        scaled = 2.0 * (numbers - low) / (high - low) - 1.0
        symbols = self.single.randomise(scaled.ravel(), random=random).reshape(chosen.shape)
        return np.stack((chosen, symbols), axis=2)

    def tally(self, reports: npt.NDArray[Any]) -> Tally:
        """Count how often each symbol was sent for each number.

        Raises:
            TypeError, ValueError: for a report that this mechanism does not make.
        """
        checked = self._checked(reports)
        cells = checked[:, :, 0] * self.single.symbols + checked[:, :, 1]
        counts = np.bincount(cells.ravel(), minlength=len(self.lower) * self.single.symbols).astype(np.int64)
        return Tally(scheme=self.scheme, reports=len(checked), counts=counts)

    def estimate(self, tally: Tally) -> tuple[MeanEstimate, ...]:
        """An unbiased estimate of the mean of each number, from those who reported about it.

        Raises:
            ValueError: for a tally of another mechanism, of no report, or in which nobody reports about some number.
        """
        check_tally(tally, self.scheme)
        found = []
        for index, counts in enumerate(tally.counts.reshape(len(self.lower), -1)):
            reports = int(counts.sum())
            if reports == 0:
                raise ValueError(f"nobody reported about number {index}: collect more reports")
            one = self.single.estimate(Tally(scheme=self.single.scheme, reports=reports, counts=counts))
            half = (self.upper[index] - self.lower[index]) / 2.0
            found.append(
                MeanEstimate(
                    value=self.lower[index] + half * (1.0 + one.value),
                    # The spread of the scores counts that among persons in full, so it also covers who was drawn.
                    std=one.std * half,
                    reports=reports,
                    epsilon=self.epsilon,
                    method=self.method,
                    reference=_REFERENCE,
                )
            )
        return tuple(found)

    def claim(self) -> Claim:
        """What one report guarantees, and against whom."""
        return local_claim(
            scheme=self.scheme,
            epsilon=self.epsilon,
            exact=_chance.epsilon_of(self.ratio),
            reference=_REFERENCE,
            about="the row of numbers",
        )

    def pack(self, reports: npt.NDArray[Any]) -> UInt8[np.ndarray, "reports width"]:
        """The payloads of reports: for each pair the number, then the symbol, the lowest byte first."""
        pairs = self._checked(reports).reshape(-1, 2)
        numbers = pack_integers(pairs[:, 0], len(self.lower))
        symbols = pack_integers(pairs[:, 1], self.single.symbols)
        width = numbers.shape[1] + symbols.shape[1]
        return np.concatenate((numbers, symbols), axis=1).reshape(len(reports), self.sampled * width)

    def unpack(
        self, payloads: UInt8[np.ndarray, "reports width"]
    ) -> tuple[Int64[np.ndarray, "reports sampled two"], Bool[np.ndarray, " reports"]]:
        """The reports in payloads, and which of them this mechanism makes."""
        width = bytes_for(len(self.lower))
        pairs = payloads.reshape(len(payloads) * self.sampled, width + bytes_for(self.single.symbols))
        found = np.stack((unpack_integers(pairs[:, :width]), unpack_integers(pairs[:, width:])), axis=1)
        found = found.reshape(len(payloads), self.sampled, 2)
        return found, self._possible(found)

    def _choose(self, rows: int, random: SecureRandom) -> npt.NDArray[np.int64]:
        """Different numbers for each row, every choice equally likely (Fisher and Yates), in ascending order."""
        count = len(self.lower)
        order = np.tile(np.arange(count), (rows, 1))
        index = np.arange(rows)
        for place in range(self.sampled):
            other = place + _chance.below(rows, count - place, random)
            order[index, place], order[index, other] = order[index, other], order[index, place].copy()
        return np.sort(order[:, : self.sampled], axis=1)

    def _possible(self, reports: Int64[np.ndarray, "reports sampled two"]) -> Bool[np.ndarray, " reports"]:
        numbers, symbols = reports[:, :, 0], reports[:, :, 1]
        inside = (numbers >= 0) & (numbers < len(self.lower)) & (symbols >= 0) & (symbols < self.single.symbols)
        rising = np.all(np.diff(numbers, axis=1) > 0, axis=1)
        found: npt.NDArray[np.bool_] = np.logical_and(np.all(inside, axis=1), rising)
        return found

    def _checked(self, reports: npt.NDArray[Any]) -> Int64[np.ndarray, "reports sampled two"]:
        if reports.dtype.kind not in "iu" or reports.ndim != 3 or reports.shape[1:] != (self.sampled, 2):
            raise TypeError(f"reports must be {self.sampled} pairs of a number and a symbol each")
        if not self._possible(reports).all():
            raise ValueError("a report is none that this mechanism makes")
        return reports.astype(np.int64, copy=False)
