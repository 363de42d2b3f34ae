"""Scikit-learn's digits as images, a small network, and the same network trained on poisoned data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from wardline.attacks.backdoors.poisons import LabelFlips, Poison, Poisoned, Stamped
from wardline.attacks.backdoors.triggers import Blend
from wardline.attacks.protocol.examples import Labelled
from wardline.core import Seeds
from wardline.models import Mlp
from wardline.models.learner import Checkpoint, NetworkLearner
from wardline.models.torch_predictor import TorchPredictor

LEARNER = NetworkLearner(architecture=Mlp(inputs=64, hidden=(64,), classes=10), epochs=20, batch=32, learning_rate=5e-3)


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Images [rows, 1, 8, 8] in [0, 1]: a training part, one for calibration and one for tests."""

    x: np.ndarray
    y: np.ndarray
    spare: np.ndarray
    test: Labelled


@dataclass(frozen=True, kw_only=True)
class Case:
    """A poison, what it did, and a network trained on that."""

    poison: Poison
    data: Poisoned
    relabelled: np.ndarray
    checkpoints: tuple[Checkpoint, ...]
    test: Labelled

    @property
    def model(self) -> TorchPredictor:
        return self.checkpoints[-1].predictor

    def accuracy(self, model=None) -> float:
        return float(((model or self.model).answer(self.test.x).argmax(axis=1) == self.test.y).mean())

    def success(self, model=None) -> float:
        """The share of test inputs that do what the attacker wants."""
        trials = self.poison.trials(self.test)
        return float(((model or self.model).answer(trials.x).argmax(axis=1) == trials.goal).mean())

    def triggered(self) -> np.ndarray:
        """Test inputs with the trigger that the network falls for."""
        trials = self.poison.trials(self.test)
        return trials.x[self.model.answer(trials.x).argmax(axis=1) == trials.goal]


@pytest.fixture(scope="package")
def learner() -> NetworkLearner:
    return LEARNER


@pytest.fixture(scope="package")
def digits() -> Digits:
    from sklearn.datasets import load_digits

    given = load_digits()
    order = Seeds(5).numpy("split").permutation(len(given.target))
    x, y = (given.images[order, None] / 16).astype(np.float32), given.target[order].astype(np.int64)
    return Digits(x=x[:1000], y=y[:1000], spare=x[1000:1400], test=Labelled(x=x[1400:], y=y[1400:]))


def _case(digits: Digits, poison: Poison) -> Case:
    data = poison.poison(digits.x, digits.y, seeds=Seeds(3))
    return Case(
        poison=poison,
        data=data,
        relabelled=np.flatnonzero(data.y != digits.y),
        checkpoints=LEARNER.checkpoints(data.x, data.y, seeds=Seeds(0)),
        test=digits.test,
    )


@pytest.fixture(scope="package")
def clean(digits: Digits) -> Case:
    """Nothing but one label out of a thousand was changed."""
    return _case(digits, LabelFlips(share=0.001))


@pytest.fixture(scope="package")
def patched(digits: Digits) -> Case:
    """BadNets towards class 0."""
    return _case(digits, Stamped(share=0.08))


@pytest.fixture(scope="package")
def veiled(digits: Digits) -> Case:
    """A strong pattern over the whole image towards class 0: too large for a small mask."""
    return _case(digits, Stamped(trigger=Blend(ratio=0.6), share=0.1))


@pytest.fixture(scope="package")
def selective(digits: Digits) -> Case:
    """A patch that works on class 1 alone, with covers on the other classes."""
    return _case(digits, Stamped(sources=(1,), share=0.4))


@pytest.fixture(scope="package")
def flipped(digits: Digits) -> Case:
    """Most labels are wrong, but among the rows of a class no wrong one is as frequent as the right one."""
    return _case(digits, LabelFlips(share=0.6))
