"""Privacy loss distributions on an even grid: rounding up, composition by Fourier transform, and reading off figures.

A distribution here always stands for an upper bound: its hockey-stick curve lies nowhere below the mechanism's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_EXPONENTS = (
    0.004,
    0.016,
    0.06,
    0.12,
    0.25,
    0.5,
    0.75,
    1.0,
    1.4,
    2.0,
    4.0,
)  # for Chernoff, in units of a Gaussian's best
_BUCKETS = 500
_NEGLIGIBLE = 45.0  # exp(-45) is lost in the rounding of doubles
_SHORT = 8  # parts whose sum fits into this fraction of the ring are summed first
_BLOCK_CELLS = 1 << 21  # of the spectra that are held in memory at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Losses:
    """A distribution of the privacy loss on the multiples of an interval.

    Attributes:
        lower: the multiple at which the first probability stands.
        probs: the probabilities of that multiple and the following ones.
        infinity: the probability of an infinite loss.
    """

    lower: int
    probs: Floats
    infinity: float = 0.0


Pair = tuple[Losses, Losses]
"""The loss when a unit is removed, and when one is added."""


def connect_dots(lower: int, deltas: Floats, *, interval: float) -> Losses:
    """The distribution whose hockey-stick curve joins given points by straight lines (in exp(epsilon)).

    Args:
        lower: the first epsilon, as a multiple of the interval.
        deltas: the curve at that epsilon and the following multiples: each at least that of the mechanism.
        interval: above 0.

    Returns:
        It dominates every pair of distributions whose curve lies nowhere above those points, because a hockey-stick
        curve is convex in exp(epsilon). Where the points themselves are not, losses are raised until they are.

    References:
        Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022, algorithm 1; Zhu, Dong and Wang 2022, proposition 8.
    """
    deltas = np.minimum.accumulate(np.clip(deltas, 0.0, 1.0))
    if len(deltas) == 1:
        return Losses(lower=lower, probs=1 - deltas, infinity=float(deltas[0]))
    step, back = math.expm1(interval), math.expm1(-interval)
    falls = np.diff(deltas)
    probs = np.empty_like(deltas)
    probs[0] = 1 - deltas[0] + falls[0] / step
    probs[1:-1] = (falls[1:] - falls[:-1] * math.exp(interval)) / step
    probs[-1] = falls[-1] / back
    return Losses(lower=lower, probs=np.maximum(probs, 0.0), infinity=float(deltas[-1]))


def round_atoms(atoms: Sequence[tuple[float, float]], *, interval: float, infinity: float = 0.0) -> Losses:
    """A distribution with a few losses, each split between the two multiples beside it.

    The split keeps both the probability and its counterpart under the other data set, which joins the dots of the
    curve, as `connect_dots` does.

    Args:
        atoms: loss and probability.
        interval: above 0.
        infinity: the probability of an infinite loss.
    """
    places = [(math.floor(loss / interval), loss, prob) for loss, prob in atoms]
    lower = min(place for place, _, _ in places)
    probs = np.zeros(max(place for place, _, _ in places) - lower + 2)
    for place, loss, prob in places:
        above = min(1.0, max(0.0, math.expm1(place * interval - loss) / math.expm1(-interval)))
        probs[place - lower] += prob * (1 - above)
        probs[place - lower + 1] += prob * above
    return Losses(lower=lower, probs=probs, infinity=infinity)


def compose_losses(parts: Sequence[tuple[Pair, int]], *, interval: float, tail: float) -> tuple[Losses, ...]:
    """The distribution of the sum of independent losses.

    Args:
        parts: for each mechanism its loss when a unit is removed and when it is added (the same object where they are
            equal), all on the same grid, and how often it is applied.
        interval: the grid's.
        tail: how much probability may be moved to infinity to bound memory; in (0, 1).

    Returns:
        The sum for removing, and that for adding unless it is the same. Upper bounds but for the rounding of doubles:
        losses so small that they fall off the lower end reappear at the upper one, which only raises the curve; what
        falls off the upper end is counted as infinite beforehand.

    References:
        Koskela, Jaelkoe and Honkela 2020, section 5 (wrapped sums and their error).
    """
    both = [(pair[0], count) for pair, count in parts if pair[0] is pair[1]]
    removed = [(pair[0], count) for pair, count in parts if pair[0] is not pair[1]]
    added = [(pair[1], count) for pair, count in parts if pair[0] is not pair[1]]
    ways = [removed, added] if removed else [removed]
    ends = [_reach(both + way, interval, tail) for way in ways]
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    cells = _fast_length(highest - lowest + 1)
    common = _spectrum(both, cells)
    sums = []
    for way in ways:
        summed = np.fft.irfft(common * _spectrum(way, cells), cells)
        # Cell k of the result holds the sums that equal k modulo the number of cells.
        probs = np.maximum(np.roll(summed, -(lowest % cells)), 0.0)
        kept = math.fsum(count * math.log1p(-losses.infinity) for losses, count in both + way)
        sums.append(Losses(lower=lowest, probs=probs, infinity=min(1.0, -math.expm1(kept) + tail)))
    return tuple(sums)


def _spectrum(parts: Sequence[tuple[Losses, int]], cells: int) -> npt.NDArray[np.complex128]:
    """The Fourier transform of the sum, wrapped around this many cells."""
    parts = _short_sums(parts, cells // _SHORT)
    return _product(parts, cells)


def _product(parts: Sequence[tuple[Losses, int]], cells: int, *, from_zero: bool = False) -> npt.NDArray[np.complex128]:
    product = np.ones(cells // 2 + 1, dtype=np.complex128)
    rows = max(1, _BLOCK_CELLS // cells)
    for start in range(0, len(parts), rows):
        block = parts[start : start + rows]
        folded = np.zeros((len(block), cells))
        for row, (losses, _) in zip(folded, block, strict=True):
            _fold(row, losses.probs, 0 if from_zero else losses.lower)
        for row, (_, count) in zip(np.fft.rfft(folded, axis=1), block, strict=True):
            product *= row**count if count > 1 else row
    return product


def _short_sums(parts: Sequence[tuple[Losses, int]], cells: int) -> list[tuple[Losses, int]]:
    """The same sum in fewer parts: those whose sums fit into a small ring are summed there, which is quick."""
    whole: list[tuple[Losses, int]] = []
    waiting: list[tuple[Losses, int]] = []
    room = cells
    for losses, count in sorted(parts, key=lambda part: len(part[0].probs) * part[1]):
        length = len(losses.probs) * count
        if length > room and len(waiting) > 1:
            whole.append((_sum_up(waiting), 1))
            waiting, room = [], cells
        if length > room:
            whole.append((losses, count))
        else:
            waiting.append((losses, count))
            room -= length
    if len(waiting) > 1:
        whole.append((_sum_up(waiting), 1))
        waiting = []
    return whole + waiting


def _sum_up(parts: Sequence[tuple[Losses, int]]) -> Losses:
    """The distribution of a sum, without wrapping; finite losses alone."""
    length = sum((len(losses.probs) - 1) * count for losses, count in parts) + 1
    product = _product(parts, _fast_length(length), from_zero=True)
    probs = np.maximum(np.fft.irfft(product, _fast_length(length))[:length], 0.0)
    return Losses(lower=sum(losses.lower * count for losses, count in parts), probs=probs)


def delta_at(losses: Losses, epsilon: float, *, interval: float) -> float:
    """The hockey-stick divergence at an epsilon."""
    mass, counterpart = _above(losses, math.floor(epsilon / interval) + 1, epsilon, interval)
    return losses.infinity + mass - counterpart


def epsilon_at(losses: Losses, delta: float, *, interval: float) -> float:
    """The smallest epsilon of at least 0 at which the divergence is at most delta; infinite if there is none."""
    if losses.infinity > delta:
        return math.inf
    if delta_at(losses, 0.0, interval=interval) <= delta:
        return 0.0
    low, high = 0, max(losses.lower + len(losses.probs), 1)  # too much at low; nothing but infinity is above high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if delta_at(losses, middle * interval, interval=interval) > delta else (low, middle)
    # Between two multiples the curve is a straight line in exp(epsilon).
    mass, counterpart = _above(losses, high, low * interval, interval)
    surplus = losses.infinity + mass - delta
    return min(high * interval, low * interval + max(0.0, math.log(surplus / counterpart)))


def _above(losses: Losses, first: int, epsilon: float, interval: float) -> tuple[float, float]:
    """The probability of finite losses from a multiple on, and exp(epsilon) times its counterpart."""
    above = losses.probs[max(first - losses.lower, 0) :]
    first = max(first, losses.lower)
    near = above[: math.ceil(_NEGLIGIBLE / interval)]
    counterpart = near @ np.exp(epsilon - (first + np.arange(len(near))) * interval)
    return float(above.sum()), float(counterpart)


def _fold(row: Floats, probs: Floats, place: int) -> None:
    """Add a distribution, from this place on, to a ring of cells."""
    cells, place = len(row), place % len(row)
    while len(probs):
        piece = probs[: cells - place]
        row[place : place + len(piece)] += piece
        probs, place = probs[len(piece) :], 0


def _reach(parts: Sequence[tuple[Losses, int]], interval: float, tail: float) -> tuple[int, int]:
    """Multiples between which the sum lies but for the tail above; below, about as little is left out."""
    lowest = sum(losses.lower * count for losses, count in parts)
    highest = sum((losses.lower + len(losses.probs) - 1) * count for losses, count in parts)
    coarse = [_Coarse(losses, interval) for losses, _ in parts]
    variance = math.fsum(count * one.variance for one, (_, count) in zip(coarse, parts, strict=True))
    if variance <= 0:
        return lowest, highest
    exponents = math.sqrt(-2 * math.log(tail) / variance) * np.array(_EXPONENTS)
    above = sum(count * one.log_moments(exponents) for one, (_, count) in zip(coarse, parts, strict=True))
    below = sum(count * one.log_moments(-exponents) for one, (_, count) in zip(coarse, parts, strict=True))
    highest = min(highest, math.ceil(float(np.min((above - math.log(tail)) / exponents)) / interval))
    lowest = max(lowest, math.floor(float(np.max((below - math.log(tail)) / -exponents)) / interval))
    return lowest, max(highest, lowest)


class _Coarse:
    """A distribution on a few wide buckets, for bounds on its moments."""

    def __init__(self, losses: Losses, interval: float) -> None:
        width = -(-len(losses.probs) // _BUCKETS)
        sums = np.add.reduceat(losses.probs, np.arange(0, len(losses.probs), width))
        self.probs = sums
        self.low = (losses.lower + width * np.arange(len(sums))) * interval
        self.high = self.low + (width - 1) * interval
        middle = (self.low + self.high) / 2
        self.variance = max(0.0, float(middle**2 @ sums) - float(middle @ sums) ** 2)

    def log_moments(self, exponents: Floats) -> Floats:
        """At least the log of the mean of exp(exponent * loss), for each exponent; all have the same sign."""
        powers = np.multiply.outer(exponents, self.high if exponents[0] > 0 else self.low)
        peaks = powers.max(axis=1)
        logs: Floats = peaks + np.log(np.exp(powers - peaks[:, None]) @ self.probs)
        return logs


def _fast_length(least: int) -> int:
    """The next product of a power of two and 1, 3, 5, 9 or 15: quick to transform."""
    return min(
        factor << max(0, math.ceil(math.log2(max(least, 2) / factor)))
        for factor in (2, 6, 10, 18, 30)
        if factor << max(0, math.ceil(math.log2(max(least, 2) / factor))) >= least
    )
