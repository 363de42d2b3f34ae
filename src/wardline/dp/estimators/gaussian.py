"""What Gaussian noise costs, in closed form, and why discrete noise on a fine grid costs the same.

The estimators add exact discrete Gaussian noise to whole numbers, and account for it as if it were continuous Gaussian
noise, which costs about a sixth less than the general bound for the discrete one (zero-concentrated differential
privacy). That is sound where the standard deviation s, counted in steps of the grid, is large:

    A continuous Gaussian mechanism on a vector of whole numbers may round its result: post-processing. Let R be the law
    of one rounded Gaussian number, and D that of a discrete one, both centred at 0. For every whole number z,

        -1 / (24 s^2) <= log(R(z) / D(z)) <= z^2 / (24 s^4)

    up to a relative exp(-2 pi^2 s^2) in the normaliser of D. For R(z) is D(z) times the mean of
    exp(-z u / s^2 - u^2 / (2 s^2)) over u uniform in [-1/2, 1/2]; Jensen's inequality gives the lower end, and
    sinh(a) / a <= exp(a^2 / 6) the upper one. Over N numbers the sum of z^2 / s^2 exceeds N + 2 sqrt(450 N) + 900 with
    a probability below exp(-450) (Laurent and Massart 2000, lemma 1). So a mechanism with discrete noise is
    (epsilon + eta, exp(eta) (delta + exp(epsilon - 450)))-private wherever the continuous one is (epsilon,
    delta)-private, with eta = (2 N + 2 sqrt(450 N) + 900) / (24 s^2).

`LEAST_STEPS` and `MOST_DRAWS` keep eta below 1e-6, and the noise is larger than accounted for by `NOISE_MARGIN`, which
buys more than that for every epsilon from `LEAST_EPSILON` on.

References:
    Balle and Wang 2018, theorem 8 (the closed form); Canonne, Kamath and Steinke 2020 (the discrete Gaussian).
"""

from __future__ import annotations

import math

from scipy.special import log_ndtr

from wardline.core.checks import positive, probability

LEAST_STEPS = 2.0**20
"""The least standard deviation of discrete noise, in steps of its grid."""

MOST_DRAWS = 10**7
"""The most numbers of one release that are covered with discrete noise."""

NOISE_MARGIN = 2.0**-10
"""By how much more than accounted for the noise is scaled."""

LEAST_EPSILON = 0.01
LARGEST_EPSILON = 256.0
"""Beyond it the odds of a conclusion may change by 1e111: a promise of nothing."""

DELTA_MARGIN = 1e-4
"""The part of delta that is kept back, so that an accountant that rounds upwards still finds the budget kept."""

_ROUNDING = 1e-9  # relative; the two terms of the closed form nearly cancel, and lose a few digits


def gaussian_delta(*, epsilon: float, mu: float) -> float:
    """The delta of the Gaussian mechanism, rounded up.

    Args:
        epsilon: at least 0.
        mu: the L2 sensitivity over the standard deviation of the noise, above 0.

    Returns:
        The least delta for which it is (epsilon, delta)-differentially private.

    Guarantee: exact (Balle and Wang 2018, theorem 8), up to an upward rounding of 1e-9.
    """
    first = math.exp(log_ndtr(mu / 2 - epsilon / mu))
    second = math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))
    return min(1.0, first - second + _ROUNDING * first)


def gaussian_mu(*, epsilon: float, delta: float) -> float:
    """The largest mu, but for a tolerance of 1e-9, whose `gaussian_delta` is at most `delta`.

    Args:
        epsilon: above 0.
        delta: in (0, 1).

    Raises:
        ValueError: for a figure out of range.
    """
    positive("epsilon", epsilon)
    probability("delta", delta)
    low, high = 0.0, 1.0
    while gaussian_delta(epsilon=epsilon, mu=high) <= delta:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if gaussian_delta(epsilon=epsilon, mu=middle) <= delta:
            low = middle
        else:
            high = middle
    if low == 0.0:
        raise ValueError(f"no Gaussian noise gives epsilon {epsilon:g} at delta {delta:g}")
    return low
