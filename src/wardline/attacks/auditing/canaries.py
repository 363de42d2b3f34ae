"""Canaries for an audit: made-up privacy units, each with a column to itself that only its own gradient moves.

A canary's rows are zero in every ordinary column and hold one large number in the canary's own column, a linear
input of the audited network. Its gradient therefore lies almost wholly on the weights of that column, where
nobody else's does: a Dirac canary (Nasr et al. 2023), but realised as data, so that the forward and backward
pass, clipping, sampling, noise and averaging of the real code all act on it.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from wardline.data import Examples
from wardline.dp import DpSgdConfig
from wardline.models import Architecture, TrainedModel

_LEAST_SCALE = 100.0
_SPREADS = 4.0


def audit_settings(config: DpSgdConfig, *, n_units: int) -> tuple[DpSgdConfig, float]:
    """Settings under which an audit sees the most, and the value of a canary in its column.

    Only the learning rate changes, and only downwards. It is post-processing: the claim is about the noisy
    sums of all steps, whatever is done with them, and sampling, clipping, noise, their number and the code stay
    as they are. At the ordinary rate the noise moves a canary's weights so far that the model fits the canary
    at times, which silences its gradient; at this one a canary's loss stays where it was, so that every one of
    its gradients is clipped at full length, and the final weights are almost a linear function of the noisy sums.

    Args:
        config: of the private training that is audited.
        n_units: how many privacy units there are, at least 1.

    Returns:
        The config to train the audited twin with, and the scale for `AuditDesign`.
    """
    scale = _LEAST_SCALE * max(1.0, config.clip_norm)
    # Where a score, the difference of two weights, could go per unit of learning rate: steadily, and by noise.
    per_unit = math.sqrt(2.0) * config.clip_norm / (config.sample_rate * n_units) / (1.0 - config.momentum)
    drift = config.steps * config.sample_rate
    diffusion = config.noise_multiplier * math.sqrt(config.steps)
    slow = 1.0 / (scale * per_unit * (drift + _SPREADS * diffusion))
    return dataclasses.replace(config, learning_rate=min(config.learning_rate, slow)), scale


def with_canaries(
    examples: Examples, *, included: npt.NDArray[np.bool_], scale: float, rows_per_unit: int = 1
) -> Examples:
    """The examples with a column for each canary, and the rows of those that are included.

    Args:
        examples: the ordinary rows; they are zero in the new columns.
        included: [canaries], the coins.
        scale: the value of a canary's rows in its own column, above 0.
        rows_per_unit: how many identical rows a canary has: as many as a unit may have.
    """
    canaries = len(included)
    chosen = np.flatnonzero(included).repeat(rows_per_unit)
    x = np.zeros((len(examples) + len(chosen), examples.x.shape[1] + canaries), dtype=np.float32)
    x[: len(examples), : examples.x.shape[1]] = examples.x
    x[np.arange(len(examples), len(x)), examples.x.shape[1] + chosen] = scale
    units = np.arange(int(included.sum()), dtype=np.int64).repeat(rows_per_unit)
    return Examples(
        x=x,
        y=np.concatenate([examples.y, canary_labels(canaries, len(examples.classes))[chosen]]),
        unit=np.concatenate([examples.unit, examples.n_units + units]),
        features=(*examples.features, *(f"canary {index}" for index in range(canaries))),
        classes=examples.classes,
    )


def canary_labels(canaries: int, classes: int) -> npt.NDArray[np.int64]:
    """Each canary's class: in turn, so that together they pull the biases nowhere."""
    return np.arange(canaries, dtype=np.int64) % classes


def with_linear_inputs(architecture: Architecture, canaries: int) -> Architecture:
    """The architecture with a linear input for each canary.

    Raises:
        ValueError: if it has linear inputs already.
    """
    if architecture.linear_inputs:
        raise ValueError("an architecture to be audited must not have linear inputs of its own")
    return dataclasses.replace(architecture, linear_inputs=canaries)


def canary_scores(model: TrainedModel) -> npt.NDArray[np.float64]:
    """How far each canary's weights moved towards its class, away from the mean of the others.

    The weights start at zero and a canary pulls them in one direction, so this inner product is the matched
    filter for its presence in Gaussian noise.
    """
    weights = model.parameters["wide.weight"].astype(np.float64)
    classes, canaries = weights.shape
    own = weights[canary_labels(canaries, classes), np.arange(canaries)]
    scores: npt.NDArray[np.float64] = own - (weights.sum(axis=0) - own) / (classes - 1)
    return scores
