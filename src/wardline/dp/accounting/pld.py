"""What a sequence of noisy steps costs: privacy loss distributions, and the noise for a wanted epsilon.

The neighbouring relation is add or remove: two data sets differ in one privacy unit that one of them has and
the other lacks. Figures come from dp-accounting's privacy loss distributions (PLD), whose discretisation
rounds every loss up, so that the epsilon told is never below the true one by discretisation.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from wardline.core.canonical import to_json
from wardline.core.checks import positive, probability
from wardline.core.extras import need

if TYPE_CHECKING:
    from dp_accounting.pld import privacy_loss_distribution

Kind = Literal["poisson-gaussian"]
"""The mechanisms that an event can stand for."""

LEAST_NOISE = 0.05
"""The smallest noise multiplier that `calibrate_noise` gives out."""

MOST_NOISE = 1e6
"""The largest noise multiplier that `calibrate_noise` tries."""

_LEAST_ACCOUNTED = 0.01  # below it a single step costs an epsilon in the thousands: there is nothing to account for
_FINE, _COARSE = 4000, 250  # intervals per epsilon: relative error about 1e-4, and about 1e-2
_WIDEST = {_FINE: 5e-4, _COARSE: 1e-2}  # many steps add up their rounding, so large epsilons get a cap as well
_NARROWEST = 1e-6  # below it the rounding of doubles exceeds that of the grid
_MOST_CELLS = 50_000  # bounds memory and time where epsilon is huge
_MOST_CELLS_OF_A_STEP = 100_000  # the same, where epsilon is small but a single step's losses reach far
_CLOSED_FORM = 100  # where that asks for wider intervals still, epsilon is above 10 million: no grid is laid
_TOLERANCE = 0.005  # how far below the wanted epsilon a calibration may end

_Group = tuple[float, float, int]  # sample_rate, noise_multiplier, steps


@dataclass(frozen=True, slots=True, kw_only=True)
class DpEvent:
    """A mechanism that was, or will be, applied to the data: what the ledger charges.

    Attributes:
        kind: ``poisson-gaussian``: every privacy unit joins a step with the same probability, independently of
            the others, and Gaussian noise covers the sum of the clipped contributions. A later kind reads the three
            figures in the same way with another noise.
        sample_rate: the probability with which a unit joins a step, in (0, 1]; 1 for a mechanism without sampling.
        noise_multiplier: standard deviation of the noise over the sensitivity, at least 0.01.
        steps: how often it is applied, at least 1.

    Raises:
        ValueError: for a figure outside of its range.
        TypeError: for steps that are not a whole number.
    """

    kind: Kind = "poisson-gaussian"
    sample_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of event: {self.kind!r}")
        _check_mechanism(self.sample_rate, self.noise_multiplier, self.steps)

    def to_json(self) -> dict[str, Any]:
        """The event as plain JSON values."""
        return dict(to_json(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The event that `to_json` wrote.

        Raises:
            ValueError: for a key too many or too few, or a figure outside of its range.
            TypeError: for a figure that is no number.
        """
        expected = {"kind", "sample_rate", "noise_multiplier", "steps"}
        if set(value) != expected:
            raise ValueError(f"an event has the keys {', '.join(sorted(expected))} and no others")
        return cls(**value)


def epsilon_spent(*, delta: float, sample_rate: float, noise_multiplier: float, steps: int) -> float:
    """The epsilon of a Poisson-subsampled Gaussian mechanism that is applied several times.

    Args:
        delta: in (0, 1), and not so small that the rounding of doubles drowns it (above about 2.3e-15 per step).
        sample_rate: the probability with which a unit joins a step, in (0, 1].
        noise_multiplier: standard deviation of the noise over the sensitivity, at least 0.01.
        steps: how often it is applied, at least 1.

    Returns:
        An epsilon for which the whole sequence is (epsilon, delta)-differentially private, add or remove one unit.

    Raises:
        ValueError: for a figure outside of its range.
        MissingExtraError: without dp-accounting.

    Guarantee: an upper bound. Discretisation rounds losses up (Connect-the-Dots), and the rounding of the
    Fourier transform, which can point the other way, is covered by asking for a slightly smaller delta.

    References:
        Koskela, Jaelkoe and Honkela 2020 (PLD by Fourier transform); Zhu, Dong and Wang 2022 (dominating pairs for
        Poisson sampling, section 4); Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022 (Connect-the-Dots).
    """
    _check_mechanism(sample_rate, noise_multiplier, steps)
    return _epsilon(((sample_rate, noise_multiplier, steps),), _check_delta(delta, steps), _FINE)


