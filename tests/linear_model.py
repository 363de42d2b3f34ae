"""A linear model of two classes whose distances to the boundary are known in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Norm

FEATURES, ROWS = 12, 60
_DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
_WEIGHTS = np.linspace(-1.0, 1.3, FEATURES)


def linear_target() -> Target:
    """Class 1 where the weights times the distance from the middle of the unit box exceed 0."""
    layer = nn.Linear(FEATURES, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.stack([-_WEIGHTS, _WEIGHTS]) / 2))
        layer.bias.copy_(torch.tensor([0.5, -0.5]) * float(_WEIGHTS.sum() / 2))
    return Target(TorchPredictor(layer, classes=2), InputSpec(shape=(FEATURES,)))


def linear_examples(norm: Norm) -> tuple[Labelled, np.ndarray]:
    """Points so near the middle that no bound is met on the way, and how far each is from the boundary."""
    x = (0.5 + 0.2 * (np.random.default_rng(2).random((ROWS, FEATURES)) - 0.5)).astype(np.float32)
    lead = (x.astype(np.float64) - 0.5) @ _WEIGHTS
    # Points on the boundary itself have no distance to compare.
    kept = np.abs(lead) > 0.02
    margins = np.abs(lead[kept]) / np.linalg.norm(_WEIGHTS, ord=_DUAL[norm])
    return Labelled(x=x[kept], y=(lead[kept] > 0).astype(np.int64)), margins
