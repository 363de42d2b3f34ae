"""Inputs unlike those that a model was made for: scores of strangeness, and a monitor that raises alarms by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logsumexp
from torch import Tensor, nn

from wardline.core import Claim
from wardline.core.checks import positive
from wardline.models.predictor import Inputs
from wardline.robust.conformal import Calibration, Scores

Score = Callable[[Inputs], Scores]

_ROWS_AT_ONCE = 512
_RIDGE = 1e-3  # of the mean variance: keeps a covariance invertible where features never vary


def energy(logits: npt.NDArray[Any], *, temperature: float = 1.0) -> Scores:
    """The free energy of each row of logits: the higher, the less the model has seen of the kind.

    Args:
        logits: [rows, classes]; probabilities have lost what this looks at.
        temperature: above 0.

    References: Liu et al. 2020, section 3.2.
    """
    positive("temperature", temperature)
    scores: Scores = -temperature * logsumexp(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mahalanobis:
    """The squared distance of features to the nearest class mean, in units of the classes' common spread.

    Attributes:
        means: of each class: [classes, features].
        whitening: a matrix W with W W' the inverse of the common covariance: [features, features].

    References: Lee et al. 2018, section 2.1.
    """

    means: npt.NDArray[np.float64] = field(repr=False)
    whitening: npt.NDArray[np.float64] = field(repr=False)

    @classmethod
    def fit(cls, features: npt.NDArray[Any], y: npt.NDArray[np.int64]) -> Self:
        """The score of features like these.

        Args:
            features: of training inputs, [rows, features], finite; classes that do not occur have no mean.
            y: their classes, [rows].

        Raises:
            ValueError: if there are not as many classes as rows, or a number is not finite.
        """
        rows = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
        if len(rows) != len(y) or not len(y) or not np.isfinite(rows).all():
            raise ValueError("there must be finite features and a class for each row, at least one")
        known, index = np.unique(y, return_inverse=True)
        means = np.stack([rows[index == one].mean(axis=0) for one in range(len(known))])
        centred = rows - means[index]
        covariance = centred.T @ centred / len(rows)
        spread = float(np.trace(covariance)) / len(covariance)
        values, vectors = np.linalg.eigh(covariance + _RIDGE * max(spread, 1e-12) * np.eye(len(covariance)))
        return cls(means=means, whitening=vectors / np.sqrt(values))

    def scores(self, features: npt.NDArray[Any]) -> Scores:
        """The distance of each row: [rows]."""
        rows = np.asarray(features, dtype=np.float64).reshape(len(features), -1) @ self.whitening
        means = self.means @ self.whitening
        squares = (rows**2).sum(axis=1)[:, None] - 2.0 * rows @ means.T + (means**2).sum(axis=1)
        nearest: Scores = np.maximum(squares, 0.0).min(axis=1)
        return nearest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputMonitor:
    """Raises an alarm where an input is stranger than ordinary ones are.

    A monitor is no defence by itself. It sees accidents, wrong feeds and attacks that do not know of it; an adversary
    who knows its score looks for inputs that are misread and not strange, and finds them where model and score can be
    differentiated (`differentiable` gives such an adversary what they need, for an honest test).

    Attributes:
        kind: of the score, for example ``energy``.
        score: how strange each input is.
        calibration: the scores of ordinary inputs.

    Guarantee: see `Calibration`.
    """

    kind: str
    score: Score = field(repr=False)
    calibration: Calibration

    @classmethod
    def calibrated(cls, score: Score, ordinary: Inputs, *, kind: str) -> Self:
        """The monitor of a score.

        Args:
            score: how strange each input is, finite on ordinary ones.
            ordinary: inputs from where the model will be used, which neither trained it nor made the score.
            kind: stands for the score in the claim.

        Raises:
            ValueError: if a score is not finite.
        """
        return cls(kind=kind, score=score, calibration=Calibration(scores=score(ordinary)))

    def p_values(self, x: Inputs) -> Scores:
        """How rare inputs as strange are among ordinary ones: [rows]."""
        return self.calibration.p_values(self.score(x))

    def alarms(self, x: Inputs, *, false_alarm_rate: float = 0.01) -> npt.NDArray[np.bool_]:
        """Whether each input raises an alarm, at this rate of false ones."""
        return self.calibration.alarms(self.score(x), false_alarm_rate=false_alarm_rate)

    def claim(self, false_alarm_rate: float = 0.01) -> Claim:
        """The guarantee as a value."""
        return self.calibration.claim(false_alarm_rate, of=self.kind)


def energy_score(network: nn.Module, *, temperature: float = 1.0) -> Score:
    """The score of inputs by the energy of a network's logits."""
    return lambda x: energy(_evaluated(network, x), temperature=temperature)


def mahalanobis_score(features: nn.Module, x: Inputs, y: npt.NDArray[np.int64]) -> Score:
    """The score of inputs by the distance of their features to those of training inputs.

    Args:
        features: the network, or the part of it up to some layer, in evaluation mode.
        x: training inputs, [rows, ...].
        y: their classes.
    """
    fitted = Mahalanobis.fit(_evaluated(features, x), y)
    return lambda rows: fitted.scores(_evaluated(features, rows))


def differentiable(
    kind: Literal["energy", "mahalanobis"], *, temperature: float = 1.0, fitted: Mahalanobis | None = None
) -> Callable[[Tensor], Tensor]:
    """A score as a function of logits or features in torch, for an attack that knows of the monitor.

    Args:
        kind: of the score.
        temperature: of the energy.
        fitted: of the distance.

    Raises:
        ValueError: for a distance that was not fitted.
    """
    if kind == "energy":
        return lambda logits: -temperature * torch.logsumexp(logits / temperature, dim=1)
    if fitted is None:
        raise ValueError("a distance needs what was fitted")
    whitening = torch.from_numpy(fitted.whitening).float()
    means = torch.from_numpy(fitted.means @ fitted.whitening).float()
    return lambda features: torch.cdist(features.flatten(1) @ whitening, means).square().amin(dim=1)


def _evaluated(network: nn.Module, x: Inputs) -> npt.NDArray[np.float32]:
    parts = []
    with torch.inference_mode():
        for start in range(0, len(x), _ROWS_AT_ONCE):
            rows = torch.from_numpy(np.array(x[start : start + _ROWS_AT_ONCE], dtype=np.float32))
            parts.append(network(rows).flatten(1).numpy())
    return np.concatenate(parts)
