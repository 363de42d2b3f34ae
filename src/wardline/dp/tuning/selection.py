"""Private selection: run a private mechanism a random number of times, publish the best result alone.

Training under several settings and keeping the best reveals more than one training does: the choice itself depends
on the data. Run k times for a fixed k and the loss can grow with k. Where the number of runs is random and
secret, it grows hardly at all, and at no price in k beyond a logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.checks import positive, probability

T = TypeVar("T")

_ROUNDING = 2.0**-44
"""By how much the drawn number of runs may differ from a Poisson number, in total variation (see `draw_runs`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateSelection:
    """The best of a Poisson number of runs.

    Attributes:
        mean_runs: how many runs are expected, above 0 and at most 1,000. With probability exp(-mean_runs) there is
            no run at all, and nothing is published.
    """

    mean_runs: float

    def __post_init__(self) -> None:
        if positive("mean_runs", self.mean_runs) > 1000:
            raise ValueError(f"mean_runs must be at most 1000, not {self.mean_runs}")

    def draw_runs(self, random: SecureRandom) -> int:
        """How many runs there are this time: a Poisson number, to 2**-44 in total variation. It stays secret."""
        if not isinstance(random, SecureRandom):
            raise TypeError("the number of runs is part of the protection: it comes from SecureRandom only")
        point = float(random.uniform(1)[0])
        count, prob = 0, math.exp(-self.mean_runs)
        below = prob
        # exp(-1000) is 0 in doubles, hence logarithms.
        log_prob = -self.mean_runs
        while point > below and count < 40 * (self.mean_runs + 10):
            count += 1
            log_prob += math.log(self.mean_runs / count)
            below += math.exp(log_prob)
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected(Generic[T]):
    """What a private selection publishes.

    Attributes:
        result: the result with the highest score; None if there was no run.
        score: its score; None if there was no run.
    """

    result: T | None
    score: float | None


def select_privately(
    run: Callable[[], tuple[T, float]], *, selection: PrivateSelection, random: SecureRandom
) -> Selected[T]:
    """Run a private mechanism a random number of times and give out the best result, and nothing about the others.

    Args:
        run: the mechanism: draws one of the settings without looking at the data, computes with fresh noise, and
            returns what may be published with its score. **Both are covered by its guarantee**: a score that is
            measured on private data carries noise of its own.
        selection: how many runs are to be expected.
        random: decides how many there are.

    Guarantee: `selection_cost` of the mechanism's Renyi curve. The number of runs is part of the secret: who can
        measure how long this takes learns about it, which the guarantee does not cover.

    References:
        Liu and Talwar 2019; Papernot and Steinke 2022, section 3.3 and theorem 6.
    """
    best: Selected[T] = Selected(result=None, score=None)
    for _ in range(selection.draw_runs(random)):
        result, score = run()
        if math.isnan(score):
            raise ValueError("a score is a number")
        # Ties are broken towards the earlier run: the order of runs carries no information, so this is a rule
        # that looks at no data, as the theorem's proof asks for.
        if best.score is None or score > best.score:
            best = Selected(result=result, score=score)
    return best


def selection_cost(orders: npt.ArrayLike, curve: npt.ArrayLike, *, selection: PrivateSelection, delta: float) -> float:
    """The epsilon of a private selection.

    Args:
        orders: orders above 1, ascending.
        curve: the Renyi divergence of a single run at each order, add or remove one unit; at least 0.
        selection: how many runs are to be expected.
        delta: in (0, 1), of the selection as a whole.

    Returns:
        An epsilon for which the selection is (epsilon, delta)-differentially private; infinite if no order gives one.

    Raises:
        ValueError: for orders or figures outside of their range.

    Guarantee: an upper bound, if `curve` is one. For each order a, the selection's divergence is at most
        ``curve(a) + mean_runs * d + log(mean_runs) / (a - 1)``, where a single run is (log(1 + 1/(a - 1)),
        d)-differentially private; the divergence is then converted. What separates the drawn number of runs
        from a Poisson number is taken from delta.

    References:
        Papernot and Steinke 2022, theorem 6; Canonne, Kamath and Steinke 2020, proposition 12 (conversion).
    """
    probability("delta", delta)
    a = np.asarray(orders, dtype=np.float64)
    single = np.asarray(curve, dtype=np.float64)
    if a.ndim != 1 or a.shape != single.shape or not len(a):
        raise ValueError("orders and curve are lists of the same length, at least one")
    if not (np.all(a > 1) and np.all(np.diff(a) > 0) and np.all(single >= 0)):
        raise ValueError("orders lie above 1 and rise; a divergence is at least 0")
    thresholds = np.log1p(1 / (a - 1))
    several = single + selection.mean_runs * _delta(a, single, thresholds) + math.log(selection.mean_runs) / (a - 1)
    # A Renyi divergence is never negative, and a mean below one run cannot be used to claim less than that.
    several = np.maximum(several, 0.0)
    epsilon = _epsilon(a, several, delta)
    if not math.isfinite(epsilon):
        return math.inf
    # (1 + exp(epsilon)) * _ROUNDING is what two mechanisms that close to one another lose at most.
    slack = (1 + math.exp(min(epsilon, 700.0))) * _ROUNDING
    return _epsilon(a, several, delta - slack) if slack < delta / 2 else math.inf


def _epsilon(orders: npt.NDArray[np.float64], curve: npt.NDArray[np.float64], delta: float) -> float:
    found = curve + np.log1p(-1 / orders) - (np.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(np.min(found)))


def _delta(
    orders: npt.NDArray[np.float64], curve: npt.NDArray[np.float64], epsilons: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The delta of a single run at each epsilon: the best over all orders."""
    exponent = (orders - 1) * (curve - epsilons[:, None]) - np.log(orders - 1) + orders * np.log1p(-1 / orders)
    found: npt.NDArray[np.float64] = np.minimum(1.0, np.exp(np.minimum(0.0, exponent.min(axis=1))))
    return found
