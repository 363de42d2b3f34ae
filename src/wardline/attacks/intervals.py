"""Confidence intervals for the figures of attacks: rates, and areas under ROC curves."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import norm

from wardline.core import Interval
from wardline.core.checks import at_least, probability
from wardline.core.rates import clopper_pearson

__all__ = ["auc_interval", "clopper_pearson"]

_TINY = 1e-12


def auc_interval(auc: float, positives: int, negatives: int, *, level: float = 0.95) -> Interval:
    """A score interval of an area under an ROC curve: all areas whose normal test does not reject `auc`.

    The variance is that of Hanley and McNeil, taken at the area under test rather than at the one observed
    (Newcombe's method 5). So the interval keeps a width when the curves part completely, and it leaves 0.5
    out exactly when the Mann-Whitney test (normal approximation, no ties) rejects chance. It is asymptotic.

    Args:
        auc: the observed area, in [0, 1].
        positives: how many scores the one side had, at least 1.
        negatives: how many the other had, at least 1.
        level: the confidence, in (0, 1).

    Raises:
        ValueError: for arguments out of range.

    References: Hanley and McNeil 1982; Newcombe 2006, part 2, method 5.
    """
    at_least("positives", positives, 1)
    at_least("negatives", negatives, 1)
    probability("level", level)
    if not 0.0 <= auc <= 1.0:
        raise ValueError(f"auc must lie between 0 and 1, not {auc}")
    width = float(norm.ppf((1.0 + level) / 2.0))

    def excess(area: float) -> float:
        return abs(auc - area) - width * math.sqrt(_variance(area, positives, negatives))

    # The excess is negative around the observed area and positive at the far end. An observed area of exactly 0
    # or 1 is a root itself, with no width; the one looked for lies beyond it.
    low = 0.0 if auc == 0.0 else brentq(excess, 0.0, min(auc, 1.0 - _TINY), xtol=_TINY)
    high = 1.0 if auc == 1.0 else brentq(excess, max(auc, _TINY), 1.0, xtol=_TINY)
    return Interval(low=float(low), high=float(high), level=level, method="score interval (Newcombe 2006, method 5)")


def _variance(area: float, positives: int, negatives: int) -> float:
    spread = (positives + negatives) / 2.0 - 1.0
    inner = 1.0 + spread * ((1.0 - area) / (2.0 - area) + area / (1.0 + area))
    return area * (1.0 - area) * inner / (positives * negatives)
