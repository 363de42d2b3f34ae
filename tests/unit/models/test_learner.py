"""The learner is deterministic, leaves its data alone, and its checkpoints lead to its model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wardline.core import Seeds
from wardline.models import Mlp, NetworkLearner

SMALL = NetworkLearner(architecture=Mlp(inputs=64, hidden=(16,), classes=10), epochs=4, batch=50)


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Images [rows, 1, 8, 8] in [0, 1] and their classes."""

    x: np.ndarray
    y: np.ndarray


@pytest.fixture(scope="module")
def digits() -> Digits:
    given = load_digits()
    order = Seeds(5).numpy("split").permutation(len(given.target))
    return Digits(x=(given.images[order, None] / 16).astype(np.float32), y=given.target[order].astype(np.int64))


def test_equal_seeds_give_equal_models_and_others_do_not(digits):
    x, before = digits.x[:200], digits.x[:200].copy()
    first, again, other = (SMALL(x, digits.y[:200], seeds=Seeds(seed)).answer(x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(x, before)


def test_the_last_checkpoint_is_the_model_and_each_learns_more(digits):
    x, y = digits.x[:400], digits.y[:400]
    checkpoints = SMALL.checkpoints(x, y, seeds=Seeds(1), count=3)
    assert len(checkpoints) == 3
    np.testing.assert_array_equal(checkpoints[-1].predictor.answer(x), SMALL(x, y, seeds=Seeds(1)).answer(x))
    accuracies = [(one.predictor.answer(x).argmax(axis=1) == y).mean() for one in checkpoints]
    assert accuracies[0] < accuracies[-1]
    rates = [one.learning_rate for one in checkpoints]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) > 0


def test_it_learns(digits):
    learner = NetworkLearner(architecture=Mlp(inputs=64, hidden=(64,), classes=10), batch=32, learning_rate=5e-3)
    model = learner(digits.x[:1000], digits.y[:1000], seeds=Seeds(0))
    assert (model.answer(digits.x[1400:]).argmax(axis=1) == digits.y[1400:]).mean() > 0.95


def test_arguments_out_of_range_are_refused(digits):
    for settings in ({"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError):
            NetworkLearner(architecture=SMALL.architecture, **settings)
    for count in (0, 5):
        with pytest.raises(ValueError, match="between 1 and 4"):
            SMALL.checkpoints(digits.x, digits.y, seeds=Seeds(0), count=count)
    with pytest.raises(ValueError, match="as many labels"):
        SMALL(digits.x, digits.y[:-1], seeds=Seeds(0))
