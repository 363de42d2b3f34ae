"""Which of the groups found in the data are published, and what is known of their size from that alone.

A group with a single person must hardly ever show. So persons are counted with noise, and only groups whose noisy count
exceeds a threshold are published. The noisy count has been paid for and is published with them, but it is not an
unbiased figure any more: groups near the threshold are seen only when the noise was in their favour. The interval
given here takes that into account: it covers the true count with 95 % **among those that are published**.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wardline.core.rng import SecureRandom
from wardline.dp.accounting import DpEvent
from wardline.dp.mechanisms import costs, partitions
from wardline.dp.releases.answers import Answer
from wardline.dp.releases.noise import FloatArray, IntArray, Noise
from wardline.dp.releases.noisy import MISS


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How groups are selected.

    Attributes:
        kind: truncated geometric noise, or Gaussian noise with a threshold.
        groups: how many groups a person can have.
        epsilon: of one group of a person, for geometric noise; 0 otherwise.
        sigma: of the Gaussian noise; 0 otherwise.
        delta: of one group of a person for geometric noise, of all together for Gaussian noise.
    """

    kind: Literal["geometric", "gaussian"]
    groups: int
    epsilon: float
    sigma: float
    delta: float

    @property
    def threshold(self) -> int:
        """A group is published if its noisy count of persons is above this."""
        if self.kind == "geometric":
            return partitions.truncation(epsilon=self.epsilon, delta=self.delta)
        return partitions.threshold(sigma=self.sigma, delta=self.delta, groups=self.groups)

    @property
    def noise(self) -> Noise:
        """The noise of the count, before anything is left out."""
        if self.kind == "geometric":
            return Noise(kind="laplace", scale=costs.scale_for(epsilon=self.epsilon, l1=1))
        return Noise(kind="gaussian", scale=self.sigma)

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """What it costs."""
        if self.kind == "geometric":
            return (costs.geometric_partition_event(epsilon=self.epsilon, delta=self.delta, groups=self.groups),)
        return costs.gaussian_partition_events(sigma=self.sigma, delta=self.delta, groups=self.groups)

    def run(self, persons: IntArray, random: SecureRandom) -> tuple[IntArray, IntArray]:
        """Select.

        Args:
            persons: how many persons each group has.
            random: where the noise comes from.

        Returns:
            The places of the groups that are published, and their noisy counts.
        """
        if self.kind == "geometric":
            kept, noisy = partitions.geometric_partitions(
                persons, epsilon=self.epsilon, delta=self.delta, random=random
            )
        else:
            kept, noisy = partitions.gaussian_partitions(
                persons, sigma=self.sigma, delta=self.delta, groups=self.groups, random=random
            )
        places = np.flatnonzero(kept)
        return places, noisy[places]

    def answer(self, label: str, noisy: IntArray, *, miss: float = MISS) -> Answer:
        """The noisy counts of published groups as a figure of the release."""
        low, high = self._interval(noisy, miss)
        value = np.maximum(noisy, 1).astype(np.float64)
        std = np.full(len(noisy), self.noise.std)
        return Answer(label=label, value=value, noise=std, low=low, high=np.maximum(high, value), whole=True)

    def _interval(self, noisy: IntArray, miss: float) -> tuple[FloatArray, FloatArray]:
        """Counts under which a noisy count this high, and one this low, is not rare among the published.

        With S(k) the probability that the noise is at least k, a published count is at least x with probability
        S(x - c) / S(threshold + 1 - c), which rises with the true count c. Both ends are found by bisection.
        """
        above = self.threshold + 1
        survival, reach = self._survival()
        size = len(survival)

        def log_survival(least: IntArray) -> FloatArray:
            # S is 1 up to -reach, and the last entry stands for all beyond +reach.
            return survival[np.clip(least + reach, 0, size - 1)]

        def share_at_least(count: IntArray, seen: IntArray) -> FloatArray:
            return np.exp(log_survival(seen - count) - log_survival(np.asarray(above) - count))

        unique, back = np.unique(noisy, return_inverse=True)
        farthest = unique + reach
        low = _first(lambda count: share_at_least(count, unique) > miss / 2, np.ones_like(unique), farthest)
        high = _first(lambda count: 1 - share_at_least(count, unique + 1) <= miss / 2, np.ones_like(unique), farthest)
        return low[back].astype(np.float64), (high[back] - 1).astype(np.float64)

    def _survival(self) -> tuple[FloatArray, int]:
        """Logarithms of S(k) for k from -reach to reach, and of the nothing beyond."""
        if self.kind == "geometric":
            reach = self.threshold
            places = np.arange(-reach, reach + 1)
            mass = np.exp(-np.abs(places) / self.noise.scale)
        else:
            reach = int(np.ceil(13 * self.sigma)) + 1
            places = np.arange(-reach, reach + 1)
            mass = np.exp(-0.5 * (places / self.sigma) ** 2)
        tail = np.cumsum(mass[::-1])[::-1]
        return np.append(np.log(tail / tail[0]), -np.inf), reach


def _first(holds: Callable[[IntArray], npt.NDArray[np.bool_]], low: IntArray, high: IntArray) -> IntArray:
    """For each place the least whole number in [low, high] from which on a condition holds; `high` if for none."""
    low, high = low.copy(), np.maximum(high, low)
    while True:
        open_ = low < high
        if not open_.any():
            return low
        middle = (low + high) // 2
        true = holds(middle)
        high = np.where(open_ & true, middle, high)
        low = np.where(open_ & ~true, middle + 1, low)
