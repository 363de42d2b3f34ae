"""Coins and choices whose probabilities are exact fractions, chosen so that a stated epsilon holds exactly.

Every mechanism of this package draws with probabilities t / 2**64, where t is a whole number: a uniform 64-bit word
falls below t exactly that often. Each t is rounded to the side on which the largest ratio of two probabilities stays at
or below e**epsilon. So the guarantee is a statement about whole numbers, and floating point decides about no coin.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from wardline.core import SecureRandom

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64, UInt64

ONE = 1 << 64
"""The whole number that stands for probability 1."""

LEAST_EPSILON, MOST_EPSILON = 2.0**-20, 64.0

_BITS = 64
_ALL = np.uint64(ONE - 1)
_BLOCK = 1 << 15  # words: 256 KiB, as much as the processor's nearer caches hold
_SPARSE = 16  # once that few words in a hundred are undecided, the others are left alone
_DIGITS = Context(prec=60, rounding=ROUND_HALF_EVEN)
_MARGIN = Decimal("1e-50")  # far more than two roundings to 60 digits


def check_epsilon(epsilon: float, name: str = "epsilon") -> None:
    """Refuse an epsilon that the coins cannot serve.

    Raises:
        ValueError: below 2**-20, where answers say almost nothing, or above 64, where they hide nothing.
    """
    if not LEAST_EPSILON <= epsilon <= MOST_EPSILON:
        raise ValueError(f"{name} must lie between 2**-20 and 64, not {epsilon}")


def check_random(random: SecureRandom) -> None:
    """Refuse whatever could be seeded: an answer whose coins can be drawn again hides nothing.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
    """
    if not isinstance(random, SecureRandom):
        raise TypeError("coins that protect privacy come from SecureRandom only")


def exp_below(exponent: float) -> Fraction:
    """A fraction just below e**exponent, smaller by a relative 1e-58 at most.

    `decimal` rounds its exponential correctly (General Decimal Arithmetic Specification), and a float is an exact
    decimal number, so one unit in the last place is more than the error.
    """
    return Fraction(_DIGITS.next_minus(_DIGITS.exp(Decimal(exponent))))


def epsilon_of(ratio: Fraction) -> float:
    """The least double that is not below ln(ratio), up to one unit in the last place."""
    quotient = _DIGITS.divide(Decimal(ratio.numerator), Decimal(ratio.denominator))
    found = _DIGITS.add(_DIGITS.ln(quotient), _MARGIN)
    near = float(found)
    return near if Decimal(near) >= found else math.nextafter(near, math.inf)


def part_of(epsilon: float, parts: int) -> float:
    """The largest double whose `parts`-fold does not exceed epsilon."""
    part = epsilon / parts
    while Fraction(part) * parts > Fraction(epsilon):
        part = math.nextafter(part, 0.0)
    return part


def share(threshold: int) -> Fraction:
    """The probability that a threshold stands for."""
    return Fraction(threshold, ONE)


def coins(count: int, threshold: int, random: SecureRandom) -> Bool[np.ndarray, " count"]:
    """Coins that each show True with probability threshold / 2**64, exactly; `threshold` is below 2**64."""
    return random.uint64(count) < np.uint64(threshold)


def below(count: int, bound: int, random: SecureRandom) -> Int64[np.ndarray, " count"]:
    """Whole numbers from 0 to bound - 1, each equally likely, exactly.

    How often a word is drawn again depends on the words alone, so the time that it takes tells nothing about anybody.
    """
    if bound & (bound - 1) == 0:
        return (random.uint64(count) & np.uint64(bound - 1)).astype(np.int64)
    words = random.uint64(count)
    limit = np.uint64(ONE - ONE % bound - 1)  # the last word of the last complete run of `bound` words
    late = np.flatnonzero(words > limit)
    if len(late):
        words = words.copy()
        while len(late):
            words[late] = random.uint64(len(late))
            late = late[words[late] > limit]
    return (words % np.uint64(bound)).astype(np.int64)


def packed_coins(words: int, threshold: int, random: SecureRandom) -> UInt64[np.ndarray, " words"]:
    """64 coins in each word: every bit is set with probability threshold / 2**64, exactly and independently.

    A coin is a comparison of a 64-bit uniform number with the threshold, and bits below the first one that differs do
    not matter. So all 64 coins of a word draw their numbers bit by bit, the highest first, side by side, until each is
    decided: some 8 random words for 64 coins where comparing whole numbers takes 64.
    """
    shown = np.zeros(words, dtype=np.uint64)
    for start in range(0, words, _BLOCK):
        _fill(shown[start : start + _BLOCK], threshold, random)
    return shown


def _fill(shown: UInt64[np.ndarray, " words"], threshold: int, random: SecureRandom) -> None:
    undecided = np.full(len(shown), _ALL)
    places: Int64[np.ndarray, " places"] | None = None  # which words are still looked at; None for all
    found = shown
    for position in range(_BITS - 1, -1, -1):
        rest = threshold & ((2 << position) - 1)
        if rest == 0 or len(undecided) == 0:  # a number that agrees so far is not below the threshold any more
            break
        drawn = random.uint64(len(undecided))
        if rest >> position:
            found |= undecided & ~drawn
            undecided &= drawn
        else:
            undecided &= ~drawn
        open_places = np.flatnonzero(undecided)
        if 100 * len(open_places) <= _SPARSE * len(undecided) or len(undecided) < _BITS:
            if places is None:
                places = open_places
            else:
                shown[places] = found
                places = places[open_places]
            undecided = undecided[open_places]
            found = shown[places]
    if places is not None:
        shown[places] = found


def column_sums(words: UInt64[np.ndarray, "rows width"]) -> Int64[np.ndarray, " columns"]:
    """How many rows have each bit set: bit b of word w counts for column 64 w + b.

    Rows are added three at a time by full adders over whole words, so that 64 columns are counted at once.
    """
    width = words.shape[1]
    totals = np.zeros((width, _BITS), dtype=np.int64)
    planes, weight = words, 0
    shifts = np.arange(_BITS, dtype=np.uint64)
    while len(planes):
        carried = []
        while len(planes) >= 3:
            third = len(planes) // 3
            one, two, three, rest = np.split(planes, (third, 2 * third, 3 * third))
            either = one ^ two
            carried.append((one & two) | (either & three))
            planes = np.concatenate((either ^ three, rest))
        for row in planes:
            totals += ((row[:, None] >> shifts) & np.uint64(1)).astype(np.int64) << weight
        planes = np.concatenate(carried) if carried else planes[:0]
        weight += 1
    return totals.ravel()
