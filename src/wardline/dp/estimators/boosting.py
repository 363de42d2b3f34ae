"""Boosted trees from noisy sums: cyclic, one feature at a time, on splits that the data has no say in.

A tree splits the bins of one feature into a few leaves at random places. Its leaves are disjoint, so a row reaches one
of them, and the sums of residuals in all leaves together move by at most one residual when a row joins. That noisy
vector is all that a step reads from the data; the features take turns, so the sum over trees is one function of each
feature, which a person can look at.

Three things differ from DP-EBM, the method this follows, all of them post-processing that costs no privacy:

- A step is Newton's, from the noisy mass of a leaf and a bound on the curvature.
- The denominator grows with the noise: leaves in which noise drowns the rows hardly move. It adapts the steps to
  epsilon and to the size of the data, which would otherwise need tuning, which costs privacy.
- The functions after each epoch are averaged over the last half of the epochs, which removes much of the noise.

References:
    Nori, Caruana, Bu, Shen and Kulkarni 2021 (DP-EBM); Maddock, Cormode, Wang, Maple and Jha 2022 (which choices pay
    for private boosted trees); Polyak and Juditsky 1992 (averaging).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64, UInt8

from wardline.core import SecureRandom
from wardline.dp.accounting import DpEvent, PoissonGaussian
from wardline.dp.estimators.binning import Bins
from wardline.dp.estimators.gaussian import (
    DELTA_MARGIN,
    LEAST_STEPS,
    MOST_DRAWS,
    NOISE_MARGIN,
    gaussian_mu,
)
from wardline.dp.estimators.targets import OUTPUT_STEP, QUANTUM, Target, quantise_outputs
from wardline.dp.mechanisms import discrete_gaussian

LEAVES = 5
COUNTING_SHARE = 0.1
"""The part of the squared mu that pays for counts: of the cells of every feature, and of the labels."""

DAMPING = 5.0
"""How many standard deviations of a leaf's noise are added to the denominator of its step."""

AVERAGED_SHARE = 0.5
_LARGEST_STEP = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostingPlan:
    """How much noise goes where.

    Attributes:
        counting_noise: noise multiplier of each of the `features` + 1 histograms that are counted first.
        step_noise: noise multiplier of each step.
        features: how many there are.
        epochs: how many steps each takes.
    """

    counting_noise: float
    step_noise: float
    features: int
    epochs: int

    @property
    def events(self) -> tuple[DpEvent, ...]:
        """What is charged."""
        return (
            PoissonGaussian(sample_rate=1.0, noise_multiplier=self.counting_noise, steps=self.features + 1),
            PoissonGaussian(sample_rate=1.0, noise_multiplier=self.step_noise, steps=self.features * self.epochs),
        )


def plan_boosting(*, epsilon: float, delta: float, features: int, epochs: int, draws: int) -> BoostingPlan:
    """Divide a budget.

    Args:
        epsilon: in [0.01, 256].
        delta: in (0, 1).
        features: at least 1.
        epochs: at least 1.
        draws: how many numbers will be covered with noise.

    Raises:
        ValueError: if there are more draws than the accounting covers.

    Guarantee: releasing all counts and the sums of all steps is (epsilon, delta)-differentially private: they are
    Gaussian mechanisms (see `gaussian`), adaptively chosen, whose squared mu add up (Dong, Roth and Su 2022, corollary
    3.3).
    """
    if draws > MOST_DRAWS:
        raise ValueError(f"so many features, classes and epochs need more than {MOST_DRAWS} numbers of noise")
    square = gaussian_mu(epsilon=epsilon, delta=delta * (1 - DELTA_MARGIN)) ** 2
    plan = BoostingPlan(
        counting_noise=math.sqrt((features + 1) / (COUNTING_SHARE * square)),
        step_noise=math.sqrt(features * epochs / ((1.0 - COUNTING_SHARE) * square)),
        features=features,
        epochs=epochs,
    )
    if min(plan.counting_noise, plan.step_noise) * QUANTUM < LEAST_STEPS:
        raise ValueError("so large an epsilon would leave hardly any noise")
    return plan


