"""The privacy loss of each kind of event, as a distribution on a grid that dominates it in both directions."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from wardline.dp.accounting.events import (
    ApproximateDp,
    DiscreteLaplace,
    DpEvent,
    PoissonGaussian,
    PureDp,
    ZeroConcentrated,
)
from wardline.dp.accounting.grid import Floats, Losses, connect_dots, round_atoms

_HALVINGS = 60  # of the interval in which the best Renyi order is sought; any order gives a bound


def losses_of(event: DpEvent, *, interval: float, tail: float) -> tuple[Losses, Losses]:
    """The loss of one step when a unit is removed, and when it is added; the same object where they do not differ.

    Args:
        event: its steps are not counted.
        interval: of the grid, above 0.
        tail: below which probability a loss may be taken for infinite, in (0, 1).

    Guarantee: each dominates the event's own pair of output distributions, for every pair of neighbouring data sets,
    so that their composition bounds the composition of the events (Zhu, Dong and Wang 2022, theorem 10).
    """
    match event:
        case PureDp():
            both = _randomised_response(event.epsilon, 0.0, interval)
        case ApproximateDp():
            both = _randomised_response(event.epsilon, event.delta, interval)
        case DiscreteLaplace():
            both = _discrete_laplace(1 / event.scale, event.sensitivity, interval)
        case ZeroConcentrated():
            both = _zero_concentrated(event.rho, interval, tail)
        case PoissonGaussian() if event.sample_rate == 1:
            both = _gaussian(1 / event.noise_multiplier, interval, tail)
        case PoissonGaussian():
            return _sampled_gaussian(event.sample_rate, event.noise_multiplier, interval, tail)
        case _:
            assert_never(event)
    return both, both


def reach(event: DpEvent, *, tail: float) -> float:
    """About how far a single step's losses stretch, from the least to the greatest: what a grid has to hold."""
    far = math.sqrt(-2 * math.log(tail))
    match event:
        case PureDp() | ApproximateDp():
            return 2 * event.epsilon
        case DiscreteLaplace():
            return 2 * event.sensitivity / event.scale
        case ZeroConcentrated():
            return 2 * (event.rho + far * math.sqrt(2 * event.rho))
        case PoissonGaussian():
            return 1 / (2 * event.noise_multiplier**2) + 2 * far / event.noise_multiplier
        case _:
            assert_never(event)


def variance_of(event: DpEvent) -> float:
    """About the variance of a single step's loss; where losses are large, too small rather than too large."""
    match event:
        case PureDp() | ApproximateDp():
            return min(event.epsilon, 1.0) ** 2
        case DiscreteLaplace():
            return min(event.sensitivity / event.scale, 1.0) ** 2 / 2
        case ZeroConcentrated():
            return min(2 * event.rho, 1.0)
        case PoissonGaussian():
            return event.sample_rate**2 * math.expm1(min(event.noise_multiplier**-2, 1.0))
        case _:
            assert_never(event)


def zero_concentrated_delta(rho: float, epsilon: Floats) -> Floats:
    """The best known delta of a rho-zero-concentrated mechanism at each epsilon of at least 0.

    References:
        Canonne, Kamath and Steinke 2020, corollary 13; Pinsker's and Bretagnolle and Huber's inequality at 0.
    """
    # The logarithm of the bound is convex in the order; its derivative rises through zero at the best one.
    low, high = np.full_like(epsilon, -40.0), np.full_like(epsilon, 40.0)  # of log(order - 1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = np.exp(middle)
        too_high = (2 * above + 1) * rho - epsilon + np.log(above / (1 + above)) > 0
        low, high = np.where(too_high, low, middle), np.where(too_high, middle, high)
    above = np.exp((low + high) / 2)
    order = 1 + above
    log_delta = above * (order * rho - epsilon) - np.log(above) + order * (np.log(above) - np.log(order))
    total_variation = min(math.sqrt(rho / 2), math.sqrt(-math.expm1(-rho)))
    delta: Floats = np.minimum(np.exp(np.minimum(log_delta, 0.0)), total_variation)
    return delta


def _randomised_response(epsilon: float, delta: float, interval: float) -> Losses:
    """The dominating pair of all (epsilon, delta)-private mechanisms (Kairouz, Oh and Viswanath 2015, section 3)."""
    likely = 1 / (1 + math.exp(-epsilon))
    unlikely = math.exp(-epsilon) / (1 + math.exp(-epsilon))
    atoms = ((epsilon, (1 - delta) * likely), (-epsilon, (1 - delta) * unlikely))
    return round_atoms(atoms, interval=interval, infinity=delta)


def _multiples(low: float, high: float, interval: float) -> tuple[int, Floats]:
    """The multiples of an interval that cover a range, and the first one's number."""
    first, last = math.floor(low / interval), math.ceil(high / interval)
    return first, np.arange(first, last + 1, dtype=np.float64) * interval


