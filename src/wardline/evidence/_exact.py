"""Exact intervals of rates, drawn anew without the code that made them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from wardline.evidence._inconsistent import inconsistent

_TAIL_SLACK = 1e-6
_OF_MEMBERS = "Clopper-Pearson, of members and of the threshold"


def check_interval(rate: float, n: int, interval: Mapping[str, Any]) -> None:
    """An exact interval is the one whose ends have the stated binomial tails (Clopper and Pearson 1934).

    Args:
        rate: the share of trials that succeeded.
        n: trials.
        interval: what is said to be its interval.

    Raises:
        IntegrityError: if it is not. That of members found at a false-alarm rate rests on the threshold as well, and
            is only held to contain the rate.
    """
    low, high, level = interval["low"], interval["high"], interval["level"]
    if not (0 < level < 1 and 0 <= low <= rate <= high <= 1 and n >= 1):
        raise inconsistent("a rate lies outside of its interval, or either outside of 0 to 1")
    if interval["method"] == _OF_MEMBERS:
        return
    if interval["method"] != "Clopper-Pearson":
        raise inconsistent("an interval is of a kind that no audit makes")
    successes = round(rate * n)
    if abs(successes - rate * n) > _TAIL_SLACK * n:
        raise inconsistent("a rate is no share of its trials")
    tail = (1 - level) / 2
    right = (successes == 0 and low == 0) or abs(_at_least(successes, n, low) - tail) <= _TAIL_SLACK
    left = (successes == n and high == 1) or abs(1 - _at_least(successes + 1, n, high) - tail) <= _TAIL_SLACK
    if not (left and right):
        raise inconsistent("an interval is not the exact one of its trials")


def _at_least(successes: int, n: int, prob: float) -> float:
    """The probability of so many successes or more."""
    if prob in {0.0, 1.0}:
        return float(successes <= 0 or prob == 1.0)
    inside, outside = math.log(prob), math.log1p(-prob)
    return math.fsum(
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * inside + (n - k) * outside)
        for k in range(max(successes, 0), n + 1)
    )