def noisy_histogram(
    cells: Int64[np.ndarray, " rows"],
    weights: Int64[np.ndarray, " rows"] | None,
    *,
    size: int,
    noise_multiplier: float,
    random: SecureRandom,
) -> Float64[np.ndarray, " size"]:
    """The weight in each cell, with noise.

    Args:
        cells: of the rows, from 0 to size - 1.
        weights: whole parts of `QUANTUM`, which add up to at most `QUANTUM` for each unit; None for `QUANTUM` each.
        size: how many cells there are.
        noise_multiplier: standard deviation of the noise, in units.
        random: where it comes from.

    Guarantee: a Gaussian mechanism with this noise multiplier: a unit moves the vector by at most `QUANTUM` in L1 norm,
    and so in L2 norm.
    """
    if weights is None:
        counts = np.bincount(cells, minlength=size) * QUANTUM
    else:
        # Sums of whole numbers below 2**53 are exact in doubles.
        counts = np.bincount(cells, weights=weights, minlength=size).astype(np.int64)
    noise = discrete_gaussian(size, sigma=noise_multiplier * (1 + NOISE_MARGIN) * QUANTUM, random=random)
    return (counts + noise) / QUANTUM


def boost(
    codes: Sequence[UInt8[np.ndarray, " rows"]],
    bins: Sequence[Bins],
    target: Target,
    *,
    plan: BoostingPlan,
    weights: Int64[np.ndarray, " rows"] | None,
    start: Float64[np.ndarray, " outputs"],
    learning_rate: float,
    random: SecureRandom,
) -> list[Float64[np.ndarray, "outputs bins"]]:
    """Fit one function of each feature.

    Args:
        codes: for each feature the bin of each row.
        bins: the bins of each feature.
        target: what to fit.
        plan: how much noise to add.
        weights: as for `noisy_histogram`.
        start: the outputs to start from, private already.
        learning_rate: the part of a Newton step that is taken, in (0, 1].
        random: where splits and noise come from.

    Returns:
        For each feature the scores of its bins.

    Guarantee: see `plan_boosting`. The noisy sums are all that leaves the rows.
    """
    outputs = np.repeat(quantise_outputs(start)[:, None], len(codes[0]), axis=1)
    scores = [np.zeros((target.outputs, len(one.mass)), dtype=np.int64) for one in bins]
    totals = [np.zeros_like(one) for one in scores]
    masses = [np.maximum(one.mass, 0.0) for one in bins]
    averaged_from = math.floor(plan.epochs * (1.0 - AVERAGED_SHARE))
    noise = target.sensitivity * plan.step_noise
    sigma = noise * (1 + NOISE_MARGIN) * QUANTUM
    for epoch in range(plan.epochs):
        drawn = discrete_gaussian(len(bins) * target.outputs * LEAVES, sigma=sigma, random=random)
        drawn = drawn.reshape(len(bins), target.outputs, LEAVES)
        for feature, one in enumerate(bins):
            leaf = _random_leaves(one, random)
            sums = _leaf_sums(codes[feature], leaf, target.residuals(outputs), weights) + drawn[feature]
            mass = np.bincount(leaf, weights=masses[feature], minlength=LEAVES)
            step = learning_rate * target.unit * (sums / QUANTUM) / (target.curvature * mass + DAMPING * noise)
            moved = quantise_outputs(np.clip(step, -_LARGEST_STEP, _LARGEST_STEP))[:, leaf]
            scores[feature] += moved
            for place in range(target.outputs):
                outputs[place] += moved[place][codes[feature]]
        if epoch >= averaged_from:
            for total, score in zip(totals, scores, strict=True):
                total += score
    count = plan.epochs - averaged_from
    return [total * (OUTPUT_STEP / count) for total in totals]


def _random_leaves(bins: Bins, random: SecureRandom) -> npt.NDArray[np.intp]:
    """The leaf of each bin: neighbouring bins together, or categories at random, in leaves of nearly equal number."""
    size = len(bins.mass)
    order = np.argsort(random.uint64(size))
    if not bins.ordered:
        return order % LEAVES
    cut = np.zeros(size, dtype=np.intp)
    # The places that come first in a random order, the first bin aside, begin a leaf each.
    cut[order[order > 0][: LEAVES - 1]] = 1
    return np.cumsum(cut)


def _leaf_sums(
    codes: UInt8[np.ndarray, " rows"],
    leaf: npt.NDArray[np.intp],
    residuals: Float64[np.ndarray, "outputs rows"],
    weights: Int64[np.ndarray, " rows"] | None,
) -> Int64[np.ndarray, "outputs leaves"]:
    """The sums of the residuals in each leaf, exact: whole numbers below 2**53 lose nothing in doubles."""
    if weights is not None:
        # Towards zero, so that a unit's residuals stay within its weight; the quotient by a power of two is exact.
        residuals = np.trunc(residuals * weights / QUANTUM)
    sums = np.empty((len(residuals), LEAVES), dtype=np.int64)
    for place, one in enumerate(residuals):
        by_bin = np.bincount(codes, weights=one, minlength=len(leaf))
        sums[place] = np.bincount(leaf, weights=by_bin, minlength=LEAVES)
    return sums
