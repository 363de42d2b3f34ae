"""Reports again and again about the same value: a noisy answer that is kept for ever, and noise on each report of it.

Fresh noise on every report averages out: after some hundred reports the server knows the value. So a device draws a
noisy row of bits once (permanent response), keeps it, and each report is a noisy copy of that row and never of the
value (instantaneous response). However many reports there are, they tell no more than the kept row would.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from wardline.core import Claim, SecureRandom
from wardline.core.checks import at_least
from wardline.dp.local import _chance
from wardline.dp.local._claim import local_claim, scheme_of
from wardline.dp.local.frequency import (
    FrequencyEstimate,
    Support,
    Tally,
    check_counts,
    check_tally,
    checked_values,
    consistent,
)
from wardline.dp.local.unary import (
    blank,
    check_bits,
    checked_rows,
    flip_threshold,
    odds_ratio,
    pack_bits,
    place,
    tally_bits,
    unpack_bits,
)
from wardline.dp.local.wire import HEADER_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt
    from jaxtyping import Bool, Float64, UInt8, UInt64

    from wardline.dp.accounting import PureDp

_REFERENCE = "Erlingsson, Pihur and Korolova 2014, sections 3 and 4 (basic RAPPOR: no Bloom filter)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rappor:
    """Basic RAPPOR with symmetric flips: for values that are reported repeatedly.

    A client uses it through `MemoisedClient`, which keeps the permanent rows. `randomise` answers for many persons with
    fresh rows each: one round of reports, to simulate or to test.

    Attributes:
        size: how many values there are, from 2 to 2**20; a report has as many bits.
        epsilon: what all reports together may tell about one value, for ever; from 2**-20 to 64.
        report_epsilon: what a single report may tell, from 2**-20 and below `epsilon`.
        most_values: how many different values of one person get a permanent row of their own; whatever comes after is
            answered with the row used last. 1 protects the whole course of a person's values at `epsilon`, at the
            price that changes are not seen.
        permanent: times 2**-64, how often a bit of the permanent row is flipped.
        instant: times 2**-64, how often a bit of the permanent row is flipped again in a report.

    Raises:
        ValueError: for a figure out of range.

    Guarantee:
        With `most_values` = 1: for any two courses of values of one person, all reports that she ever sends together
        are epsilon-locally differentially private, with delta 0: they are computed from one permanent row, which is a
        symmetric unary encoding of her first value. With more: `most_values` * epsilon for two courses whose values
        change at the same times; when values change is not hidden. In both cases a single report has `report_epsilon`.
        The probabilities are exact and rounded to the safe side.

    References:
        Erlingsson, Pihur and Korolova 2014; Ding, Kulkarni and Yekhanin 2017, section 3 (what changing values reveal);
        Arcolezi, Couchot, Al Bouna and Xiao 2021 (two rounds of symmetric flips: L-SUE).
    """

    size: int
    epsilon: float
    report_epsilon: float
    most_values: int = 1
    permanent: int = field(init=False)
    instant: int = field(init=False)

    def __post_init__(self) -> None:
        check_bits(self.size)
        _chance.check_epsilon(self.epsilon)
        _chance.check_epsilon(self.report_epsilon, "report_epsilon")
        at_least("most_values", self.most_values, 1)
        if not self.report_epsilon < self.epsilon:
            raise ValueError("report_epsilon must be below epsilon: a report is a noisy copy of the permanent row")
        permanent = flip_threshold(self.epsilon)
        # Two flips of probabilities a and b together flip with a + b - 2ab, which shall be at least what one report
        # asks for.
        first, both = _chance.share(permanent), _chance.share(flip_threshold(self.report_epsilon))
        instant = math.ceil(_chance.ONE * (both - first) / (1 - 2 * first))
        object.__setattr__(self, "permanent", permanent)
        object.__setattr__(self, "instant", max(0, instant))

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON."""
        return scheme_of(
            "rappor",
            size=self.size,
            epsilon=self.epsilon,
            report_epsilon=self.report_epsilon,
            most_values=self.most_values,
        )

    @property
    def ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a permanent row, given any two values."""
        flipped = _chance.share(self.permanent)
        return odds_ratio(1 - flipped, flipped)

    @property
    def report_ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a single report, given any two values."""
        flipped = self._flipped
        return odds_ratio(1 - flipped, flipped)

    @property
    def report_bytes(self) -> int:
        """The length of one report in its serial form, header included."""
        return HEADER_BYTES + (self.size + 7) // 8

    @property
    def event(self) -> PureDp:
        """What all reports of one person together cost her, however many there are."""
        from wardline.dp.accounting import PureDp

        return PureDp(epsilon=self.epsilon, steps=self.most_values)

    def make_permanent(self, values: npt.ArrayLike, *, random: SecureRandom) -> UInt64[np.ndarray, "persons words"]:
        """Permanent rows, one for each value. Whoever sees a row has seen `epsilon`; drawing it twice costs twice.

        Raises:
            TypeError: if `random` is not a `SecureRandom`, or a value is no whole number.
            ValueError: if a value lies outside of the domain.
        """
        _chance.check_random(random)
        true = checked_values(values, self.size)
        rows = blank(len(true), self.size, self.permanent, random)
        place(rows, true, ~_chance.coins(len(true), self.permanent, random))
        return rows

    def report(self, rows: npt.NDArray[Any], *, random: SecureRandom) -> UInt64[np.ndarray, "persons words"]:
        """One report for each permanent row: a copy of which every bit is flipped by a coin.

        Raises:
            TypeError: if `random` is not a `SecureRandom`.
            TypeError, ValueError: for rows that this mechanism does not make.
        """
        _chance.check_random(random)
        kept = checked_rows(rows, self.size)
        found: npt.NDArray[np.uint64] = kept ^ blank(len(kept), self.size, self.instant, random)
        return found

    def randomise(self, values: npt.ArrayLike, *, random: SecureRandom) -> UInt64[np.ndarray, "persons words"]:
        """One report for each value, from a permanent row that is then forgotten: for one round only.

        Raises:
            TypeError: if `random` is not a `SecureRandom`, or a value is no whole number.
            ValueError: if a value lies outside of the domain.
        """
        return self.report(self.make_permanent(values, random=random), random=random)

    def tally(self, reports: npt.NDArray[Any]) -> Tally:
        """Count for each value in how many reports its bit is set.

        Raises:
            TypeError, ValueError: for reports that this mechanism does not make.
        """
        return tally_bits(reports, self.size, self.scheme)

    def estimate(self, tally: Tally) -> FrequencyEstimate:
        """Unbiased estimates of how many of those who reported have each value, with standard errors.

        The tally is that of one round: one report of each person. Over rounds the permanent rows stay, so averages of
        rounds keep the error that `make_permanent` put in.

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
            method="RAPPOR",
            reference=_REFERENCE,
        )

    def variance(self, counts: npt.ArrayLike) -> Float64[np.ndarray, " size"]:
        """The variance of each estimate from one round, if `counts` persons have each value."""
        return self._support.variance(check_counts(counts, self.size))

    def mean_variance(self, people: int) -> float:
        """The same on average over the values, whoever of `people` has which."""
        return self._support.mean_variance(people, self.size)

    def claim(self) -> Claim:
        """What all reports of one person guarantee together, and against whom."""
        about = "the course of a person's values" if self.most_values == 1 else "the values of a person"
        claim = local_claim(
            scheme=self.scheme,
            epsilon=self.epsilon * self.most_values,
            exact=_chance.epsilon_of(self.ratio) * self.most_values,
            reference=_REFERENCE,
            about=about,
            exact_report_epsilon=min(_chance.epsilon_of(self.report_ratio), self.report_epsilon),
            hostile_report_counts_as=(1 - self._support.false) / self._support.gap,
        )
        return _with_memo_assumptions(claim, several=self.most_values > 1)

    def pack(self, reports: npt.NDArray[Any]) -> UInt8[np.ndarray, "reports width"]:
        """The payloads of reports: bit v % 8 of byte v // 8 belongs to value v; bits beyond the domain are 0."""
        return pack_bits(reports, self.size)

    def unpack(
        self, payloads: UInt8[np.ndarray, "reports width"]
    ) -> tuple[UInt64[np.ndarray, "reports words"], Bool[np.ndarray, " reports"]]:
        """The reports in payloads, and which of them have no bit beyond the domain."""
        return unpack_bits(payloads, self.size)

    @property
    def _flipped(self) -> Fraction:
        first, second = _chance.share(self.permanent), _chance.share(self.instant)
        return first + second - 2 * first * second

    @property
    def _support(self) -> Support:
        return Support(float(1 - self._flipped), float(self._flipped))


def _with_memo_assumptions(claim: Claim, *, several: bool) -> Claim:
    """The claim with what must be true of the permanent rows, in place of what is said of single reports."""
    memo = [
        "The device keeps the permanent rows; a lost or copied back store draws another row, which adds up.",
        "The reports of one person come from one store.",
    ]
    if several:
        memo.append("The two courses of values that are compared change at the same times: changes are not hidden.")
    kept = [one for one in claim.assumptions if not one.startswith("Several reports")]
    return dataclasses.replace(claim, assumptions=(*kept, *memo))
