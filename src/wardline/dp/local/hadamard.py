"""Hadamard response: a report of some bits, as good as a long one, and estimates by a fast transform."""

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

_REFERENCE = "Acharya, Sun and Zhang 2019, sections 4 and 5"


@dataclass(frozen=True, slots=True, kw_only=True)
class HadamardResponse:
    """Sends one symbol out of about twice as many as there are values; best for many values and short reports.

    The symbols form blocks, each with the columns of a Hadamard matrix; a value is a block and a row of that matrix,
    and the symbols in which its row is +1 are its own. The number of blocks is the one of least variance.

    Attributes:
        size: how many values there are, from 2 to 2**24.
        epsilon: what one report may tell, from 2**-20 to 64.
        blocks: how many blocks, a power of two.
        width: how many symbols a block has, a power of two.
        truth: times 2**-64, the probability of sending one of the value's own symbols outright; otherwise each symbol
            of all is sent with equal probability.

    Raises:
        ValueError: for a figure out of range.

    Guarantee:
        epsilon-local differential privacy of one report against whoever receives it (see `claim`). Half of the symbols
        of a block are a value's own, so the largest ratio of two probabilities is 1 + 2 blocks truth / (2**64 - truth);
        `truth` is the largest whole number for which this is not above e**epsilon. No probability is rounded.

    References:
        Acharya, Sun and Zhang 2019. The paper takes the number of blocks from epsilon; here it is searched.
    """

    size: int
    epsilon: float
    blocks: int = field(init=False)
    width: int = field(init=False)
    truth: int = field(init=False)

    def __post_init__(self) -> None:
        check_size(self.size)
        _chance.check_epsilon(self.epsilon)
        gain = _chance.exp_below(self.epsilon) - 1
        choices = []
        blocks = 1
        while blocks < 2 * self.size:
            # Row 0 is +1 everywhere and tells nothing, so a block serves one value fewer than it has symbols.
            width = 1 << math.ceil(math.log2(-(-self.size // blocks) + 1))
            truth = math.floor(_chance.ONE * gain / (gain + 2 * blocks))
            choices.append((_mean_variance(self.size, blocks, truth), blocks, width, truth))
            blocks *= 2
        _, blocks, width, truth = min(choices)
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "truth", truth)

    @property
    def scheme(self) -> str:
        """The mechanism and its parameters, in canonical JSON."""
        return scheme_of("hadamard-response", size=self.size, epsilon=self.epsilon, blocks=self.blocks)

    @property
    def symbols(self) -> int:
        """How many different reports there are."""
        return self.blocks * self.width

    @property
    def ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a report, given any two values: never above e**epsilon."""
        return 1 + Fraction(2 * self.blocks * self.truth, _chance.ONE - self.truth)

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
        """The client's half: one symbol for each value.

        Args:
            values: whole numbers from 0 to size - 1, one for each person.
            random: where the coins come from. Nothing that can be seeded is accepted.

        Raises:
            TypeError: if `random` is not a `SecureRandom`, or a value is no whole number.
            ValueError: if a value lies outside of the domain.
        """
        _chance.check_random(random)
        true = checked_values(values, self.size)
        block, row = self._home(true)
        column = _chance.below(len(true), self.width, random)
        # The entry of row r and column c is -1 where r and c share an odd number of bits. Flipping the lowest bit of r
        # in c changes that, and pairs the columns off, so that each of the +1 columns comes up equally often.
        odd = np.bitwise_count(row & column) & 1
        own = block * self.width + np.where(odd, column ^ (row & -row), column)
        other = _chance.below(len(true), self.symbols, random)
        return np.where(_chance.coins(len(true), self.truth, random), own, other)

    def tally(self, reports: npt.NDArray[Any]) -> Tally:
        """Count how often each symbol was sent.

        Raises:
            TypeError, ValueError: for a report that this mechanism does not make.
        """
        found = checked_values(reports, self.symbols)
        counts = np.bincount(found, minlength=self.symbols).astype(np.int64)
        return Tally(scheme=self.scheme, reports=len(found), counts=counts)

    def estimate(self, tally: Tally) -> FrequencyEstimate:
        """Unbiased estimates of how many of those who reported have each value, with standard errors.

        Raises:
            ValueError: for a tally of another mechanism, or of no report.
        """
        check_tally(tally, self.scheme)
        transformed = _transform(tally.counts.reshape(self.blocks, self.width))
        counts = transformed[self._home(np.arange(self.size))] / float(_chance.share(self.truth))
        return FrequencyEstimate(
            counts=counts,
            std=np.sqrt(self.variance(consistent(counts, total=tally.reports))),
            reports=tally.reports,
            epsilon=self.epsilon,
            method="Hadamard response",
            reference=_REFERENCE,
        )

    def variance(self, counts: npt.ArrayLike) -> Float64[np.ndarray, " size"]:
        """The variance of each estimate, if `counts` persons have each value. Nothing but the coins varies."""
        true = check_counts(counts, self.size)
        block, _ = self._home(np.arange(self.size))
        outright = float(_chance.share(self.truth))
        beside = float(1 - _chance.share(self.truth)) / self.blocks
        # A report counts +1 or -1 if it falls into the value's block, and 0 otherwise.
        falls = outright * np.bincount(block, weights=true, minlength=self.blocks)[block] + beside * true.sum()
        found: npt.NDArray[np.float64] = falls / outright**2 - true
        return found

    def mean_variance(self, people: int) -> float:
        """The variance of an estimate on average over the values, if `people` are spread over them evenly.

        The blocks hold equally many values or one more, so that it hardly depends on who has which.
        """
        return people * _mean_variance(self.size, self.blocks, self.truth)

    def claim(self) -> Claim:
        """What one report guarantees, and against whom."""
        return local_claim(
            scheme=self.scheme,
            epsilon=self.epsilon,
            exact=_chance.epsilon_of(self.ratio),
            reference=_REFERENCE,
            hostile_report_counts_as=float(1 / _chance.share(self.truth)),
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

    def _home(self, values: Int64[np.ndarray, " values"]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The block of each value and its row there, from 1."""
        return values % self.blocks, values // self.blocks + 1


def _mean_variance(size: int, blocks: int, truth: int) -> float:
    """Of one person's contribution, on average over the values and over evenly spread persons."""
    outright = float(_chance.share(truth))
    beside = float(1 - _chance.share(truth)) / blocks
    least, larger = divmod(size, blocks)  # values of a block, and how many blocks have one more
    together = (larger * (least + 1) ** 2 + (blocks - larger) * least**2) / size**2
    return (outright * together + beside) / outright**2 - 1 / size


def _transform(counts: Int64[np.ndarray, "blocks width"]) -> Int64[np.ndarray, "blocks width"]:
    """The Hadamard transform of every row, in whole numbers (Fino and Algazi 1976)."""
    found = counts
    half = 1
    while half < counts.shape[1]:
        pairs = found.reshape(len(counts), -1, 2, half)
        found = np.stack((pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]), axis=2)
        found = found.reshape(counts.shape)
        half *= 2
    return found
