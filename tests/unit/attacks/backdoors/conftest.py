"""Scikit-learn's digits as images, split once, and a small network trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from wardline.attacks.backdoors.training import Training
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Seeds
from wardline.models import Mlp
from wardline.models.learner import NetworkLearner
from wardline.models.torch_predictor import TorchPredictor


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Images [rows, 1, 8, 8] in [0, 1]: a training and a test part, and the twin trained on the former."""

    x: np.ndarray
    y: np.ndarray
    test: Labelled
    learner: NetworkLearner
    twin: TorchPredictor

    def target(self) -> Target:
        return Target(self.twin, InputSpec(shape=(1, 8, 8)))

    def training(self) -> Training:
        return Training(x=self.x, y=self.y, learner=self.learner, test=self.test)


@pytest.fixture(scope="package")
def digits() -> Digits:
    from sklearn.datasets import load_digits

    given = load_digits()
    order = Seeds(5).numpy("split").permutation(len(given.target))
    x, y = (given.images[order, None] / 16).astype(np.float32), given.target[order].astype(np.int64)
    network = Mlp(inputs=64, hidden=(64,), classes=10)
    learner = NetworkLearner(architecture=network, epochs=20, batch=32, learning_rate=5e-3)
    return Digits(
        x=x[:1200],
        y=y[:1200],
        test=Labelled(x=x[1200:], y=y[1200:]),
        learner=learner,
        twin=learner(x[:1200], y[:1200], seeds=Seeds(0)),
    )
