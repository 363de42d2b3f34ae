"""The arithmetic of one-run auditing: from correct guesses about coins to a lower bound on epsilon.

Each of m canaries is included in the data by its own fair coin; one model is trained; the auditor guesses r of
the coins from the model and abstains on the others. If training is (epsilon, delta)-differentially private,
the number of correct guesses is, up to delta, no larger than Binomial(r, e^epsilon / (1 + e^epsilon)). Many
correct guesses therefore contradict a small epsilon.

References: Steinke, Nasr, Jagielski 2023, theorem 5.2, corollary 5.4 and appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import binom

from wardline.core.checks import at_least, probability

_STEP = 0.05
_MOST_EPSILON = 50.0
_MOST_CANARIES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """What an auditor did.

    Attributes:
        canaries: m, how many coins were thrown.
        made: r, how many were guessed; fixed before anything was seen.
        correct: v, how many of these guesses were right.
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries or self.made < 1:
            raise ValueError("guesses are counted as 0 <= correct <= made <= canaries, at least one made")


def audit_p_value(guesses: Guesses, *, epsilon: float, delta: float) -> float:
    """The probability of at least that many correct guesses if training is (epsilon, delta)-private.

    The number of correct guesses is at most W + F, W binomial and F from 0 to m with mean at most 2 m delta,
    whatever their dependence on what was released. The worst F puts its whole mean on one value i, so that

        p = P[W >= v] + 2 m delta max_i P[v - i <= W < v] / i.

    Raises:
        ValueError: for a negative epsilon or a delta outside [0, 1).

    References: Steinke, Nasr, Jagielski 2023, corollary 5.4.
    """
    if epsilon < 0 or not 0 <= delta < 1:
        raise ValueError("epsilon is at least 0 and delta lies in [0, 1)")
    right = 1.0 / (1.0 + np.exp(-epsilon))
    p_value = float(binom.sf(guesses.correct - 1, guesses.made, right))
    if delta > 0 and guesses.correct > 0:
        below = np.cumsum(binom.pmf(np.arange(guesses.correct - 1, -1, -1), guesses.made, right))
        worst = float((below / np.arange(1, guesses.correct + 1)).max())
        p_value += 2.0 * guesses.canaries * delta * worst
    return min(p_value, 1.0)


def epsilon_lower_bound(guesses: Guesses, *, delta: float, confidence: float = 0.95) -> float:
    """The smallest epsilon that the guesses do not reject: all smaller ones are, at this confidence.

    Guarantee:
        If training is (epsilon, delta)-private and the number of guesses was fixed beforehand, the result
        exceeds epsilon with probability at most 1 - `confidence`, over the coins and training.

    Raises:
        ValueError: for a delta outside [0, 1) or a confidence outside (0, 1).

    References: Steinke, Nasr, Jagielski 2023, appendix D.
    """
    probability("confidence", confidence)
    error = 1.0 - confidence

    def excess(epsilon: float) -> float:
        return audit_p_value(guesses, epsilon=epsilon, delta=delta) - error

    # Upwards in small steps to the first epsilon that is not rejected, rather than bisection at once: the
    # delta term is not monotone in epsilon, and only the smallest root bounds from below.
    low = 0.0
    if excess(low) >= 0:
        return 0.0
    while low < _MOST_EPSILON:
        high = low + _STEP
        if excess(high) >= 0:
            return float(brentq(excess, low, high, xtol=1e-9))
        low = high
    return _MOST_EPSILON


def best_lower_bound(guesses: Sequence[Guesses], *, delta: float, confidence: float = 0.95) -> tuple[float, Guesses]:
    """The best bound over several numbers of guesses, each at an error of (1 - confidence) / how many.

    Returns:
        The bound, and the guesses that gave it. By the union bound it errs with probability at most
        1 - `confidence`, although the best was picked after looking.
    """
    at_least("how many numbers of guesses", len(guesses), 1)
    each = 1.0 - (1.0 - confidence) / len(guesses)
    bounds = [epsilon_lower_bound(one, delta=delta, confidence=each) for one in guesses]
    best = int(np.argmax(bounds))
    return bounds[best], guesses[best]


def guess(scores: npt.NDArray[np.float64], coins: npt.NDArray[np.bool_], *, made: int) -> Guesses:
    """Guess "included" for the highest half of `made` scores, "excluded" for the lowest half, and count.

    Ties are broken by place, which says nothing about the coins.

    Raises:
        ValueError: if `made` is odd, below 2 or above the number of canaries, or the shapes differ.
    """
    if scores.shape != coins.shape or scores.ndim != 1:
        raise ValueError("each canary has one score and one coin")
    if made % 2 or not 2 <= made <= len(scores):
        raise ValueError(f"an even number of guesses from 2 to {len(scores)} is made, not {made}")
    order = np.argsort(scores, kind="stable")
    correct = int(coins[order[-made // 2 :]].sum()) + int((~coins[order[: made // 2]]).sum())
    return Guesses(canaries=len(scores), made=made, correct=correct)


def default_guesses(canaries: int) -> tuple[int, ...]:
    """Numbers of guesses to try: almost all, a half, a quarter and an eighth of the canaries.

    Few guesses suit a mechanism whose noise hides most canaries, many suit one that hides none. Almost all:
    guesses are half "included" and half "excluded", and the coins seldom fall so evenly; three standard
    deviations are spared on either side.

    Returns:
        Distinct even numbers, at least 2, falling.
    """
    at_least("canaries", canaries, 16)
    almost_all = canaries - 3.0 * math.sqrt(canaries)
    wanted = (almost_all, canaries / 2, canaries / 4, canaries / 8)
    return tuple(sorted({2 * max(1, int(made / 2)) for made in wanted}, reverse=True))


def largest_bound(canaries: int, *, delta: float, confidence: float = 0.95) -> float:
    """What the audit would show if every guess were right: the most that this many canaries can."""
    return best_lower_bound(_perfect(canaries), delta=delta, confidence=confidence)[0]


def canaries_needed(epsilon: float, *, delta: float, confidence: float = 0.95) -> int | None:
    """How many canaries could contradict a claimed epsilon at all, in steps of 10 %; None if no number could.

    More canaries do not help for ever: the delta term grows with them.
    """
    count = 16
    while count <= _MOST_CANARIES:
        perfect = _perfect(count)
        error = (1.0 - confidence) / len(perfect)
        if any(audit_p_value(one, epsilon=epsilon, delta=delta) < error for one in perfect):
            return count
        count = -(-count * 11 // 10)
    return None


def _perfect(canaries: int) -> list[Guesses]:
    return [Guesses(canaries=canaries, made=made, correct=made) for made in default_guesses(canaries)]
