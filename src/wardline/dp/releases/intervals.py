"""Intervals for what is computed from noisy figures: ratios and variances. Linear figures take `Noise.half_width`.

All of them cover the figure of the rows that were used: after bounding, clipping and rounding to the quantum. What
clipping and bounding changed is not noise, and no interval knows it without looking at the data again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardline.dp.releases.noise import FloatArray

_GRID = 33  # places at which the mean is tried when a variance is bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio of two weighted sums of the same noisy figures, for many groups at once.

    Attributes:
        over, under: the noisy numerators and denominators, of shape (groups,).
        over_square, cross, under_square: the sums of products of their weights: numerator with itself, with the
            denominator, denominator with itself; scalars or of shape (groups,).
    """

    over: FloatArray
    under: FloatArray
    over_square: FloatArray | float
    cross: FloatArray | float
    under_square: FloatArray | float


def ratio_interval(ratio: Ratio, spread: FloatArray | float) -> tuple[FloatArray, FloatArray]:
    """Between which values in [0, 1] the ratio of the exact sums lies (Fieller 1954).

    The values m for which ``over - m * under`` is no farther from 0 than its noise explains. Where the denominator
    cannot be told from 0, that is all of [0, 1].

    Args:
        ratio: the noisy sums.
        spread: standard deviation of the noise of one figure, times `Noise.factor`; a scalar or of shape (groups,).

    Returns:
        Lower and upper ends.

    Guarantee: covers the true ratio, if that lies in [0, 1], with the probability that belongs to the factor,
        whatever the true sums are.

    References:
        Fieller 1954, Some problems in interval estimation, section 3.
    """
    square = np.square(spread)
    a = np.square(ratio.under) - square * ratio.under_square
    b = ratio.over * ratio.under - square * ratio.cross
    c = np.square(ratio.over) - square * ratio.over_square
    usable = (a > 0) & (ratio.under > 0)
    safe = np.where(usable, a, 1.0)
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    low = np.where(usable, (b - root) / safe, 0.0)
    high = np.where(usable, (b + root) / safe, 1.0)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def variance_interval(
    moments: FloatArray, *, spread: FloatArray | float, means: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Between which values the variance of figures in [0, 1] lies.

    At the true mean m, the variance is the mean of (u - m)**2, a ratio of two sums, for which Fieller's interval
    holds. m itself is known to lie in an interval; the result is the union over it.

    Args:
        moments: the noisy sums of (1 - u)**2, 2 u (1 - u) and u**2, of shape (groups, 3).
        spread: as for `ratio_interval`, at half of the allowed probability to miss.
        means: an interval of the mean, at the other half.

    Returns:
        Lower and upper ends, within [0, 1/4], which no variance of figures in [0, 1] leaves.

    Guarantee: covers the true variance with the probability that both intervals hold.
    """
    under = moments.sum(axis=1)
    low = np.full(len(under), np.inf)
    high = np.zeros(len(under))
    for share in np.linspace(0.0, 1.0, _GRID):
        mean = (1 - share) * means[0] + share * means[1]
        # The weights of the three sums in that of (u - m)**2.
        weights = np.stack([mean**2, mean**2 - mean, (1 - mean) ** 2], axis=1)
        ratio = Ratio(
            over=(weights * moments).sum(axis=1),
            under=under,
            over_square=np.square(weights).sum(axis=1),
            cross=weights.sum(axis=1),
            under_square=3.0,
        )
        lower, upper = ratio_interval(ratio, spread)
        low, high = np.minimum(low, lower), np.maximum(high, upper)
    # Between two places of the grid, a step apart, the mean of (u - m)**2 differs by less than the square of the step.
    between = np.square((means[1] - means[0]) / (_GRID - 1))
    return np.clip(low - between, 0.0, 0.25), np.clip(high + between, 0.0, 0.25)
