"""Randomised response over several values: tell the truth with some probability, else any value at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from wardline.core import Claim, SecureRandom
from wardline.dp.local import _chance
from wardline.dp.local._claim import local_claim, scheme_of
from wardline.dp.local.frequency import (
    FrequencyEstimate,
    Support,
    Tally,
    check_counts,
    check_size,
    check_tally,
    checked_values,
    consistent,
)
from wardline.dp.local.wire import HEADER_BYTES, bytes_for, pack_integers, unpack_integers

if TYPE_CHECKING:
    import numpy.typing as npt
    from jaxtyping import Bool, Float64, Int64, UInt8

    from wardline.dp.accounting import PureDp

_REFERENCE = "Warner 1965; Kairouz, Bonawitz and Ramage 2016 (k-ary); Wang, Blocki, Li and Jha 2017, section 4.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomisedResponse:
    """k-ary randomised response: best where there are few values or epsilon is large.

    Attributes:
        size: how many values there are, from 2 to 2**24.
        epsilon: what one report may tell, from 2**-20 to 64.
        truth: times 2**-64, the probability of telling the truth outright; otherwise each value, the true one
            included, is told with equal probability.

    Raises:
        ValueError: for a figure out of range.

    Guarantee:
        epsilon-local differential privacy of one report against whoever receives it (see `claim`). `truth` is the
        largest whole number for which the ratio of two probabilities, 1 + size truth / (2**64 - truth), is not above
        e**epsilon; the uniform value is drawn by rejection. No probability is rounded on the way.

    References:
        Warner 1965; Kairouz, Bonawitz and Ramage 2016; Wang, Blocki, Li and Jha 2017, section 4.1.
    """

    size: int
    epsilon: float
    truth: int = field(init=False)

    def __post_init__(self) -> None:
        check_size(self.size)
        _chance.check_epsilon(self.epsilon)
        gain = _chance.exp_below(self.epsilon) - 1
        object.__setattr__(self, "truth", math.floor(_chance.ONE * gain / (gain + self.size)))

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON."""
        return scheme_of("randomised-response", size=self.size, epsilon=self.epsilon)

    @property
    def ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a report, given any two values: never above e**epsilon."""
        return 1 + Fraction(self.size * self.truth, _chance.ONE - self.truth)

    @property
    def report_bytes(self) -> int:
        """The length of one report in its serial form, header included."""
        return HEADER_BYTES + bytes_for(self.size)

    @property
    def event(self) -> PureDp:
        """What one report costs the person who sends it."""
        from wardline.dp.accounting import PureDp

        return PureDp(epsilon=self.epsilon)

    def randomise(self, values: npt.ArrayLike, *, random: SecureRandom) -> Int64[np.ndarray, " persons"]:
        """The client's half: one report for each value.

        Args:
            values: whole numbers from 0 to size - 1, one for each person.
            random: where the coins come from. Nothing that can be seeded is accepted.

        Returns:
            A value for each person, true or not.

        Raises:
            TypeError: if `random` is not a `SecureRandom`, or a value is no whole number.
            ValueError: if a value lies outside of the domain.
        """
        _chance.check_random(random)
        true = checked_values(values, self.size)
        other = _chance.below(len(true), self.size, random)
        return np.where(_chance.coins(len(true), self.truth, random), true, other)

    def tally(self, reports: npt.NDArray[Any]) -> Tally:
        """Count how often each value was reported.

        Raises:
            TypeError, ValueError: for a report that this mechanism does not make.
        """
        found = checked_values(reports, self.size)
        counts = np.bincount(found, minlength=self.size).astype(np.int64)
        return Tally(scheme=self.scheme, reports=len(found), counts=counts)

    def estimate(self, tally: Tally) -> FrequencyEstimate:
        """Unbiased estimates of how many of those who reported have each value, with standard errors.

        Raises:
            ValueError: for a tally of another mechanism, or of no report.
        """
        check_tally(tally, self.scheme)
        support = self._support
        counts = (tally.counts - tally.reports * support.false) / support.gap
        return FrequencyEstimate(
            counts=counts,
            std=np.sqrt(self.variance(consistent(counts, total=tally.reports))),
            reports=tally.reports,
            epsilon=self.epsilon,
            method="randomised response",
            reference=_REFERENCE,
        )

    def variance(self, counts: npt.ArrayLike) -> Float64[np.ndarray, " size"]:
        """The variance of each estimate, if `counts` persons have each value. Nothing but the coins varies."""
        return self._support.variance(check_counts(counts, self.size))

    def mean_variance(self, people: int) -> float:
        """The variance of an estimate on average over the values, whoever of `people` has which."""
        return self._support.mean_variance(people, self.size)

    def claim(self) -> Claim:
        """What one report guarantees, and against whom."""
        return local_claim(
            scheme=self.scheme,
            epsilon=self.epsilon,
            exact=_chance.epsilon_of(self.ratio),
            reference=_REFERENCE,
            hostile_report_counts_as=(1 - self._support.false) / self._support.gap,
        )

    @property
    def _support(self) -> Support:
        by_chance = Fraction(_chance.ONE - self.truth, _chance.ONE * self.size)
        return Support(float(_chance.share(self.truth) + by_chance), float(by_chance))

    def pack(self, reports: npt.NDArray[Any]) -> UInt8[np.ndarray, "reports width"]:
        """The payloads of reports: the value, the lowest byte first."""
        return pack_integers(checked_values(reports, self.size), self.size)

    def unpack(
        self, payloads: UInt8[np.ndarray, "reports width"]
    ) -> tuple[Int64[np.ndarray, " reports"], Bool[np.ndarray, " reports"]]:
        """The reports in payloads, and which of them lie in the domain."""
        found = unpack_integers(payloads)
        return found, found < self.size
