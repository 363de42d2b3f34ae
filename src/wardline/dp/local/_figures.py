"""Figures of error: the spread of noise, the largest of many errors, Student's interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def laplace_std(scale: float) -> float:
    """The standard deviation of discrete Laplace noise."""
    ratio = math.exp(-1.0 / scale)
    return math.sqrt(2.0 * ratio) / -math.expm1(-1.0 / scale)


def mean_largest(within: Callable[[float], float], size: int, unit: float) -> float:
    """The mean of the largest of `size` independent absolute errors, each within t with probability `within(t)`.

    The integral over t of the probability that one of them lies beyond t, by the trapezoidal rule up to 64 units:
    beyond them lies nothing of weight (e**-64 times 2**24 values).
    """
    reaches = np.linspace(0.0, 64.0, 16_385) * unit
    beyond = [1.0 - within(float(reach)) ** size for reach in reaches]
    return float(np.trapezoid(beyond, reaches))


def student_ends(figures: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    """The ends of Student's interval for the mean of figures of at least 0."""
    free = len(figures) - 1
    reach = student_quantile((1.0 + level) / 2.0, free) * float(figures.std(ddof=1)) / math.sqrt(len(figures))
    return max(0.0, float(figures.mean()) - reach), float(figures.mean()) + reach


def student_quantile(prob: float, free: int) -> float:
    """A quantile of Student's distribution, above its middle, by Newton's method on the integrated density."""
    log_weight = math.lgamma((free + 1) / 2) - math.lgamma(free / 2) - 0.5 * math.log(free * math.pi)

    def density(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = np.exp(log_weight - (free + 1) / 2 * np.log1p(t * t / free))
        return found

    quantile = NormalDist().inv_cdf(prob)
    for _ in range(60):
        steps = np.linspace(0.0, quantile, 4_097)
        missing = prob - 0.5 - float(np.trapezoid(density(steps), steps))
        quantile += missing / float(density(np.array(quantile)))
    return quantile
