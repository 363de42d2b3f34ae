"""Exact bounds of a rate from a count: what every room tells beside a share that was sampled.

SciPy, which core itself does not lean on, is imported where a bound is asked for.
"""

from __future__ import annotations

from wardline.core.checks import at_least, probability
from wardline.core.claims import Interval
from wardline.core.extras import need


def lower_bound(successes: int, trials: int, *, alpha: float) -> float:
    """The exact one-sided lower bound of a rate, wrong with probability `alpha` at most.

    Args:
        successes: how many trials succeeded, from 0 to `trials`.
        trials: how many there were, at least 1.
        alpha: in (0, 1).

    Raises:
        ValueError: for counts or a probability out of range.

    References: Clopper and Pearson 1934.
    """
    probability("alpha", alpha)
    _check(successes, trials)
    return 0.0 if successes == 0 else _beta_quantile(alpha, successes, trials - successes + 1)


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """The exact interval of a rate; its coverage is at least `level` for every true rate.

    Args:
        successes: how many trials succeeded, from 0 to `trials`.
        trials: how many there were, at least 1.
        level: the confidence, in (0, 1).

    Raises:
        ValueError: for counts or a level out of range.

    References: Clopper and Pearson 1934.
    """
    probability("level", level)
    _check(successes, trials)
    tail = (1.0 - level) / 2.0
    low = lower_bound(successes, trials, alpha=tail)
    high = 1.0 if successes == trials else _beta_quantile(1.0 - tail, successes + 1, trials - successes)
    return Interval(low=low, high=high, level=level, method="Clopper-Pearson")


def _check(successes: int, trials: int) -> None:
    at_least("trials", trials, 1)
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie between 0 and {trials}, not {successes}")


def _beta_quantile(prob: float, a: float, b: float) -> float:
    return float(need("scipy.stats", extra="torch").beta.ppf(prob, a, b))
