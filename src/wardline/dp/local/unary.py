"""Unary encoding: one bit for each value, every bit flipped by a coin of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

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
from wardline.dp.local.wire import HEADER_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt
    from jaxtyping import Bool, Float64, Int64, UInt8, UInt64

    from wardline.dp.accounting import PureDp

MOST_BITS = 1 << 20

Flips = Literal["optimised", "symmetric"]
"""Whether the one bit that is set and the others are flipped differently (OUE), or alike (SUE, basic RAPPOR)."""

_NAMES = {"optimised": "optimised unary encoding", "symmetric": "symmetric unary encoding"}
_REFERENCES = {
    "optimised": "Wang, Blocki, Li and Jha 2017, section 4.3 (OUE)",
    "symmetric": "Erlingsson, Pihur and Korolova 2014, section 2 (basic RAPPOR, one time); Wang et al. 2017 (SUE)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryEncoding:
    """Sends a row of bits, of which the one for the person's value is set more often than the others.

    Attributes:
        size: how many values there are, from 2 to 2**20; a report has as many bits.
        epsilon: what one report may tell, from 2**-20 to 64.
        flips: optimised (OUE: the person's bit is a fair coin, the others are set rarely, which gives the least
            variance) or symmetric (SUE).
        own: times 2**-64, the probability that the bit of the person's value is set.
        other: times 2**-64, the probability that another bit is set.

    Raises:
        ValueError: for a figure out of range.

    Guarantee:
        epsilon-local differential privacy of one report against whoever receives it (see `claim`). Two values differ in
        two bits, so the ratio of two probabilities is at most own (1 - other) / (other (1 - own)). `own` and `other`
        are rounded to the sides on which this is not above e**epsilon; all bits are independent and exact.

    References:
        Wang, Blocki, Li and Jha 2017, section 4; Erlingsson, Pihur and Korolova 2014.
    """

    size: int
    epsilon: float
    flips: Flips = "optimised"
    own: int = field(init=False)
    other: int = field(init=False)

    def __post_init__(self) -> None:
        check_bits(self.size)
        _chance.check_epsilon(self.epsilon)
        if self.flips == "optimised":
            own = _chance.ONE // 2
            other = math.ceil(_chance.ONE / (_chance.exp_below(self.epsilon) + 1))
        elif self.flips == "symmetric":
            own = _chance.ONE - flip_threshold(self.epsilon)
            other = _chance.ONE - own
        else:
            raise ValueError("flips must be optimised or symmetric")
        object.__setattr__(self, "own", own)
        object.__setattr__(self, "other", other)

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON."""
        return scheme_of("unary-encoding", size=self.size, epsilon=self.epsilon, flips=self.flips)

    @property
    def ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a report, given any two values: never above e**epsilon."""
        return odds_ratio(_chance.share(self.own), _chance.share(self.other))

    @property
    def report_bytes(self) -> int:
        """The length of one report in its serial form, header included."""
        return HEADER_BYTES + (self.size + 7) // 8

    @property
    def event(self) -> PureDp:
        """What one report costs the person who sends it."""
        from wardline.dp.accounting import PureDp

        return PureDp(epsilon=self.epsilon)

    def randomise(self, values: npt.ArrayLike, *, random: SecureRandom) -> UInt64[np.ndarray, "persons words"]:
        """The client's half: one row of bits for each value.

        Args:
            values: whole numbers from 0 to size - 1, one for each person.
            random: where the coins come from. Nothing that can be seeded is accepted.

        Returns:
            A row of 64-bit words for each person; value v has bit v % 64 of word v // 64. At 1000 values a million
            reports take 128 MB: `simulate` makes and counts them piece by piece.

        Raises:
            TypeError: if `random` is not a `SecureRandom`, or a value is no whole number.
            ValueError: if a value lies outside of the domain.
        """
        _chance.check_random(random)
        true = checked_values(values, self.size)
        rows = blank(len(true), self.size, self.other, random)
        place(rows, true, _chance.coins(len(true), self.own, random))
        return rows

    def tally(self, reports: npt.NDArray[Any]) -> Tally:
        """Count for each value in how many reports its bit is set.

        Raises:
            TypeError, ValueError: for reports that this mechanism does not make.
        """
        return tally_bits(reports, self.size, self.scheme)

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
            method=_NAMES[self.flips],
            reference=_REFERENCES[self.flips],
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
            reference=_REFERENCES[self.flips],
            hostile_report_counts_as=(1 - self._support.false) / self._support.gap,
        )

    def pack(self, reports: npt.NDArray[Any]) -> UInt8[np.ndarray, "reports width"]:
        """The payloads of reports: bit v % 8 of byte v // 8 belongs to value v; bits beyond the domain are 0."""
        return pack_bits(reports, self.size)

    def unpack(
        self, payloads: UInt8[np.ndarray, "reports width"]
    ) -> tuple[UInt64[np.ndarray, "reports words"], Bool[np.ndarray, " reports"]]:
        """The reports in payloads, and which of them have no bit beyond the domain."""
        return unpack_bits(payloads, self.size)

    @property
    def _support(self) -> Support:
        return Support(float(_chance.share(self.own)), float(_chance.share(self.other)))


