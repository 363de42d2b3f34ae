"""Membership scores: how much a model's answer on an example speaks for its having been trained on it.

All three start from the scaled confidence phi = log(p / (1 - p)), p the probability that a model gives to the
true class. Higher scores speak for membership. Nothing here knows how the models came about.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FIXED_VARIANCE_UP_TO = 8
"""LiRA pools its variances over all examples up to this many reference models (Carlini et al. 2022, VI-B)."""

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


def _log_density(phi: Array, references: Array, chosen: Flags, *, fixed: bool) -> Array:
    count = chosen.sum(axis=0)
    if (count < 2).any():
        raise ValueError("LiRA needs at least two reference models with and two without each example")
    mean = np.where(chosen, references, 0.0).sum(axis=0) / count
    squares = np.where(chosen, (references - mean) ** 2, 0.0).sum(axis=0)
    # Pooled: squared deviations from each row's own mean, over all degrees of freedom.
    variance = np.full_like(mean, squares.sum() / (count - 1).sum()) if fixed else squares / (count - 1)
    variance = np.maximum(variance, _LEAST_VARIANCE)
    density: Array = -0.5 * ((phi - mean) ** 2 / variance + np.log(variance))
    return density


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
