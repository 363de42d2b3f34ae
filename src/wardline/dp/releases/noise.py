"""The noise of a release: how it is drawn, how wide it is, and how far a combination of several numbers strays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from wardline.core.checks import positive, probability
from wardline.core.rng import SecureRandom
from wardline.dp.mechanisms import discrete_gaussian, discrete_laplace

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Independent whole numbers of one distribution, around 0.

    Attributes:
        kind: discrete Laplace, P(x) proportional to exp(-abs(x) / scale), or discrete Gaussian, proportional to
            exp(-x**2 / (2 scale**2)).
        scale: in integer steps, above 0.
    """

    kind: Literal["laplace", "gaussian"]
    scale: float

    def __post_init__(self) -> None:
        positive("scale", self.scale)

    @property
    def std(self) -> float:
        """Standard deviation in integer steps; for the discrete Gaussian an upper bound that is tight from 1 on."""
        if self.kind == "gaussian":
            return self.scale
        half = 0.5 / self.scale
        return 1.0 / (math.sqrt(2.0) * math.sinh(half)) if half < 350 else 0.0

    def draw(self, shape: tuple[int, ...], random: SecureRandom) -> IntArray:
        """Independent numbers in an array of this shape.

        Raises:
            ValueError: for a scale at which they might not fit 64 bits.
        """
        count = math.prod(shape)
        if self.kind == "laplace":
            return discrete_laplace(count, scale=self.scale, random=random).reshape(shape)
        return discrete_gaussian(count, sigma=self.scale, random=random).reshape(shape)

    def added_to(self, exact: IntArray, random: SecureRandom) -> FloatArray:
        """Whole numbers with independent noise. A sum beyond 64 bits becomes the nearest number within, never another.

        The sum is exact; only the noisy result is rounded to a double.
        """
        noise = self.draw(exact.shape, random)
        total = exact + noise
        # A sum that wrapped has a sign that neither of two summands of one sign has.
        wrapped = ((exact ^ total) & (noise ^ total)) < 0
        limits = np.iinfo(np.int64)
        return np.where(wrapped, np.where(noise > 0, limits.max, limits.min), total).astype(np.float64)

    def factor(self, miss: float) -> float:
        """How many standard deviations of any weighted sum of such numbers it strays beyond with probability `miss`.

        Exact for sums of Gaussian numbers. Of all weighted sums of independent Laplace numbers with the same
        variance, the single number has the heaviest tail below the probabilities that intervals use; its quantile
        bounds the others, which a test checks by numerical inversion.

        Args:
            miss: of both sides together, in (0, 0.1].
        """
        _check_miss(miss)
        if self.kind == "gaussian":
            return NormalDist().inv_cdf(1 - miss / 2)
        return math.log(1 / miss) / math.sqrt(2.0)

    def half_width(self, weights: Sequence[float], *, miss: float) -> float:
        """A distance that the weighted sum of independent numbers exceeds with probability at most `miss`.

        Args:
            weights: one for each number.
            miss: of both sides together, in (0, 0.1].

        Returns:
            The least such distance for one number (a whole number of steps times its weight), and for two Laplace
            or any Gaussian numbers the least one up to what rounding to whole steps can add.
        """
        _check_miss(miss)
        sizes = [abs(weight) for weight in weights if weight]
        if not sizes:
            return 0.0
        if len(sizes) == 1:
            return sizes[0] * self._steps(miss)
        if self.kind == "laplace" and len(sizes) == 2:
            spread = _quantile_of_two(self.scale * sizes[0], self.scale * sizes[1], miss)
        else:
            continuous = self.scale * (1.0 if self.kind == "gaussian" else math.sqrt(2.0))
            spread = self.factor(miss) * continuous * math.hypot(*sizes)
        # A discrete number strays no farther than a continuous one of this scale that is rounded to the nearest step:
        # for Laplace since P(|X| >= k) = 2 exp(-k/b) / (1 + exp(-1/b)) <= exp(-(k - 1/2)/b).
        return spread + 0.5 * sum(sizes)

    def padded_std(self, numbers: int, *, miss: float) -> float:
        """A standard deviation of continuous noise by which `factor` covers a weighted sum of `numbers` discrete ones.

        It exceeds that of the continuous distribution by what rounding to whole steps can add.
        """
        continuous = self.scale * (1.0 if self.kind == "gaussian" else math.sqrt(2.0))
        return continuous + 0.5 * math.sqrt(numbers) / self.factor(miss)

    def _steps(self, miss: float) -> int:
        """The least whole number that one number exceeds in size with probability at most `miss`."""
        if self.kind == "laplace":
            # P(|X| > t) = 2 p**(t+1) / (1 + p), with p = exp(-1 / scale).
            inverse = 1.0 / self.scale
            tail = math.log(2.0 / (miss * (1.0 + math.exp(-inverse))))
            return max(0, math.ceil(tail / inverse - 1.0 - 1e-12))
        if self.scale > 100:
            return math.ceil(self.factor(miss) * self.scale)  # between steps this fine, the two distributions agree
        numbers = np.arange(0, 14 * math.ceil(self.scale) + 3)
        mass = np.exp(-(numbers**2) / (2.0 * self.scale**2))
        mass[1:] *= 2.0
        beyond = 1.0 - np.cumsum(mass) / mass.sum()
        return int(np.argmax(beyond <= miss))


def _check_miss(miss: float) -> None:
    if not probability("miss", miss) <= 0.1:
        raise ValueError(f"miss must be at most 0.1, not {miss}")


def _quantile_of_two(first: float, second: float, miss: float) -> float:
    """The distance that a sum of two independent Laplace numbers of these scales exceeds with probability `miss`."""
    large, small = max(first, second), min(first, second)
    return bisect(lambda distance: tail_of_two(large, small, distance) <= miss, 0.0, large * 3 * math.log(4 / miss))


def tail_of_two(large: float, small: float, distance: float) -> float:
    """The probability with which a sum of two independent Laplace numbers strays farther than `distance`."""
    ratio = small / large
    if ratio > 0.999:  # the general form divides by almost nothing; the larger scale for both is on the safe side
        return math.exp(-distance / large) * (1.0 + distance / (2.0 * large))
    inner = ratio * ratio * math.exp(-distance / small) if distance / small < 700 else 0.0
    return (math.exp(-distance / large) - inner) / (1.0 - ratio * ratio)


def bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least number in [low, high] from which on a condition holds, to 50 bits; it holds at `high`."""
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
