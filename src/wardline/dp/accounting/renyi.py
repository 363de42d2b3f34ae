"""Renyi divergences of events, and what they bound: the currency in which adaptively chosen releases are added up.

Renyi differential privacy of one fixed order adds up even where the next mechanism's parameters depend on what the
earlier ones gave out, as long as a limit that was fixed beforehand is kept (a filter). Privacy loss distributions
are tighter and do not have that property.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import assert_never

from wardline.dp.accounting.events import (
    ApproximateDp,
    DiscreteLaplace,
    DpEvent,
    PoissonGaussian,
    PureDp,
    ZeroConcentrated,
)

ORDERS = (1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 11.0, 16.0, 24.0, 36.0, 64.0, 128.0, 256.0, 512.0, 2048.0)
"""Orders at which a bound is looked for where no single one is fixed."""

_ROUNDING = 2.0**-48  # more than the rounding of doubles can hide in the logarithm of a moment
_MOST_TERMS = 256  # of the binomial sum of a sampled Gaussian; beyond that order, the bound without sampling


@lru_cache(maxsize=65536)
def renyi(event: DpEvent, order: float) -> float:
    """The Renyi divergence of this order that an event may cause, whichever way a unit is added or removed.

    For an `ApproximateDp` it is that of the part which is left when its delta has not struck; see `failing`.

    Args:
        event: the mechanism, all of its steps.
        order: above 1.

    Returns:
        An upper bound, exact for `PureDp`, `DiscreteLaplace` and, at whole orders, `PoissonGaussian`.

    Raises:
        ValueError: for an order of at most 1.

    References:
        Mironov 2017 (sections 6 and 7); Mironov, Talwar and Zhang 2019 (theorem 4, section 3.3: sampled Gaussian).
    """
    if not (math.isfinite(order) and order > 1):
        raise ValueError(f"a Renyi order is a finite number above 1, not {order}")
    match event:
        case PureDp():
            one = _randomised_response(event.epsilon, order)
        case ApproximateDp():
            one = _randomised_response(event.epsilon, order)
        case DiscreteLaplace():
            one = _discrete_laplace(1 / event.scale, event.sensitivity, order)
        case ZeroConcentrated():
            one = order * event.rho
        case PoissonGaussian():
            one = _sampled_gaussian(event.sample_rate, event.noise_multiplier, order)
        case _:
            assert_never(event)
    return one * event.steps


def failing(event: DpEvent) -> float:
    """The probability with which an event may tell everything: its delta, summed over its steps; 0 for most kinds."""
    return event.delta * event.steps if isinstance(event, ApproximateDp) else 0.0


def pure(event: DpEvent) -> float:
    """The largest privacy loss of an event, apart from its delta; infinite where there is none."""
    match event:
        case PureDp() | ApproximateDp():
            return event.epsilon * event.steps
        case DiscreteLaplace():
            return event.sensitivity / event.scale * event.steps
        case _:
            return math.inf


def conversion(order: float, delta: float) -> float:
    """What is added to a Renyi divergence of this order to get the epsilon at this delta.

    References:
        Canonne, Kamath and Steinke 2020, proposition 12.
    """
    return (math.log(1 / delta) - math.log(order)) / (order - 1) + math.log1p(-1 / order)


def renyi_epsilon(events: Sequence[DpEvent], *, delta: float) -> float:
    """An upper bound on epsilon by Renyi divergences alone, the best over `ORDERS`; infinite if no order gives one.

    Looser than `compose` and much faster: what it allows needs no closer look.

    Raises:
        ValueError: for a delta outside of (0, 1).
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1, not {delta}")
    left = delta - math.fsum(failing(event) for event in events)
    if left < 0:
        return math.inf
    best = math.fsum(pure(event) for event in events)
    if left > 0:
        for order in ORDERS:
            best = min(best, math.fsum(renyi(event, order) for event in events) + conversion(order, left))
    return max(best, 0.0)


def _randomised_response(epsilon: float, order: float) -> float:
    # log of (p^a (1-p)^(1-a) + (1-p)^a p^(1-a)), p = e^eps / (1 + e^eps), and both terms above zero.
    high, low = (order - 1) * epsilon, -order * epsilon
    exact = high + math.log1p(math.exp(low - high)) - math.log1p(math.exp(-epsilon))
    # Where epsilon is so small that rounding would hide it, its zero-concentrated bound (Bun and Steinke 2016).
    return min((exact + _ROUNDING) / (order - 1), order * epsilon**2 / 2, epsilon)


def _discrete_laplace(rate: float, sensitivity: int, order: float) -> float:
    """Noise P(x) ~ exp(-rate |x|) moved by `sensitivity`: two geometric tails and the sum of what lies between."""
    reach = rate * sensitivity
    norm = math.log(-math.expm1(-rate)) - math.log1p(math.exp(-rate))  # log of P(0)
    tail = -math.log(-math.expm1(-rate))  # log of the sum of exp(-rate k) over k >= 0
    terms = [(order - 1) * reach + tail, -order * reach + tail]  # x <= 0, and x >= sensitivity
    if sensitivity > 1:
        # x from 1 to sensitivity - 1 has exponent -rate (order x + (1 - order) (sensitivity - x)): geometric again.
        ratio = -rate * (2 * order - 1)
        first = -rate * (order + (1 - order) * (sensitivity - 1))
        terms.append(first + math.log(math.expm1(ratio * (sensitivity - 1)) / math.expm1(ratio)))
    peak = max(terms)
    exact = norm + peak + math.log(math.fsum(math.exp(term - peak) for term in terms))
    return min((exact + _ROUNDING * (1 + abs(norm))) / (order - 1), order * reach**2 / 2, reach)


def _sampled_gaussian(sample_rate: float, noise: float, order: float) -> float:
    without = order / (2 * noise**2)
    if sample_rate == 1 or order > _MOST_TERMS:
        return without
    floor = math.floor(order)
    if order == floor:
        return min(without, _log_moment(sample_rate, noise, floor) / (order - 1))
    # (order - 1) times the divergence is convex in the order and 0 at 1: a chord lies above it.
    share = order - floor
    low = _log_moment(sample_rate, noise, floor) if floor > 1 else 0.0
    return min(without, ((1 - share) * low + share * _log_moment(sample_rate, noise, floor + 1)) / (order - 1))


@lru_cache(maxsize=4096)
def _log_moment(sample_rate: float, noise: float, order: int) -> float:
    """Log of the moment of whole order: a binomial sum of Gaussian moments."""
    keep, join = math.log1p(-sample_rate), math.log(sample_rate)
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * keep
        + k * join
        + k * (k - 1) / (2 * noise**2)
        for k in range(order + 1)
    ]
    peak = max(terms)
    exact = peak + math.log(math.fsum(math.exp(term - peak) for term in terms))
    return max(0.0, exact) + _ROUNDING * (1 + math.lgamma(order + 1) + abs(peak))