def delta_spent(*, epsilon: float, sample_rate: float, noise_multiplier: float, steps: int) -> float:
    """The delta of a Poisson-subsampled Gaussian mechanism that is applied several times.

    Args:
        epsilon: above 0.
        sample_rate: the probability with which a unit joins a step, in (0, 1].
        noise_multiplier: standard deviation of the noise over the sensitivity, at least 0.01.
        steps: how often it is applied, at least 1.

    Returns:
        A delta, at most 1, for which the whole sequence is (epsilon, delta)-differentially private.

    Raises:
        ValueError: for a figure outside of its range.
        MissingExtraError: without dp-accounting.

    Guarantee: an upper bound, in the same sense as `epsilon_spent`.
    """
    positive("epsilon", epsilon)
    _check_mechanism(sample_rate, noise_multiplier, steps)
    groups = ((sample_rate, noise_multiplier, steps),)
    slack = _rounding(steps)
    scale = _epsilon(groups, max(1e-9, 20 * slack), _COARSE)
    interval = max(min(epsilon / _FINE, _WIDEST[_FINE]), scale / _MOST_CELLS, _narrowest(groups))
    if interval > _CLOSED_FORM:
        return 1.0
    found = float(_distribution(groups, interval).get_delta_for_epsilon(epsilon))
    return min(1.0, found * (1 + 1e-6) + slack)


def compose(events: Sequence[DpEvent], *, delta: float) -> float:
    """The epsilon of several mechanisms applied to the same data, composed as privacy loss distributions.

    The bound holds for mechanisms whose parameters do not depend on what the earlier ones gave out (their data
    dependence may be adaptive, their noise and sampling may not). Where somebody chooses the next
    parameters after looking at the last result, it is an estimate, not a theorem.

    Args:
        events: the mechanisms in any order; none cost nothing.
        delta: in (0, 1), one for the whole composition.

    Returns:
        The composed epsilon; it is below the sum of the single ones.

    Raises:
        ValueError: for a delta outside of its range.
        MissingExtraError: without dp-accounting.

    Guarantee: an upper bound, in the same sense as `epsilon_spent`.

    References:
        Rogers, Roth, Ullman and Vadhan 2016 (why parameters chosen on the way need a filter instead).
    """
    steps: Counter[tuple[float, float]] = Counter()
    for event in events:
        steps[event.sample_rate, event.noise_multiplier] += event.steps
    _check_delta(delta, sum(steps.values()))
    if not steps:
        return 0.0
    # Sorted, so that the order of the releases cannot change a digit of the result.
    return _epsilon(tuple(sorted((*key, count) for key, count in steps.items())), delta, _FINE)


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
        MissingExtraError: without dp-accounting.

    Guarantee: `epsilon_spent` with the result was computed and found to be at most `epsilon`.
    """
    positive("epsilon", epsilon)
    _check_mechanism(sample_rate, 1.0, steps)
    return _calibrate(epsilon, _check_delta(delta, steps), sample_rate, steps)


@lru_cache(maxsize=256)
def _calibrate(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    def spent(noise: float, fineness: int) -> float:
        return _epsilon(((sample_rate, noise, steps),), delta, fineness)

    low, high = _bracket(lambda noise: spent(noise, _COARSE), epsilon)
    while high / low > 1.05:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if spent(middle, _COARSE) > epsilon else (low, middle)
    slope = math.log(max(spent(high, _COARSE), 1e-9) / spent(low, _COARSE)) / math.log(high / low)

    # From here on the fine grid, whose epsilon is a little smaller: the bracket is opened again. A secant through
    # the logarithms is nearly straight; the middle of the bracket stands in wherever it leads astray.
    noise = low * (epsilon / spent(low, _COARSE)) ** (1 / slope)
    low, high = low / 2, high * 2
    previous = (noise, 0.0)
    while True:
        noise = _six_digits(noise)
        found = spent(noise, _FINE)
        if (1 - _TOLERANCE) * epsilon <= found <= epsilon:
            return noise
        low, high = (noise, high) if found > epsilon else (low, noise)
        if high / low < 1 + 1e-4:
            return _safe_end(high, epsilon, lambda noise: spent(noise, _FINE))
        if found > 0 and previous[1] > 0 and noise != previous[0]:
            slope = math.log(found / previous[1]) / math.log(noise / previous[0])
        previous = (noise, found)
        guess = noise * ((1 - _TOLERANCE / 2) * epsilon / found) ** (1 / slope) if found > 0 and slope < 0 else 0.0
        noise = guess if low < guess < high else math.sqrt(low * high)


def _bracket(spent: Callable[[float], float], epsilon: float) -> tuple[float, float]:
    """Two noise multipliers, at most a factor of 2 apart: the first spends too much, the second does not."""
    low = high = 1.0
    while spent(high) > epsilon:
        if high >= MOST_NOISE:
            raise ValueError(
                f"no noise multiplier up to {MOST_NOISE:g} keeps epsilon at {epsilon:g}: "
                "take fewer steps, a smaller sample rate, or a larger epsilon or delta"
            )
        low, high = high, min(2 * high, MOST_NOISE)
    while spent(low) <= epsilon:
        if low <= LEAST_NOISE:
            raise ValueError(
                f"epsilon {epsilon:g} is met with hardly any noise (noise multiplier {LEAST_NOISE}): it would protect "
                "nobody; state a smaller epsilon or a smaller delta"
            )
        low, high = max(low / 2, LEAST_NOISE), low
    return low, high


def _safe_end(noise: float, epsilon: float, spent: Callable[[float], float]) -> float:
    """The first noise at or above this one that keeps epsilon, where epsilon is too steep in the noise to be met."""
    while spent(noise) > epsilon:
        if noise > MOST_NOISE:
            raise ValueError(f"no noise multiplier up to {MOST_NOISE:g} keeps epsilon at {epsilon:g}")
        noise = _six_digits(noise * 1.0001)
    return noise


def _six_digits(noise: float) -> float:
    """Rounded up to six significant digits: what a policy or a report prints is what was used."""
    digits = 5 - math.floor(math.log10(noise))
    return round(math.ceil(noise * 10.0**digits) / 10.0**digits, digits)


@lru_cache(maxsize=1024)
def _epsilon(groups: tuple[_Group, ...], delta: float, fineness: int) -> float:
    """Epsilon of the composition, on a grid whose interval is refined until it is small beside epsilon itself.

    A fixed interval would be wasteful for an epsilon of 50 and useless for one of 0.01. Every grid gives an upper
    bound, so the smallest seen is one.
    """
    steps = sum(count for _, _, count in groups)
    target = delta * (1 - 1e-6) - _rounding(steps)
    # Sampling only helps, and without it the composition is one Gaussian mechanism: zero-concentrated
    # differential privacy bounds it in closed form (Bun and Steinke 2016, propositions 1.3 and 1.6).
    square = sum(count / noise**2 for _, noise, count in groups)
    best = square / 2 + math.sqrt(2 * square * -math.log(target))
    if fineness == _FINE:
        best = min(best, _epsilon(groups, delta, _COARSE))
    interval, narrowest = math.inf, _narrowest(groups)
    while best > 0:
        finer = max(min(best / fineness, _WIDEST[fineness]), best / _MOST_CELLS, narrowest)
        # An interval within a half of the wanted one is good enough.
        if interval <= 1.5 * finer or finer > _CLOSED_FORM:
            break
        interval = finer
        best = min(best, float(_distribution(groups, interval).get_epsilon_for_delta(target)))
    return best


def _narrowest(groups: tuple[_Group, ...]) -> float:
    """The narrowest interval that can be afforded: ten standard deviations of one step's loss fit into the grid."""
    span = max(1 / (2 * noise**2) + 10 / noise for _, noise, _ in groups)
    return max(_NARROWEST, span / _MOST_CELLS_OF_A_STEP)


