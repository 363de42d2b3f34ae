"""Discrete Gaussian noise: exact, on whole numbers, many at a time."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.checks import at_least, positive
from wardline.dp.mechanisms._lazy import check_source, coins
from wardline.dp.mechanisms.laplace import discrete_laplace

LEAST_SIGMA, MOST_SIGMA = 2.0**-20, 2.0**53
_CHUNK = 1 << 13
_ACCEPTED = 0.7  # somewhat less than the least share of proposals that are kept


def discrete_gaussian(count: int, *, sigma: float, random: SecureRandom) -> npt.NDArray[np.int64]:
    """Whole numbers x with probability proportional to exp(-x**2 / (2 sigma**2)).

    Args:
        count: how many, at least 0.
        sigma: from 2**-20 to 2**53, taken as the exact binary fraction that it is. With this noise on statistics of
            which one privacy unit changes the Euclidean norm by L, rho is L**2 / (2 sigma**2). The standard
            deviation is sigma, or a little less.
        random: where the numbers come from. Nothing that can be seeded is accepted.

    Returns:
        `count` independent numbers.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
        ValueError: for a negative count or a sigma out of range.

    Guarantee:
        The distribution is exact, under the assumptions of `discrete_laplace`.

    References:
        Canonne, Kamath and Steinke 2020, section 5.3, algorithm 3 (rejection from the discrete Laplace
        distribution).
    """
    check_source(random)
    at_least("count", count, 0)
    positive("sigma", sigma)
    if not LEAST_SIGMA <= sigma <= MOST_SIGMA:
        raise ValueError(f"sigma must lie between 2**-20 and 2**53, not {sigma}")
    drawn = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        wanted = min(_CHUNK, count - filled)
        accepted = _accepted(int(wanted / _ACCEPTED) + 8, sigma, random)[:wanted]
        drawn[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return drawn


def _accepted(proposals: int, sigma: float, random: SecureRandom) -> npt.NDArray[np.int64]:
    """Those of the proposals, from a discrete Laplace distribution, that are kept."""
    scale = math.floor(sigma) + 1
    proposed = discrete_laplace(proposals, scale=float(scale), random=random)
    # Kept with probability exp(-gamma). Where gamma is near a coin of at most 16, the proposal is within six sigma of
    # the centre, and 64-bit rounding changes gamma by less than 2**-45.
    gamma = np.abs(proposed).astype(np.float64)
    gamma -= sigma * (sigma / scale)
    gamma *= math.sqrt(0.5) / sigma
    np.square(gamma, out=gamma)

    def exact(place: int) -> Fraction:
        square = Fraction(sigma) ** 2
        return (abs(int(proposed[place])) - square / scale) ** 2 / (2 * square)

    return proposed[coins(gamma, random, error=2.0**-45, exact=exact)]
