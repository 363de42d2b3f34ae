"""Limits that hold although the next release is chosen after looking at the last one: privacy filters.

`compose` bounds mechanisms whose parameters were fixed beforehand. Whoever sees a first answer and then decides
how much noise the second one gets, or whether to ask at all, has left that theorem: for privacy loss
distributions in general, no filter with the same sums exists. Three things still add up under a limit that was fixed
beforehand, whatever is chosen on the way:

- pure losses: stop before their sum exceeds epsilon;
- Renyi divergences of one order that was fixed beforehand: stop before their sum exceeds what that order allows;
- deltas: stop before the probability that any of them strikes exceeds a share that was set aside for them.

The limit's delta is halved beforehand: one half for the deltas of events, the other for the conversion from Renyi
divergences. A history is admitted while its deltas keep to their half and it keeps to epsilon in pure losses OR in
Renyi divergences.

Why that is sound. Take away the event that a delta strikes: its probability is at most the first half. What is left is
an interaction that ends inside one of two regions. On the outcomes that end inside the first it is the same as an
interaction that stops where that region ends, which is (epsilon, 0)-private; on the others the same as one that stops
where the second ends, which is (epsilon, delta / 2)-private. Summed over both kinds of outcomes: (epsilon, delta).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from wardline.core.checks import positive, probability
from wardline.dp.accounting.events import DpEvent
from wardline.dp.accounting.renyi import conversion, failing, pure, renyi

ROUNDING = 1e-10
"""By how much, relatively, a history may end above a limit: ten releases of 0.1 fill a limit of 1, although no double
is a tenth. Guarantees hold at the limit times 1 + `ROUNDING`."""

_MARGIN = 1e-12  # relative: more than the rounding of a sum of a million terms hides


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed:
    """What events have used up, in each of the currencies that add up.

    Attributes:
        failing: the sum of their deltas.
        pure: the sum of their largest losses; infinite where one has none.
        renyi: the sum of their Renyi divergences, of the order that the filter fixes.
    """

    failing: float = 0.0
    pure: float = 0.0
    renyi: float = 0.0

    def __add__(self, other: Consumed) -> Consumed:
        return Consumed(
            failing=self.failing + other.failing, pure=self.pure + other.pure, renyi=self.renyi + other.renyi
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyFilter:
    """Decides which histories keep to a limit, whoever chose their parameters and on what grounds.

    Attributes:
        epsilon: the limit, above 0.
        delta: the limit, in (0, 1).

    Guarantee: an interaction in which every release was admitted together with all before it is
    (epsilon, delta)-differentially private, each figure times 1 + `ROUNDING`, add or remove one unit, for every
    strategy of choosing the next release (its mechanism, its parameters, and whether to go on) from the outputs of the
    ones before.

    References:
        Rogers, Roth, Ullman and Vadhan 2016 (filters; pure losses, theorem 3.6); Feldman and Zrnic 2021, theorem 3.1,
        and Lecuyer 2021, theorem 1 (Renyi divergences of a fixed order); Whitehouse, Ramdas, Rogers and Wu 2023,
        theorem 1 (with deltas); Canonne, Kamath and Steinke 2020, proposition 12 (conversion).
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        positive("epsilon", self.epsilon)
        probability("delta", self.delta)

    @property
    def order(self) -> float:
        """The Renyi order: fixed by the limit alone, the one that admits most Gaussian noise."""
        return _best_order(self.epsilon, self.delta / 2)

    def consumed(self, events: Sequence[DpEvent]) -> Consumed:
        """What some events use up."""
        order = self.order
        return Consumed(
            failing=math.fsum(failing(event) for event in events),
            pure=math.fsum(pure(event) for event in events),
            renyi=math.fsum(renyi(event, order) for event in events),
        )

    def epsilon_for(self, consumed: Consumed) -> float:
        """The least epsilon at which the history would have been admitted, at this delta and order.

        It says how close to the limit a history came. It is no guarantee of its own: the limit is, since an epsilon
        that was read off afterwards was not fixed beforehand.
        """
        if consumed.failing * (1 + _MARGIN) > self.delta / 2 * (1 + ROUNDING):
            return math.inf
        by_divergence = consumed.renyi + conversion(self.order, self.delta / 2)
        return (1 + _MARGIN) * min(consumed.pure, max(0.0, by_divergence))

    def used(self, consumed: Consumed) -> float:
        """How much of the limit a history has used up, from 0 without any release; not admitted above 1, roughly."""
        deltas = consumed.failing * (1 + _MARGIN) / (self.delta / 2)
        losses = consumed.pure * (1 + _MARGIN) / self.epsilon
        budget = self.epsilon / (1 + _MARGIN) - conversion(self.order, self.delta / 2)
        if budget > 0:
            losses = min(losses, consumed.renyi / budget)
        return max(deltas, losses)

    def admits(self, consumed: Consumed) -> bool:
        """Whether a history keeps to the limit."""
        return self.epsilon_for(consumed) <= self.epsilon * (1 + ROUNDING)


@lru_cache(maxsize=256)
def _best_order(epsilon: float, delta: float) -> float:
    """The order at which the budget in units of Gaussian noise, (epsilon - conversion) / order, is largest.

    By narrowing an interval of log(order - 1), in which the budget rises and then falls. The result is rounded to four
    digits, so that it is the same on every machine.
    """

    def budget(log_above: float) -> float:
        order = 1 + math.exp(log_above)
        return (epsilon - conversion(order, delta)) / order

    low, high = -7.0, 14.0
    for _ in range(100):
        third = (high - low) / 3
        low, high = (low + third, high) if budget(low + third) < budget(high - third) else (low, high - third)
    return 1 + float(f"{math.exp((low + high) / 2):.4g}")
