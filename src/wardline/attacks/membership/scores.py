"""Membership scores: how much a model's answer on an example speaks for its having been trained on it.

All start from the scaled confidence phi = log(p / (1 - p)), p the probability that a model gives to the
true class. Higher scores speak for membership. Nothing here knows how the models came about.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt

ScoreMethod: TypeAlias = Literal["loss", "rmia", "rmia_offline", "lira", "lira_offline"]
"""Ways to make scores of scaled confidences."""

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FIXED_VARIANCE_UP_TO = 16
"""LiRA pools its variances over all examples up to this many reference models.

Carlini et al. 2022, VI-B, pool where models are few; the number is measured here. With 16, on three sets of rows (10
draws each), pooled variances recognised .039, .055 and .067 of the members at 1 % false alarms, those of each example
.026, .038 and .028. On mislabelled rows learned by heart neither was clearly better (4 draws), nor with 32 models.
"""

_LEAST_VARIANCE = 1e-6


def scaled_confidence(logits: npt.NDArray[np.floating], y: npt.NDArray[np.int64]) -> Array:
    """Phi of each row: its true class's logit minus the log-sum-exp of the others, stable where p is near 1.

    Args:
        logits: [..., rows, classes], at least two classes.
        y: [rows], indices of the true classes.
    """
    logits = np.asarray(logits, dtype=np.float64)
    rows = np.arange(logits.shape[-2])
    true = logits[..., rows, y]
    others = logits.copy()
    others[..., rows, y] = -np.inf
    phi: Array = true - np.logaddexp.reduce(others, axis=-1)
    return phi


def log_confidence(phi: Array) -> Array:
    """Log p from phi."""
    return -np.logaddexp(0.0, -phi)


def loss_scores(phi: Array) -> Array:
    """LOSS: minus the cross-entropy; members tend to have smaller losses.

    References: Yeom, Giacomelli, Fredrikson, Jha 2018, section 3.
    """
    return log_confidence(phi)


def rmia_log_ratio(phi: Array, references: Array) -> Array:
    """Log of p(x | target) / p(x), the second the average over reference models, half of them trained on x.

    Args:
        phi: [rows], of the target.
        references: [models, rows]; in a balanced design the plain average is the mean of "in" and "out".
    """
    logs = log_confidence(references)
    average: Array = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))
    return log_confidence(phi) - average


def rmia_offline_log_ratio(phi: Array, references: Array, inside: Flags | None = None, *, a: float = 0.3) -> Array:
    """Log of p(x | target) / p(x), with p(x) guessed from models that were not trained on x.

    Those tell the lower half of p(x) = (p_in + p_out) / 2 alone; the upper one is taken to be p_in = a p_out + 1 - a.

    Args:
        phi: [rows], of the target.
        references: [models, rows].
        inside: [models, rows], references to leave out because they were trained on the row; None if none was.
        a: how much of the distance to certainty is left after training on x, in [0, 1]. 0 says that models
            are certain of what they were trained on, 1 that training on x changes nothing. 0.3 is the authors' for
            CIFAR-10; it is better measured on models of one's own.

    Raises:
        ValueError: for `a` out of range, or a row that every reference was trained on.

    References: Zarifzadeh, Liu, Shokri 2024, section 3 (offline form) and the appendix on its approximation.
    """
    if not 0.0 <= a <= 1.0:
        raise ValueError(f"a must lie between 0 and 1, not {a}")
    outside = _outside(references, inside)
    logs = np.where(outside, log_confidence(references), -np.inf)
    out = np.logaddexp.reduce(logs, axis=0) - np.log(outside.sum(axis=0))
    with np.errstate(divide="ignore"):  # a = 1: nothing is added
        average: Array = np.logaddexp(np.log1p(a) + out, np.log1p(-a)) - np.log(2.0)
    return log_confidence(phi) - average


def rmia_scores(log_ratio: Array, population: Array, *, gamma: float = 1.0) -> Array:
    """RMIA: the share of population examples z that x dominates, ratio(x) / ratio(z) >= gamma.

    For one target this is a rising function of ratio(x): population and gamma set its resolution, not its
    order. gamma = 1 with the candidates as population keeps every candidate apart.

    References: Zarifzadeh, Liu, Shokri 2024, section 3 (online form).
    """
    if gamma < 1.0:
        raise ValueError(f"gamma must be at least 1, not {gamma}")
    ordered = np.sort(population)
    shares: Array = np.searchsorted(ordered, log_ratio - np.log(gamma), side="right") / len(ordered)
    return shares


def lira_scores(phi: Array, references: Array, inside: Flags, *, fixed_variance: bool | None = None) -> Array:
    """LiRA, online: log-likelihood ratio of phi under Gaussians fitted to models with and without the example.

    Args:
        phi: [rows], of the target.
        references: [models, rows].
        inside: [models, rows], whether the model was trained on the row; at least two of each for every row.
        fixed_variance: pool the variances over all rows. None: up to `FIXED_VARIANCE_UP_TO` models, where
            per-example ones are too noisy to use.

    Raises:
        ValueError: if a row has fewer than two models on a side.

    References: Carlini et al. 2022, algorithm 1 and section VI-B.
    """
    if fixed_variance is None:
        fixed_variance = len(references) <= FIXED_VARIANCE_UP_TO
    return _log_density(phi, references, inside, fixed=fixed_variance) - _log_density(
        phi, references, ~inside, fixed=fixed_variance
    )


def lira_offline_scores(
    phi: Array, references: Array, inside: Flags | None = None, *, fixed_variance: bool | None = None
) -> Array:
    """LiRA, offline: how far phi lies above what models without the example give, in standard deviations.

    The paper's 1 - P(N(mean, variance) > phi) rises with it, but rounds to 1 where the best candidates are.

    Args:
        phi: [rows], of the target.
        references: [models, rows].
        inside: [models, rows], references to leave out because they were trained on the row; None if none was.
        fixed_variance: as for `lira_scores`; None pools up to half as many models, since all are of one side.

    Raises:
        ValueError: if a row has fewer than two references that were not trained on it.

    References: Carlini et al. 2022, section IV-C, equation 4, and VI-B.
    """
    outside = _outside(references, inside)
    if fixed_variance is None:
        fixed_variance = int(outside.sum(axis=0).min()) <= FIXED_VARIANCE_UP_TO // 2
    mean, variance = _moments(references, outside, fixed=fixed_variance)
    scores: Array = (phi - mean) / np.sqrt(variance)
    return scores


def _outside(references: Array, inside: Flags | None) -> Flags:
    outside = np.ones(references.shape, dtype=np.bool_) if inside is None else ~inside
    if not outside.any(axis=0).all():
        raise ValueError("every reference was trained on some row, so nothing tells what it would be without it")
    return outside


def _log_density(phi: Array, references: Array, chosen: Flags, *, fixed: bool) -> Array:
    mean, variance = _moments(references, chosen, fixed=fixed)
    density: Array = -0.5 * ((phi - mean) ** 2 / variance + np.log(variance))
    return density


def _moments(references: Array, chosen: Flags, *, fixed: bool) -> tuple[Array, Array]:
    """Mean and variance of each row over the chosen models."""
    count = chosen.sum(axis=0)
    if (count < 2).any():
        raise ValueError("LiRA needs at least two reference models on each side of every example that it asks about")
    mean = np.where(chosen, references, 0.0).sum(axis=0) / count
    squares = np.where(chosen, (references - mean) ** 2, 0.0).sum(axis=0)
    # Pooled: squared deviations from each row's own mean, over all degrees of freedom.
    variance = np.full_like(mean, squares.sum() / (count - 1).sum()) if fixed else squares / (count - 1)
    return mean, np.maximum(variance, _LEAST_VARIANCE)


def unit_means(values: Array, unit: npt.NDArray[np.int64], units: int) -> Array:
    """Average over each unit's rows: the score of a person is the mean of the rows' scores.

    Args:
        values: [rows].
        unit: [rows], indices from 0 to `units` - 1, each with at least one row.
        units: how many there are.
    """
    total = np.bincount(unit, weights=values, minlength=units)
    means: Array = total / np.bincount(unit, minlength=units)
    return means


def unit_scores(
    method: ScoreMethod,
    phi: Array,
    references: Array,
    inside: Flags,
    *,
    unit: npt.NDArray[np.int64],
    a: float = 0.3,
) -> Array:
    """Scores of privacy units by one of the methods; for RMIA, the candidates are the population.

    Args:
        method: which scores.
        phi: [rows], of the target.
        references: [models, rows]; LOSS does not look at them.
        inside: [models, units], whether a model was trained on the unit.
        unit: [rows], indices of units, each with at least one row.
        a: of RMIA offline.
    """
    units = inside.shape[1]
    flags = inside[:, unit]
    match method:
        case "loss":
            return unit_means(loss_scores(phi), unit, units)
        case "rmia":
            ratio = unit_means(rmia_log_ratio(phi, references), unit, units)
            return rmia_scores(ratio, ratio)
        case "rmia_offline":
            ratio = unit_means(rmia_offline_log_ratio(phi, references, flags, a=a), unit, units)
            return rmia_scores(ratio, ratio)
        case "lira":
            return unit_means(lira_scores(phi, references, flags), unit, units)
        case "lira_offline":
            return unit_means(lira_offline_scores(phi, references, flags), unit, units)
        case _:
            assert_never(method)
