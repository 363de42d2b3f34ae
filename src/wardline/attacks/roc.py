"""ROC curves of membership scores, and the one point of them that matters: the rate at few false alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, rankdata

from wardline.attacks.intervals import auc_interval, clopper_pearson
from wardline.core import Interval
from wardline.core.checks import probability

MAX_POINTS = 200
"""The most points that a curve keeps for a chart."""

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roc:
    """An ROC curve: for each false-positive rate that occurs, the best true-positive rate.

    Attributes:
        fpr, tpr: rates, rising, from the strictest threshold to (1, 1).
        auc: the area under the curve (Mann-Whitney statistic; a tie counts half).
        auc_interval: its interval.
        members, non_members: how many scores each side had.
    """

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    auc: float
    auc_interval: Interval
    members: int
    non_members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TprAtFpr:
    """The true-positive rate at a bounded false-positive rate.

    Attributes:
        fpr: the bound.
        value: share of the members whose score lies above the threshold.
        interval: for the rate at a false-positive rate of `fpr` in the population, threshold included.
        reached_fpr: the share of non-members above the threshold: the bound or less.
        trials: how many members there were.
        at_threshold: Clopper-Pearson interval of the rate above this very threshold.
        fpr_high: upper Clopper-Pearson bound of the false-positive rate of this very threshold. If it lies below
            `at_threshold`, the attack is better than guessing, which takes less data to show than `interval`.
    """

    fpr: float
    value: float
    interval: Interval
    reached_fpr: float
    trials: int
    at_threshold: Interval
    fpr_high: float


def roc_curve(members: Scores, non_members: Scores, *, level: float = 0.95, points: int = MAX_POINTS) -> Roc:
    """The ROC curve of scores (higher means: looks like a member), thinned evenly on a logarithmic axis.

    Raises:
        ValueError: if a side is empty or a score is not finite.
    """
    members, non_members = _checked(members), _checked(non_members)
    descending = np.sort(non_members)[::-1]
    # With k false positives allowed, the threshold is the (k+1)-th highest non-member; ties go to its side.
    above = len(members) - np.searchsorted(np.sort(members), descending, side="right")
    tpr = np.append(above, len(members)) / len(members)
    # Tied non-members turn positive together: only thresholds just above a distinct score exist.
    reached = np.searchsorted(-descending, -descending, side="left")
    fpr = np.append(reached, len(non_members)) / len(non_members)
    keep = _thin(len(fpr), points)
    ranks = rankdata(np.concatenate([members, non_members]))
    wins = ranks[: len(members)].sum() - len(members) * (len(members) + 1) / 2.0
    auc = float(wins / (len(members) * len(non_members)))
    return Roc(
        fpr=tuple(float(value) for value in fpr[keep]),
        tpr=tuple(float(value) for value in tpr[keep]),
        auc=auc,
        auc_interval=auc_interval(auc, len(members), len(non_members), level=level),
        members=len(members),
        non_members=len(non_members),
    )


def non_members_needed(fpr: float) -> int:
    """How many non-members a false-positive rate asks for: below that, no threshold can be seen to keep it."""
    probability("fpr", fpr)
    return math.ceil(1.0 / fpr - 1e-9)


def non_members_to_bound(fpr: float, *, level: float = 0.95) -> int:
    """How many non-members make the interval of the rate at this false-positive rate able to start above 0.

    With fewer, even the highest of them may be exceeded by more than `fpr` of the population.
    """
    probability("fpr", fpr)
    probability("level", level)
    return math.ceil(math.log((1.0 - level) / 4.0) / math.log1p(-fpr))


def tpr_at_fpr(members: Scores, non_members: Scores, *, fpr: float, level: float = 0.95) -> TprAtFpr:
    """The share of members recognised by the most generous threshold that keeps the false-positive rate.

    The threshold is chosen on the non-members alone, so that at most `fpr` of them lie above it, and a tie
    with it is not called a member.

    The interval is free of distributional assumptions and takes into account that the threshold was estimated:
    its ends are Clopper-Pearson bounds of the share of members above a stricter and a laxer threshold, whose
    false-positive rates in the population lie below and above `fpr` by Clopper-Pearson bounds too; the error is
    divided equally among the four. With few non-members no threshold is surely strict enough, and it starts at 0.

    Raises:
        ValueError: if there are fewer than 1/fpr non-members, or a score is not finite.

    References: Carlini et al. 2022, section III (why a rate at few false alarms, not an average).
    """
    members, non_members = _checked(members), _checked(non_members)
    needed = non_members_needed(fpr)
    if len(non_members) < needed:
        raise ValueError(f"a false-positive rate of {fpr:g} needs {needed} non-members, there are {len(non_members)}")
    allowed = math.floor(fpr * len(non_members) + 1e-9)
    threshold = np.sort(non_members)[::-1][allowed]
    recognised = int((members > threshold).sum())
    return TprAtFpr(
        fpr=fpr,
        value=recognised / len(members),
        interval=_rate_interval(members, non_members, fpr=fpr, level=level),
        reached_fpr=float((non_members > threshold).mean()),
        trials=len(members),
        at_threshold=clopper_pearson(recognised, len(members), level=level),
        # The threshold is the (allowed+1)-th highest of them; what lies above it in the population is at most
        # Beta(allowed + 1, count - allowed) distributed.
        fpr_high=float(beta.ppf((1.0 + level) / 2.0, allowed + 1, len(non_members) - allowed)),
    )


def _rate_interval(members: Scores, non_members: Scores, *, fpr: float, level: float) -> Interval:
    """All true-positive rates at this false-positive rate that neither side's scores reject."""
    count = len(non_members)
    descending = np.sort(non_members)[::-1]
    each = 1.0 - (1.0 - level) / 2.0  # of a two-sided bound of which one side is used: a quarter of the error
    tail = (1.0 - each) / 2.0
    above = np.arange(count)
    # The share of the population above the (k+1)-th highest of n scores is at most Beta(k+1, n-k) distributed,
    # the share not below the k-th highest at least Beta(k, n-k+1): the distributions behind Clopper-Pearson.
    strict = np.flatnonzero(beta.ppf(1.0 - tail, above + 1, count - above) <= fpr)
    lax = np.flatnonzero(beta.ppf(tail, above + 1, count - above) > fpr)
    low, high = 0.0, 1.0
    if len(strict):
        recognised = int((members > descending[strict[-1]]).sum())
        low = clopper_pearson(recognised, len(members), level=each).low
    if len(lax):
        recognised = int((members >= descending[lax[0]]).sum())
        high = clopper_pearson(recognised, len(members), level=each).high
    return Interval(low=low, high=high, level=level, method="Clopper-Pearson, of members and of the threshold")


def _checked(scores: Scores) -> Scores:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or len(scores) == 0:
        raise ValueError("scores form one row that is not empty")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    return scores


def _thin(count: int, points: int) -> npt.NDArray[np.int64]:
    """Indices of at most `points` of `count` places: both ends, half evenly on a log axis, half on a linear one."""
    if count <= points:
        return np.arange(count, dtype=np.int64)
    half = (points - 2) // 2
    spaced = np.concatenate([np.geomspace(1, count - 1, half), np.linspace(1, count - 1, half), [0, count - 1]])
    return np.unique(spaced.round().astype(np.int64))
