"""Discrete Laplace noise: exact, on whole numbers, many at a time."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.checks import at_least, positive
from wardline.dp.mechanisms._lazy import CERTAIN_BELOW, ERROR, LazyExponential, check_source, exponentials, revisit

LEAST_SCALE, MOST_SCALE = 2.0**-100, 2.0**54
_FINE = 24  # scales up to 2**24 are drawn in one piece: the error of a product is then below 2**-16
_CHUNK = 1 << 13  # as many as the processor's nearest caches hold
_MOST = (1 << 63) - 1


def discrete_laplace(count: int, *, scale: float, random: SecureRandom) -> npt.NDArray[np.int64]:
    """Whole numbers x with probability proportional to exp(-abs(x) / scale).

    Args:
        count: how many, at least 0.
        scale: from 2**-100 to 2**54, taken as the exact binary fraction that it is. With noise of this scale on
            statistics of which one privacy unit changes the sum of absolute values by L, epsilon is L / scale.
        random: where the numbers come from. Nothing that can be seeded is accepted.

    Returns:
        `count` independent numbers.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
        ValueError: for a negative count or a scale out of range.

    Guarantee:
        The distribution is exact, not up to rounding, if the bits of `random` are uniform and the machine's
        logarithm errs by less than 64 units in the last place: floating point proposes, and what it cannot settle
        is settled in exact arithmetic with further random bits. Numbers beyond 64 bits, which appear with a
        probability below e**-500, are put at the end of the range; that is post-processing.

    References:
        Ghosh, Roughgarden and Sundararajan 2012 (the geometric mechanism); Canonne, Kamath and Steinke 2020,
        section 5; von Neumann 1951 and Flajolet and Saheb 1986 (deciding with as many bits as it takes).
    """
    check_source(random)
    at_least("count", count, 0)
    positive("scale", scale)
    if not LEAST_SCALE <= scale <= MOST_SCALE:
        raise ValueError(f"scale must lie between 2**-100 and 2**54, not {scale}")
    drawn = np.empty(count, dtype=np.int64)
    again = [start + _fill(drawn[start : start + _CHUNK], scale, random) for start in range(0, count, _CHUNK)]
    missing = np.concatenate(again) if again else np.empty(0, dtype=np.intp)
    while len(missing):
        redrawn = np.empty(min(len(missing), _CHUNK), dtype=np.int64)
        rejected = _fill(redrawn, scale, random)
        drawn[missing[: len(redrawn)]] = redrawn
        missing = np.concatenate([missing[rejected], missing[len(redrawn) :]])
    return drawn


def _fill(drawn: npt.NDArray[np.int64], scale: float, random: SecureRandom) -> npt.NDArray[np.intp]:
    """Write magnitudes with signs; returns the places of minus zero, to be drawn again, for there is but one zero."""
    negative = _signed_magnitudes(drawn, scale, random)
    twice: npt.NDArray[np.intp] = (negative & (drawn == 0)).nonzero()[0]
    np.negative(drawn, out=drawn, where=negative)
    return twice


def _signed_magnitudes(drawn: npt.NDArray[np.int64], scale: float, random: SecureRandom) -> npt.NDArray[np.bool_]:
    """Write geometric numbers with ratio exp(-1 / scale); returns as many fair coins."""
    # The high and the low binary digits of a geometric number are independent: the high part is geometric itself, with
    # a scale that is as many times smaller, and the low part is almost uniform.
    shift = max(0, math.frexp(scale)[1] - _FINE)
    coarse = scale * 2.0**-shift
    words, values = exponentials(len(drawn), random)
    certain = values < CERTAIN_BELOW
    values *= coarse
    whole = np.floor(values)
    values -= whole
    values -= 0.5
    np.abs(values, out=values)
    # Rounding of the product is far smaller than the error that it magnifies.
    certain &= values < 0.5 - coarse * (ERROR + 2.0**-48)
    np.copyto(drawn, whole, casting="unsafe")
    for place in (~certain).nonzero()[0]:
        drawn[place] = min(revisit(words[place], random).floor_scaled(Fraction(coarse)), _MOST >> shift)
    if shift:
        drawn <<= shift
        drawn |= _low_digits(len(drawn), shift, scale, random)
    return (words & np.uint64(1)).astype(np.bool_)


def _low_digits(count: int, shift: int, scale: float, random: SecureRandom) -> npt.NDArray[np.int64]:
    """Numbers l below 2**shift with probability proportional to exp(-l / scale), where 2**shift / scale <= 2**-23."""
    words = random.uint64(count)
    digits = (words & np.uint64((1 << shift) - 1)).view(np.int64)
    # Uniform digits are kept with probability exp(-l / scale). The bits above the digits begin 1 - U: unless the
    # first 23 of them are all zero, the chance of 2**-23 of being turned down has not come true.
    for place in np.flatnonzero(words < np.uint64(1 << 41)):
        complement = ((1 << (64 - shift)) - 1) - (int(words[place]) >> shift)
        coin = LazyExponential(complement, 64 - shift, random)
        if not coin.exceeds(Fraction(int(digits[place])) / Fraction(scale)):
            digits[place] = _low_digits(1, shift, scale, random)[0]
    return digits
