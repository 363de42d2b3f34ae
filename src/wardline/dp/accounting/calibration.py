"""The noise for a wanted epsilon: the inverse of composition, found by a secant through the logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from wardline.core.checks import positive, probability
from wardline.dp.accounting.events import DpEvent, PoissonGaussian, check_sampling
from wardline.dp.accounting.pld import compose, compose_coarsely

LEAST_NOISE = 0.05
"""The smallest noise multiplier that `calibrate_noise` gives out."""

MOST_NOISE = 1e6
"""The largest noise multiplier that `calibrate_noise` tries."""

_FARTHEST = 1e15  # how far up or down from 1 a scale is sought
_TOLERANCE = 0.005  # how far below the wanted epsilon a calibration may end


def calibrate(make: Callable[[float], Sequence[DpEvent]], *, epsilon: float, delta: float) -> float:
    """The least scale of the noise, but for a tolerance, with which a plan costs no more than epsilon.

    Example: ``calibrate(lambda scale: [DiscreteLaplace(scale=scale)] * 3, epsilon=1, delta=1e-6)``.

    Args:
        make: the events of the plan when its noise has this scale; more noise must not cost more. It is called with
            scales over many magnitudes and must accept them.
        epsilon: what may be spent, above 0.
        delta: in (0, 1); see `compose`.

    Returns:
        A scale of six significant digits for which `compose` gives at most `epsilon`, and at least 0.995 times
        `epsilon` unless epsilon changes by more than that within a ten-thousandth of the scale.

    Raises:
        ValueError: for a figure outside of its range, or if no scale between 1e-15 and 1e15 meets epsilon.

    Guarantee: `compose` with the result was computed and found to be at most `epsilon`.
    """
    positive("epsilon", epsilon)
    probability("delta", delta)

    def spent(scale: float, *, fine: bool) -> float:
        return (compose if fine else compose_coarsely)(tuple(make(scale)), delta=delta)

    return _search(spent, epsilon, least=1 / _FARTHEST, most=_FARTHEST, what="scale")


def calibrate_noise(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The least noise multiplier, but for a tolerance, with which a training run costs no more than epsilon.

    Args:
        epsilon: what may be spent, above 0.
        delta: in (0, 1); see `epsilon_spent`.
        sample_rate: the probability with which a unit joins a step, in (0, 1].
        steps: how many steps there are, at least 1.

    Returns:
        A noise multiplier of six significant digits, between `LEAST_NOISE` and `MOST_NOISE`, for which `epsilon_spent`
        gives at most `epsilon`, and at least 0.995 times `epsilon` unless epsilon changes by more than that within
        a ten-thousandth of the noise.

    Raises:
        ValueError: for a figure outside of its range, or if no noise multiplier within the bounds meets epsilon.

    Guarantee: `epsilon_spent` with the result was computed and found to be at most `epsilon`.
    """
    positive("epsilon", epsilon)
    probability("delta", delta)
    check_sampling(sample_rate, 1.0, steps)
    return _calibrate_noise(epsilon, delta, sample_rate, steps)


@lru_cache(maxsize=256)
def _calibrate_noise(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    def spent(noise: float, *, fine: bool) -> float:
        event = PoissonGaussian(sample_rate=sample_rate, noise_multiplier=noise, steps=steps)
        return (compose if fine else compose_coarsely)((event,), delta=delta)

    return _search(spent, epsilon, least=LEAST_NOISE, most=MOST_NOISE, what="noise multiplier")


def _search(spent: Callable[..., float], epsilon: float, *, least: float, most: float, what: str) -> float:
    low, high = _bracket(lambda noise: spent(noise, fine=False), epsilon, least=least, most=most, what=what)
    while high / low > 1.05:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if spent(middle, fine=False) > epsilon else (low, middle)
    at_low, at_high = spent(low, fine=False), spent(high, fine=False)
    slope = -1.0
    if math.isfinite(at_low):
        slope = min(math.log(max(at_high, 1e-9) / at_low) / math.log(high / low), -1e-3)

    # From here on the fine grid, whose epsilon is a little smaller: the bracket is opened again. A secant through
    # the logarithms is nearly straight; the middle of the bracket stands in wherever it leads astray.
    noise = low * (epsilon / at_low) ** (1 / slope) if math.isfinite(at_low) else high
    noise = min(max(noise, low), high)
    low, high = low / 2, high * 2
    previous = (noise, 0.0)
    while True:
        noise = _six_digits(noise)
        found = spent(noise, fine=True)
        if (1 - _TOLERANCE) * epsilon <= found <= epsilon:
            return noise
        low, high = (noise, high) if found > epsilon else (low, noise)
        if high / low < 1 + 1e-4:
            return _safe_end(high, epsilon, lambda noise: spent(noise, fine=True), most=most, what=what)
        if 0 < found < math.inf and 0 < previous[1] < math.inf and noise != previous[0]:
            slope = math.log(found / previous[1]) / math.log(noise / previous[0])
        previous = (noise, found)
        usable = 0 < found < math.inf and slope < 0
        guess = noise * ((1 - _TOLERANCE / 2) * epsilon / found) ** (1 / slope) if usable else 0.0
        noise = guess if low < guess < high else math.sqrt(low * high)


def _bracket(
    spent: Callable[[float], float], epsilon: float, *, least: float, most: float, what: str
) -> tuple[float, float]:
    """Two scales, at most a factor of 2 apart: the first spends too much, the second does not."""
    low = high = 1.0
    while spent(high) > epsilon:
        if high >= most:
            raise ValueError(
                f"no {what} up to {most:g} keeps epsilon at {epsilon:g}: "
                "take fewer steps, a smaller sample rate, or a larger epsilon or delta"
            )
        low, high = high, min(2 * high, most)
    while spent(low) <= epsilon:
        if low <= least:
            raise ValueError(
                f"epsilon {epsilon:g} is met with hardly any noise ({what} {least:g}): it would protect "
                "nobody; state a smaller epsilon or a smaller delta"
            )
        low, high = max(low / 2, least), low
    return low, high


def _safe_end(noise: float, epsilon: float, spent: Callable[[float], float], *, most: float, what: str) -> float:
    """The first noise at or above this one that keeps epsilon, where epsilon is too steep in the noise to be met."""
    while spent(noise) > epsilon:
        if noise > most:
            raise ValueError(f"no {what} up to {most:g} keeps epsilon at {epsilon:g}")
        noise = _six_digits(noise * 1.0001)
    return noise


def _six_digits(noise: float) -> float:
    """Rounded up to six significant digits: what a policy or a report prints is what was used."""
    return float(Decimal(noise).quantize(Decimal(1).scaleb(math.floor(math.log10(noise)) - 5), rounding=ROUND_CEILING))
