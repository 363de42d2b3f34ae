"""The statistics of randomised smoothing: what a count of votes proves, and how many test points are certified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, binomtest, norm

from wardline.core import Claim, Interval
from wardline.core.rates import clopper_pearson, lower_bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What is proved about one input.

    Attributes:
        label: the class that the smoothed classifier gives it; None if it abstains.
        radius: Euclidean distance below which no change alters that class, in the unit of the inputs; 0 if it abstains.
        prob_low: lower bound on the probability that the class wins under noise.
        votes: how often it won, of `draws`.
        draws: how many noisy copies were classified to bound the probability.
        sigma: standard deviation of the noise on each feature.
        alpha: the probability with which this certificate may be wrong, over the noise that was drawn.
    """

    label: int | None
    radius: float
    prob_low: float
    votes: int
    draws: int
    sigma: float
    alpha: float

    def claim(self, *, name: str = "robust.smoothing") -> Claim:
        """The certificate as a promise for the gate and the evidence; its value is the radius."""
        outcome = "abstains, so nothing is promised" if self.label is None else f"gives class {self.label}"
        return Claim(
            id=name,
            quantity="l2_radius",
            value=self.radius,
            direction="at_least",
            statement=f"The smoothed classifier {outcome} for every input nearer than {self.radius:.4g} to this one.",
            adversary="Knows the model, sigma and the input, changes the input by less than the radius in Euclidean "
            "length, and knows nothing of the noise that will be drawn.",
            parameters={
                "sigma": self.sigma,
                "alpha": self.alpha,
                "draws": self.draws,
                "votes": self.votes,
                "prob_low": self.prob_low,
            },
            assumptions=(
                f"The noise was drawn afresh; the certificate is wrong with probability {self.alpha:g} at most.",
                "When it is used, the same classifier is smoothed with the same noise, and no noisy input is clipped.",
                "The arithmetic is exact: rounding of noisy inputs is not part of the theorem.",
            ),
            reference="Cohen, Rosenfeld and Kolter 2019, theorem 1 and proposition 2",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedAccuracy:
    """One point of the curve of certified accuracy.

    Attributes:
        radius: the size of change that is withstood.
        accuracy: the share of the inputs that are classified rightly and certified at least that far.
        interval: its exact (Clopper-Pearson) interval.
        n: how many inputs there were.
    """

    radius: float
    accuracy: float
    interval: Interval
    n: int


def votes_needed(draws: int, *, alpha: float) -> int:
    """The fewest votes whose lower bound exceeds one half; `draws + 1` if even all would not do."""
    # The bound exceeds 1/2 exactly where so many votes or more have a probability below alpha under a fair coin.
    votes = int(binom.isf(alpha, draws, 0.5)) + 1
    while votes > 0 and lower_bound(votes - 1, draws, alpha=alpha) > 0.5:
        votes -= 1
    while votes <= draws and not lower_bound(votes, draws, alpha=alpha) > 0.5:
        votes += 1
    return votes


def certificate(label: int, votes: int, *, draws: int, sigma: float, alpha: float) -> Certificate:
    """What so many votes for a class prove.

    The class must have been chosen on other draws than those that are counted.

    References: Cohen, Rosenfeld and Kolter 2019, section 3.2.2 (CERTIFY).
    """
    prob_low = lower_bound(votes, draws, alpha=alpha)
    proved = prob_low > 0.5
    return Certificate(
        label=label if proved else None,
        radius=sigma * float(norm.ppf(prob_low)) if proved else 0.0,
        prob_low=prob_low,
        votes=votes,
        draws=draws,
        sigma=sigma,
        alpha=alpha,
    )


def winner(counts: npt.NDArray[np.int64], *, alpha: float) -> int:
    """The class with most votes, or -1 where the runner-up may be as likely.

    The answer differs from the class that wins most often in truth with probability `alpha` at most.

    References: Cohen, Rosenfeld and Kolter 2019, section 3.2.1 (PREDICT); Hung and Fithian 2019.
    """
    second, first = np.argsort(counts, kind="stable")[-2:]
    votes, both = int(counts[first]), int(counts[first] + counts[second])
    if both == 0 or binomtest(votes, both, 0.5).pvalue > alpha:
        return -1
    return int(first)


def certified_accuracy(
    certificates: Sequence[Certificate],
    y: npt.NDArray[np.int64],
    *,
    radii: Sequence[float],
    level: float = 0.95,
) -> tuple[CertifiedAccuracy, ...]:
    """The share of inputs that are classified rightly and certified that far, for each radius.

    The intervals speak of other inputs from the same source. Each certificate may be wrong with its own small
    probability; of a thousand at alpha 0.001 one is expected to be, and that is not part of the intervals.

    Args:
        certificates: one an input.
        y: true classes, [rows].
        radii: each at least 0.
        level: confidence of the intervals, in (0, 1).

    Raises:
        ValueError: if there are none, or not as many as classes.

    References: Cohen, Rosenfeld and Kolter 2019, section 4.
    """
    if not certificates or len(certificates) != len(y):
        raise ValueError("there must be as many true classes as certificates, at least one")
    right = np.array([one.label is not None and one.label == true for one, true in zip(certificates, y, strict=True)])
    reach = np.array([one.radius for one in certificates])
    curve = []
    for radius in radii:
        if not 0 <= radius < float("inf"):
            raise ValueError(f"a radius is a finite number of at least 0, not {radius}")
        count, n = int((right & (reach >= radius)).sum()), len(right)
        interval = clopper_pearson(count, n, level=level)
        curve.append(CertifiedAccuracy(radius=float(radius), accuracy=count / n, interval=interval, n=n))
    return tuple(curve)
