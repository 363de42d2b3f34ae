"""The learner is deterministic, leaves its data alone, and its checkpoints lead to its model."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import Seeds
from wardline.models import Mlp
from wardline.robust.sanitise.learner import NetworkLearner

SMALL = NetworkLearner(architecture=Mlp(inputs=64, hidden=(16,), classes=10), epochs=4, batch=50)


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


def test_it_learns(digits, learner):
    model = learner(digits.x, digits.y, seeds=Seeds(0))
    assert (model.answer(digits.test.x).argmax(axis=1) == digits.test.y).mean() > 0.95


def test_arguments_out_of_range_are_refused(digits):
    for settings in ({"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError):
            NetworkLearner(architecture=SMALL.architecture, **settings)
    for count in (0, 5):
        with pytest.raises(ValueError, match="between 1 and 4"):
            SMALL.checkpoints(digits.x, digits.y, seeds=Seeds(0), count=count)
    with pytest.raises(ValueError, match="as many labels"):
        SMALL(digits.x, digits.y[:-1], seeds=Seeds(0))
