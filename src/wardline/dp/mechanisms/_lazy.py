"""Numbers of which only as many bits are drawn as a decision needs: what makes the samplers exact.

A sampler that works in floating point errs where rounding decides. Here floating point only proposes: each proposal
comes with a bound on its error, and where the bound does not settle the decision, the same random number is looked at
again in exact arithmetic, with further random bits as long as they matter. So every decision is the one that an
infinitely precise computation with infinitely many random bits would have made, and the distribution is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom

ERROR = 2.0**-40
"""A bound on the error of an approximate exponential number that is at most `CERTAIN_BELOW`.

The first 63 bits of the uniform number make an integer m of at least 2**41, so that replacing m by m | 1, and all bits
beyond by nothing, changes it by a relative 2**-40.9 at most, of which its logarithm changes by as much in absolute
terms. Conversion to a double and multiplication add 2**-52, and a logarithm that is wrong by as much as 64 units in the
last place (those in use are wrong by less than 4) another 2**-43. The sum is below 2**-40.
"""

CERTAIN_BELOW = 22 * math.log(2) - 0.01
"""Approximate numbers below it come from a prefix of at least 2**41."""

_PREFIX = 63


class LazyExponential:
    """One exponential number, -log(U), of whose uniform number U the first bits are known.

    Args:
        prefix: these bits, as a whole number.
        bits: how many they are.
        random: where further bits come from.
    """

    __slots__ = ("_bits", "_prefix", "_random")

    def __init__(self, prefix: int, bits: int, random: SecureRandom) -> None:
        self._prefix = prefix
        self._bits = bits
        self._random = random

    def refine(self) -> None:
        """Draw 64 further bits."""
        self._prefix = self._prefix << 64 | int.from_bytes(self._random.bytes(8), "big")
        self._bits += 64

    def bounds(self) -> tuple[Fraction, Fraction]:
        """Between which two numbers it lies, whatever the bits that are not drawn yet."""
        while self._prefix == 0:
            self.refine()
        # A number of b binary places has at most b decimal ones, so these quotients are exact, and ln is correctly
        # rounded (General Decimal Arithmetic Specification): one unit in the last place is twice its error.
        context = Context(prec=self._bits + 10, rounding=ROUND_HALF_EVEN)
        whole = Decimal(1 << self._bits)
        ends = []
        for numerator, away in ((self._prefix + 1, -1), (self._prefix, 1)):
            value = -Fraction(context.ln(context.divide(Decimal(numerator), whole)))
            ends.append(value * (1 + Fraction(away, 10 ** (context.prec - 1))))
        return ends[0], ends[1]

    def floor_scaled(self, scale: Fraction) -> int:
        """The whole part of `scale` times this number: geometric with ratio exp(-1 / scale)."""
        while True:
            low, high = (math.floor(scale * end) for end in self.bounds())
            if low == high:
                return low
            self.refine()

    def exceeds(self, threshold: Fraction) -> bool:
        """Whether it is above `threshold`: true with probability exp(-threshold), for a threshold of at least 0."""
        while True:
            low, high = self.bounds()
            if low > threshold:
                return True
            if high < threshold:
                return False
            self.refine()


def exponentials(count: int, random: SecureRandom) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """Exponential numbers: the random words that they are made of, and their approximate values.

    Returns:
        The words, whose upper 63 bits begin the uniform number and whose lowest bit is free for another use; and
        the values, wrong by less than `ERROR` where they are below `CERTAIN_BELOW`, and unreliable elsewhere.
    """
    words = random.uint64(count)
    prefixes = np.right_shift(words, np.uint64(1))
    prefixes |= np.uint64(1)  # never 0, whose logarithm is infinite
    values = prefixes.view(np.int64).astype(np.float64)
    values *= 2.0**-_PREFIX
    np.log(values, out=values)
    np.negative(values, out=values)
    return words, values


def coins(
    thresholds: npt.NDArray[np.float64], random: SecureRandom, *, error: float, exact: Callable[[int], Fraction]
) -> npt.NDArray[np.bool_]:
    """Coins that show True with probability exp(-threshold), exactly.

    Args:
        thresholds: approximate, at least 0.
        random: where the coins come from.
        error: by how much a threshold below `CERTAIN_BELOW` may be wrong.
        exact: the exact threshold in a place, asked for in the rare case that it matters.
    """
    words, values = exponentials(len(thresholds), random)
    certain = values < CERTAIN_BELOW
    values -= thresholds
    shown = values > 0
    np.abs(values, out=values)
    certain &= values > ERROR + error
    for place in np.flatnonzero(~certain):
        shown[place] = revisit(words[place], random).exceeds(exact(int(place)))
    return shown


def revisit(word: np.uint64, random: SecureRandom) -> LazyExponential:
    """The number that `exponentials` made of this word, to be looked at as closely as need be."""
    return LazyExponential(int(word) >> 1, _PREFIX, random)


def check_source(random: SecureRandom) -> None:
    """Refuse whatever could be seeded.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
    """
    if not isinstance(random, SecureRandom):
        raise TypeError("noise that protects privacy comes from SecureRandom only")
