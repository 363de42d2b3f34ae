"""The two ways to turn a number in [-1, 1] into a symbol with exact probabilities, and their mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from wardline.core import SecureRandom
from wardline.dp.local import _chance

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

STEPS = 1 << 20
"""How many steps of the grid lie between the middle of the range and its end, for two points."""

POINTS = 1 << 16
"""How many symbols a window moves over."""

_MIDDLE = _chance.ONE // 2


@runtime_checkable
class Scored(Protocol):
    """Draws a symbol for a number, so that the scores of the symbols are right on average.

    Attributes:
        scores: what each symbol stands for, in units of half the range.
        ratio: the largest ratio of the probabilities of a symbol, given any two numbers.
    """

    @property
    def scores(self) -> Float64[np.ndarray, " symbols"]:
        """What each symbol stands for."""

    @property
    def ratio(self) -> Fraction:
        """The largest ratio of the probabilities of a symbol."""

    def draw(self, numbers: Float64[np.ndarray, " persons"], random: SecureRandom) -> Int64[np.ndarray, " persons"]:
        """One symbol for each number in [-1, 1]."""

    def second_moment(self, squares: Float64[np.ndarray, " any"]) -> Float64[np.ndarray, " any"]:
        """The mean square of the score, for numbers with these squares; linear in them."""


@dataclass(frozen=True, slots=True)
class TwoPoints:
    """One of two symbols, the upper one the more often the larger the number (Duchi, Jordan and Wainwright 2018).

    Attributes:
        epsilon: what a symbol may tell.
        slope: times 2**-64, by how much one step of the grid makes the upper symbol likelier.
    """

    epsilon: float
    slope: int = field(init=False)

    def __post_init__(self) -> None:
        factor = _chance.exp_below(self.epsilon)
        object.__setattr__(self, "slope", math.floor(_MIDDLE * (factor - 1) / (factor + 1) / STEPS))

    @property
    def scores(self) -> Float64[np.ndarray, " symbols"]:
        """Plus and minus the number that makes the mean of the score the number on the grid."""
        reach = _MIDDLE / (STEPS * self.slope)
        return np.array([-reach, reach])

    @property
    def ratio(self) -> Fraction:
        """Between the two ends of the range."""
        return Fraction(_MIDDLE + STEPS * self.slope, _MIDDLE - STEPS * self.slope)

    def draw(self, numbers: Float64[np.ndarray, " persons"], random: SecureRandom) -> Int64[np.ndarray, " persons"]:
        """One symbol for each number in [-1, 1]."""
        steps = on_grid((numbers + 1.0) * STEPS, 2 * STEPS, random) - STEPS
        # Whole numbers modulo 2**64: the product is above -2**63 and below 2**63.
        thresholds = (steps * self.slope).view(np.uint64) + np.uint64(_MIDDLE)
        return (random.uint64(len(steps)) < thresholds).astype(np.int64)

    def second_moment(self, squares: Float64[np.ndarray, " any"]) -> Float64[np.ndarray, " any"]:
        """The same for all numbers."""
        return np.full_like(squares, self.scores[1] ** 2)


@dataclass(frozen=True, slots=True)
class Window:
    """A symbol near the number with some probability, any symbol otherwise (piecewise mechanism, Wang et al. 2019).

    Attributes:
        epsilon: what a symbol may tell.
        width: how many symbols count as near.
        near: times 2**-64, the probability of drawing from these outright; otherwise all symbols are equally likely.
    """

    epsilon: float
    width: int = field(init=False)
    near: int = field(init=False)

    def __post_init__(self) -> None:
        width = max(1, round(POINTS / (_chance.exp_below(self.epsilon / 2) + 1)))
        gain = _chance.exp_below(self.epsilon) - 1
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "near", math.floor(_chance.ONE * gain * width / (gain * width + POINTS)))

    @property
    def scores(self) -> Float64[np.ndarray, " symbols"]:
        """The symbols in order, stretched so that the mean of the score is the number on the grid."""
        return (np.arange(POINTS) - (POINTS - 1) / 2) / (float(_chance.share(self.near)) * self._half)

    @property
    def ratio(self) -> Fraction:
        """Between a symbol that is near and one that is not."""
        return 1 + Fraction(self.near * POINTS, (_chance.ONE - self.near) * self.width)

    def draw(self, numbers: Float64[np.ndarray, " persons"], random: SecureRandom) -> Int64[np.ndarray, " persons"]:
        """One symbol for each number in [-1, 1]."""
        start = on_grid((numbers + 1.0) * self._half, POINTS - self.width, random)
        near = start + _chance.below(len(start), self.width, random)
        anywhere = _chance.below(len(start), POINTS, random)
        return np.where(_chance.coins(len(start), self.near, random), near, anywhere)

    def second_moment(self, squares: Float64[np.ndarray, " any"]) -> Float64[np.ndarray, " any"]:
        """The mean square of the score; the grid's share, at most a quarter of a step squared, is counted in full."""
        near = float(_chance.share(self.near))
        inside = (self.width**2 - 1) / 12 + self._half**2 * squares + 0.25
        anywhere = (POINTS**2 - 1) / 12
        found: Float64[np.ndarray, " any"] = (near * inside + (1 - near) * anywhere) / (near * self._half) ** 2
        return found

    @property
    def _half(self) -> float:
        return (POINTS - self.width) / 2


