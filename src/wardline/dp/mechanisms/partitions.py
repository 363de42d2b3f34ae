"""Private selection of keys that are found in the data: a key that only one unit has must hardly ever be shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.checks import at_least, positive, probability
from wardline.dp.mechanisms._lazy import check_source, coins
from wardline.dp.mechanisms.costs import scale_for
from wardline.dp.mechanisms.gaussian import discrete_gaussian
from wardline.dp.mechanisms.laplace import discrete_laplace

Selected = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]

_DIRECT = 1 << 17  # standard deviations up to this one: the tail is summed term by term


def geometric_partitions(
    counts: npt.NDArray[np.int64], *, epsilon: float, delta: float, random: SecureRandom
) -> Selected:
    """Keep keys whose count of units, with truncated geometric noise, is high enough.

    Of all (epsilon, delta)-private ways to decide about one key, this keeps each with the highest probability that
    is possible, up to rounding the bound of the noise to a whole number.

    Args:
        counts: how many privacy units have each key, at least 0; a unit counts once for each key that it has.
        epsilon: above 0; the cost of ONE key that a unit has.
        delta: in (0, 1); likewise.
        random: where the noise comes from. Nothing that can be seeded is accepted.

    Returns:
        Which keys are kept, and their noisy counts (0 for keys that are not kept), which may be shown as well.

    Raises:
        TypeError: for counts that are not whole numbers, or if `random` is not a `SecureRandom`.
        ValueError: for a negative count or a figure out of range.

    Guarantee:
        (epsilon, delta)-differential privacy for units with one key each. For units with up to k keys it is the
        k-fold composition (`geometric_partition_events`).

    References:
        Desfontaines, Voss, Gipson and Mandayam 2022, theorem 1 and section 3.3 (the truncated geometric noise).
    """
    check_source(random)
    counts = _checked(counts)
    most = truncation(epsilon=epsilon, delta=delta)
    noise = _truncated_laplace(len(counts), scale=scale_for(epsilon=epsilon, l1=1), most=most, random=random)
    noisy = counts + noise
    kept = noisy > most
    return kept, np.where(kept, noisy, 0)


def truncation(*, epsilon: float, delta: float) -> int:
    """The largest absolute value of the noise of `geometric_partitions`; a noisy count above it is kept.

    It is the least k for which the noise takes the value k, and so shows a key of a single unit, with a probability
    of at most delta: (1 - r) r**k / (1 + r - 2 r**(k + 1)) with r = exp(-epsilon).

    Raises:
        ValueError: for a figure out of range, or a bound beyond 2**40.
    """
    positive("epsilon", epsilon)
    probability("delta", delta)
    # The ratio of the noise as it is drawn, which scale_for rounds towards more noise.
    rate = 1.0 / scale_for(epsilon=epsilon, l1=1)
    grown = math.expm1(rate)
    guess = math.ceil(math.log1p(grown / (2.0 + grown) * (1.0 / delta - 1.0)) / rate)
    if guess > 1 << 40:
        raise ValueError("an epsilon and delta so small would need noise beyond 2**40")
    least = max(guess - 2, 0)
    while _last_prob(rate, least) > delta:
        least += 1
    return least


def _last_prob(rate: float, most: int) -> float:
    """The probability of the largest value, rounded up."""
    last = math.exp(-rate * most)
    prob = -math.expm1(-rate) * last / (1.0 + math.exp(-rate) - 2.0 * last * math.exp(-rate))
    return prob * (1.0 + 2.0**-40)


def _truncated_laplace(count: int, *, scale: float, most: int, random: SecureRandom) -> npt.NDArray[np.int64]:
    drawn = np.empty(count, dtype=np.int64)
    missing = np.arange(count)
    while len(missing):
        if most >= scale:
            proposed = discrete_laplace(len(missing), scale=scale, random=random)
            kept = np.abs(proposed) <= most
        else:
            # Almost all of the Laplace distribution would be cut off, and what is left is almost even.
            proposed = _uniform(len(missing), most, random)
            thresholds = np.abs(proposed) / scale
            kept = coins(thresholds, random, error=2.0**-50, exact=_over(proposed, scale))
        drawn[missing[kept]] = proposed[kept]
        missing = missing[~kept]
    return drawn


def _over(numbers: npt.NDArray[np.int64], scale: float) -> Callable[[int], Fraction]:
    return lambda place: abs(int(numbers[place])) / Fraction(scale)


def _uniform(count: int, most: int, random: SecureRandom) -> npt.NDArray[np.int64]:
    """Whole numbers from -most to most, all as likely as each other; `most` is at most 2**40."""
    mask = np.uint64((1 << (2 * most + 1).bit_length()) - 1)
    found = (random.uint64(count) & mask).view(np.int64)
    while len(outside := np.flatnonzero(found > 2 * most)):
        found[outside] = (random.uint64(len(outside)) & mask).view(np.int64)
    return found - most


def gaussian_partitions(
    counts: npt.NDArray[np.int64], *, sigma: float, delta: float, groups: int, random: SecureRandom
) -> Selected:
    """Keep keys whose count of units, with discrete Gaussian noise, is above a threshold.

    Cheaper than `geometric_partitions` when a unit may have many keys: the noise grows with the root of their number.

    Args:
        counts: how many privacy units have each key, at least 0; a unit counts once for each key that it has.
        sigma: of the noise; see `discrete_gaussian`.
        delta: in (0, 1); the probability that any key of a single unit is shown.
        groups: how many keys a unit has at most, at least 1.
        random: where the noise comes from. Nothing that can be seeded is accepted.

    Returns:
        Which keys are kept, and their noisy counts (0 for keys that are not kept), which may be shown as well.

    Raises:
        TypeError: for counts that are not whole numbers, or if `random` is not a `SecureRandom`.
        ValueError: for a negative count or a figure out of range.

    Guarantee:
        The composition of groups / (2 sigma**2) zero-concentrated and (0, delta)-differential privacy
        (`gaussian_partition_events`): keys that a unit has alone are all hidden but for a probability of delta, and on
        the others the noise is that of a vector which the unit moves by sqrt(groups) at most.

    References:
        Desfontaines, Voss, Gipson and Mandayam 2022, section 4 (thresholding); Swanberg, Desfontaines and Haney
        2023 (delta accounted for exactly); Canonne, Kamath and Steinke 2020, theorem 4.
    """
    check_source(random)
    counts = _checked(counts)
    above = threshold(sigma=sigma, delta=delta, groups=groups)
    noisy = counts + discrete_gaussian(len(counts), sigma=sigma, random=random)
    # A key that nobody has does not exist, whatever the noise says.
    kept = (noisy > above) & (counts > 0)
    return kept, np.where(kept, noisy, 0)


def threshold(*, sigma: float, delta: float, groups: int) -> int:
    """The least whole number above which noisy counts can be shown by `gaussian_partitions`.

    The noisy counts of `groups` keys of a single unit all stay at or below it with a probability of at least
    1 - delta.

    Raises:
        ValueError: for a figure out of range.
    """
    positive("sigma", sigma)
    probability("delta", delta)
    at_least("groups", groups, 1)
    # One key may pass with this probability: 1 - (1 - each)**groups = delta.
    each = -math.expm1(math.log1p(-delta) / groups) * (1.0 - 2.0**-40)
    low, high = 0, math.ceil(40.0 * sigma) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if gaussian_tail(middle, sigma=sigma) <= each:
            high = middle
        else:
            low = middle
    if gaussian_tail(high, sigma=sigma) > each:
        raise ValueError("a delta so small would need a threshold beyond forty standard deviations")
    return high if gaussian_tail(low, sigma=sigma) > each else low


def gaussian_tail(least: int, *, sigma: float) -> float:
    """The probability that discrete Gaussian noise is at least `least`, which is at least 0, rounded up.

    References: Canonne, Kamath and Steinke 2020, proposition 25 (large sigma: the tail of the continuous Gaussian,
    one step nearer).
    """
    if sigma > _DIRECT:
        return min(1.0, 0.5 * math.erfc((least - 1) / (sigma * math.sqrt(2.0))) * (1.0 + 2.0**-40))
    places = np.arange(0, math.ceil(39.0 * sigma) + 2, dtype=np.float64)
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    if least >= len(places):
        return 0.0 if math.exp(-0.5 * (least / sigma) ** 2) == 0.0 else 2.0**-1000
    total = 2.0 * float(weights.sum()) - 1.0
    return float(weights[least:].sum()) / total * (1.0 + 2.0**-36) + 2.0**-1000


def _checked(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    counts = np.asarray(counts)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer):
        raise TypeError("counts are whole numbers, one for each key")
    if len(counts) and int(counts.min()) < 0:
        raise ValueError("a count is at least 0")
    if len(counts) and int(counts.max()) >= 1 << 62:
        raise ValueError("a count is below 2**62")
    return counts.astype(np.int64, copy=False)