def _discrete_laplace(rate: float, sensitivity: int, interval: float) -> Losses:
    most = rate * sensitivity
    lower, epsilon = _multiples(-most, most, interval)

    def up_to(k: Floats) -> Floats:
        """P(noise <= k) for whole k."""
        low = np.exp(rate * np.minimum(k, -1.0)) / (1 + math.exp(-rate))
        high = 1 - np.exp(-rate * (np.maximum(k, 0.0) + 1)) / (1 + math.exp(-rate))
        return np.where(k < 0, low, high)

    # At x the loss is that of moving the noise by the sensitivity; it exceeds epsilon for all x up to `last`.
    last = np.ceil((sensitivity - epsilon / rate) / 2) - 1
    delta = up_to(last) - np.exp(epsilon) * up_to(last - sensitivity)
    delta = np.where(epsilon >= most, 0.0, np.where(epsilon < -most, -np.expm1(epsilon), delta))
    return connect_dots(lower, delta, interval=interval)


def _zero_concentrated(rho: float, interval: float, tail: float) -> Losses:
    """A pair that dominates every rho-zero-concentrated mechanism, from the curve that bounds them all.

    The curve of the worst such mechanism is unknown but convex in exp(epsilon), so it lies below the lower convex hull
    of any points above it. Either of two neighbours may be the first, which gives the points left of 0.
    """
    most = rho + 2 * math.sqrt(rho * -math.log(tail))
    last = math.ceil(most / interval)
    epsilon: Floats = np.arange(last + 1, dtype=np.float64) * interval
    delta = zero_concentrated_delta(rho, epsilon)
    mirrored = -np.expm1(-epsilon[:0:-1]) + np.exp(-epsilon[:0:-1]) * delta[:0:-1]
    grid = np.concatenate((-epsilon[:0:-1], epsilon))
    return connect_dots(-last, _hull(np.exp(grid), np.concatenate((mirrored, delta))), interval=interval)


def _hull(x: Floats, y: Floats) -> Floats:
    """The lower convex hull of points, the point (0, 1) among them, at the same x."""
    corners: list[int] = []
    px, py = [0.0, *x.tolist()], [1.0, *y.tolist()]
    for index in range(len(px)):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            if (py[b] - py[a]) * (px[index] - px[a]) < (py[index] - py[a]) * (px[b] - px[a]):
                break
            corners.pop()
        corners.append(index)
    found: Floats = np.interp(x, np.array(px)[corners], np.array(py)[corners])
    return found


def _gaussian(distance: float, interval: float, tail: float) -> Losses:
    """Two normal distributions this many standard deviations apart (Balle and Wang 2018, theorem 8)."""
    far = distance * math.sqrt(-2 * math.log(tail))
    lower, epsilon = _multiples(distance**2 / 2 - far, distance**2 / 2 + far, interval)
    delta = _above(epsilon / distance - distance / 2) - np.exp(epsilon) * _above(epsilon / distance + distance / 2)
    return connect_dots(lower, delta, interval=interval)


def _sampled_gaussian(rate: float, noise: float, interval: float, tail: float) -> tuple[Losses, Losses]:
    """A normal distribution against its mixture with one that is moved by 1 (Zhu, Dong and Wang 2022, section 4.1)."""
    far = noise * math.sqrt(-2 * math.log(tail))
    keep = 1 - rate

    def loss(x: float) -> float:
        exponent = (2 * x - 1) / (2 * noise**2)
        if exponent > 30:  # where keep / rate is far from mattering
            return exponent + math.log(rate + keep * math.exp(-exponent))
        return math.log1p(rate * math.expm1(exponent))

    def where(ratio_less_one: Floats) -> Floats:
        """The x at which the ratio of the densities is this much above 1; minus infinity where it is nowhere so low."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log1p(ratio_less_one / rate)
        found: Floats = np.where(ratio_less_one > -rate, noise**2 * logs + 0.5, -math.inf)
        return found

    # Removing: the mixture first. The loss exceeds epsilon above some x.
    lower, epsilon = _multiples(loss(-far), loss(1 + far), interval)
    x = where(np.expm1(epsilon))
    delta = rate * _above((x - 1) / noise) - (np.expm1(epsilon) + rate) * _above(x / noise)
    removed = connect_dots(lower, delta, interval=interval)
    # Adding: the mixture second. The loss exceeds epsilon below some x.
    lower, epsilon = _multiples(-loss(far), -loss(-far), interval)
    x = where(np.expm1(-epsilon))
    delta = (1 - keep * np.exp(epsilon)) * _above(-x / noise) - rate * np.exp(epsilon) * _above((1 - x) / noise)
    return removed, connect_dots(lower, delta, interval=interval)


_erfc = np.frompyfunc(math.erfc, 1, 1)


def _above(x: Floats) -> Floats:
    """The probability that a standard normal variable exceeds x, also far out. SciPy would take long to load."""
    values: Floats = np.asarray(_erfc(x * math.sqrt(0.5)), dtype=np.float64)
    return values / 2