@dataclass(frozen=True, slots=True)
class Mixture:
    """A window with some probability, two points otherwise; their symbols differ (hybrid mechanism, Wang et al. 2019).

    Attributes:
        epsilon: what a symbol may tell.
        window, points: the two.
        share: times 2**-64, how often the window is used: that of least worst variance, among never, always and where
            the variance is the same for all numbers.
    """

    epsilon: float
    window: Window = field(init=False)
    points: TwoPoints = field(init=False)
    share: int = field(init=False)

    def __post_init__(self) -> None:
        window, points = Window(self.epsilon), TwoPoints(self.epsilon)
        object.__setattr__(self, "window", window)
        object.__setattr__(self, "points", points)
        ends = np.array([0.0, 1.0])
        worst = [
            (float(np.max(_mixed(share, window, points, ends) - ends)), share)
            for share in (0, window.near, _chance.ONE)
        ]
        object.__setattr__(self, "share", min(worst)[1])

    @property
    def scores(self) -> Float64[np.ndarray, " symbols"]:
        """Those of the window, then those of the two points."""
        return np.concatenate((self.window.scores, self.points.scores))

    @property
    def ratio(self) -> Fraction:
        """The larger of the two: which of them is used depends on no number."""
        return max(self.window.ratio, self.points.ratio)

    def draw(self, numbers: Float64[np.ndarray, " persons"], random: SecureRandom) -> Int64[np.ndarray, " persons"]:
        """One symbol for each number in [-1, 1]."""
        near = self.window.draw(numbers, random)
        points = self.points.draw(numbers, random) + POINTS
        if self.share == _chance.ONE:
            return near
        return np.where(_chance.coins(len(numbers), self.share, random), near, points)

    def second_moment(self, squares: Float64[np.ndarray, " any"]) -> Float64[np.ndarray, " any"]:
        """The mean square of the score."""
        return _mixed(self.share, self.window, self.points, squares)


def _mixed(
    share: int, window: Window, points: TwoPoints, squares: Float64[np.ndarray, " any"]
) -> Float64[np.ndarray, " any"]:
    often = float(_chance.share(share))
    found: Float64[np.ndarray, " any"] = often * window.second_moment(squares) + (1 - often) * points.second_moment(
        squares
    )
    return found


def on_grid(
    positions: Float64[np.ndarray, " persons"], last: int, random: SecureRandom
) -> Int64[np.ndarray, " persons"]:
    """The whole number below or above each position, by a coin that keeps the mean; from 0 to `last`.

    What is protected does not depend on this coin, so it may be drawn with a probability that was rounded.
    """
    inside = np.clip(positions, 0.0, float(last))
    whole = np.floor(inside)
    up = random.uint64(len(inside)) < ((inside - whole) * 2.0**64).astype(np.uint64)
    found: Int64[np.ndarray, " persons"] = whole.astype(np.int64) + up
    return found