# --- rows of bits, for all mechanisms that send them ------------------------------------------------------


def check_bits(size: int) -> None:
    """Refuse a domain for which a report would be longer than 128 KiB.

    Raises:
        ValueError: below 2 or above 2**20.
    """
    check_size(size)
    if size > MOST_BITS:
        raise ValueError(f"size must be at most {MOST_BITS} where a report has a bit for each value, not {size}")


def flip_threshold(epsilon: float) -> int:
    """How often a bit is flipped, times 2**-64, if flipping two of them costs epsilon: 1 / (1 + e**(epsilon / 2))."""
    return math.ceil(_chance.ONE / (_chance.exp_below(epsilon / 2) + 1))


def odds_ratio(own: Fraction, other: Fraction) -> Fraction:
    """The largest ratio of the probabilities of a row of bits, given two values."""
    return own * (1 - other) / (other * (1 - own))


def blank(rows: int, size: int, threshold: int, random: SecureRandom) -> UInt64[np.ndarray, "rows words"]:
    """Rows of which every bit inside the domain is set with probability threshold / 2**64."""
    width = _words(size)
    found = _chance.packed_coins(rows * width, threshold, random).reshape(rows, width)
    found[:, -1] &= _last_word(size)
    return found


def place(
    rows: UInt64[np.ndarray, "rows words"], bits: Int64[np.ndarray, " rows"], shown: npt.NDArray[np.bool_]
) -> None:
    """Set the one bit of each row to what its coin shows."""
    index = np.arange(len(rows))
    one = np.uint64(1) << (bits & 63).astype(np.uint64)
    word = bits >> 6
    rows[index, word] = (rows[index, word] & ~one) | np.where(shown, one, np.uint64(0))


def tally_bits(reports: npt.NDArray[Any], size: int, scheme: str) -> Tally:
    """Count for each value in how many rows its bit is set."""
    checked = checked_rows(reports, size)
    counts = _chance.column_sums(checked)[:size]
    return Tally(scheme=scheme, reports=len(checked), counts=counts)


def checked_rows(reports: npt.NDArray[Any], size: int) -> UInt64[np.ndarray, "rows words"]:
    """Rows of the right width without a bit beyond the domain.

    Raises:
        TypeError, ValueError: for others.
    """
    if reports.dtype != np.uint64:
        raise TypeError("reports must be rows of 64-bit words")
    if reports.ndim != 2 or reports.shape[1] != _words(size):
        raise ValueError(f"a report must have {_words(size)} words")
    if np.any(reports[:, -1] & ~_last_word(size)):
        raise ValueError("a report has a bit beyond the domain")
    return reports


def pack_bits(reports: npt.NDArray[Any], size: int) -> UInt8[np.ndarray, "reports width"]:
    """The rows as bytes, the lowest bit and the lowest byte first."""
    rows = np.ascontiguousarray(checked_rows(reports, size), dtype="<u8")
    return rows.view(np.uint8).reshape(len(rows), 8 * _words(size))[:, : (size + 7) // 8]


def unpack_bits(
    payloads: UInt8[np.ndarray, "reports width"], size: int
) -> tuple[UInt64[np.ndarray, "reports words"], Bool[np.ndarray, " reports"]]:
    """The rows in payloads, and which of them have no bit beyond the domain."""
    wide = np.zeros((len(payloads), 8 * _words(size)), dtype=np.uint8)
    wide[:, : payloads.shape[1]] = payloads
    rows = wide.view("<u8").astype(np.uint64)
    return rows, (rows[:, -1] & ~_last_word(size)) == 0


def _words(size: int) -> int:
    return (size + 63) // 64


def _last_word(size: int) -> np.uint64:
    """A word with those bits set that belong to the domain's last word."""
    used = (size - 1) % 64 + 1
    return np.uint64((1 << used) - 1)