def _distribution(groups: tuple[_Group, ...], interval: float) -> privacy_loss_distribution.PrivacyLossDistribution:
    """The privacy loss distribution of the composition, every loss rounded up to a multiple of the interval."""
    pld = need("dp_accounting.pld.privacy_loss_distribution", extra="dp")
    total = None
    for sample_rate, noise, count in groups:
        single = pld.from_gaussian_mechanism(
            noise, sampling_prob=sample_rate, value_discretization_interval=interval, pessimistic_estimate=True
        )
        part = single.self_compose(count) if count > 1 else single
        total = part if total is None else total.compose(part)
    return total


def _rounding(steps: int) -> float:
    """An upper bound on how much of delta the rounding of doubles hides.

    The characteristic function of one step is known to a relative 2**-53 and raised to the power of the steps. Against
    the closed form of the Gaussian mechanism, the error was never above a tenth of this (mu 0.02 to 3, up to 100,000
    steps, intervals 1e-6 to 1e-2), and it does exceed the discretisation's surplus for a delta below about 1e-10.
    """
    return (steps + 10) * 2.0**-52


def _check_mechanism(sample_rate: float, noise_multiplier: float, steps: int) -> None:
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate must lie above 0 and be at most 1, not {sample_rate}")
    if positive("noise_multiplier", noise_multiplier) < _LEAST_ACCOUNTED:
        raise ValueError(f"noise_multiplier must be at least {_LEAST_ACCOUNTED}: less noise protects nobody")
    if isinstance(steps, bool) or operator.index(steps) < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")


def _check_delta(delta: float, steps: int) -> float:
    probability("delta", delta)
    if delta < 10 * _rounding(steps):
        raise ValueError(f"delta {delta} is too small to be told from rounding errors after {steps} steps")
    return delta
