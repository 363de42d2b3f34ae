"""Scores of strangeness: against closed forms, and as alarms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wardline.robust.input_monitor import (
    InputMonitor,
    Mahalanobis,
    differentiable,
    energy,
    energy_score,
    mahalanobis_score,
)

RNG = np.random.default_rng(0)


def test_energy_is_the_logarithm_of_the_sum_of_exponentials() -> None:
    logits = np.array([[0.0, 0.0], [1000.0, 0.0], [-1000.0, -1000.0]])
    np.testing.assert_allclose(energy(logits), [-np.log(2), -1000, 1000 - np.log(2)])
    np.testing.assert_allclose(energy(logits[:1], temperature=5.0), [-5 * np.log(2)])
    score = differentiable("energy", temperature=2.0)
    found = score(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(found, energy(logits, temperature=2.0))
    with pytest.raises(ValueError, match="temperature"):
        energy(logits, temperature=0)


def test_the_distance_is_that_of_the_textbook() -> None:
    y = np.arange(400) % 3
    mixing = RNG.normal(size=(4, 4))
    features = RNG.normal(size=(400, 4)) @ mixing + 5 * np.eye(4)[y]
    fitted = Mahalanobis.fit(features, y)
    means = np.stack([features[y == one].mean(axis=0) for one in range(3)])
    centred = features - means[y]
    inverse = np.linalg.inv(centred.T @ centred / 400)
    other = RNG.normal(0, 4, size=(30, 4))
    wanted = [min((row - mean) @ inverse @ (row - mean) for mean in means) for row in other]
    np.testing.assert_allclose(fitted.scores(other), wanted, rtol=0.05)
    score = differentiable("mahalanobis", fitted=fitted)
    np.testing.assert_allclose(score(torch.from_numpy(other).float()).numpy(), fitted.scores(other), rtol=1e-3)


def test_features_that_never_vary_and_classes_that_do_not_occur_do_no_harm() -> None:
    features = np.concatenate([RNG.normal(size=(50, 2)), np.zeros((50, 3))], axis=1)
    fitted = Mahalanobis.fit(features, np.array([0, 7] * 25))
    assert fitted.means.shape == (2, 5)
    assert np.isfinite(fitted.scores(features + 1)).all()
    assert np.isfinite(Mahalanobis.fit(np.ones((4, 2)), np.zeros(4, np.int64)).scores(np.ones((1, 2)))).all()
    with pytest.raises(ValueError, match="finite features"):
        Mahalanobis.fit(features * np.nan, np.zeros(50, np.int64))
    with pytest.raises(ValueError, match="what was fitted"):
        differentiable("mahalanobis")


def test_a_monitor_sees_what_is_far_away_and_keeps_its_rate() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).eval()
    y = np.arange(900) % 3
    x = (RNG.normal(0, 0.3, (900, 6)) + 2 * np.eye(6)[y]).astype(np.float32)
    monitor = InputMonitor.calibrated(mahalanobis_score(network[:2], x[:300], y[:300]), x[300:600], kind="mahalanobis")
    # Of 300 ordinary inputs at a rate of 5 %, more than 50 alarm with a probability below 1e-6 (beta-binomial).
    assert monitor.alarms(x[600:], false_alarm_rate=0.05).sum() <= 50
    assert monitor.alarms(-x[600:], false_alarm_rate=0.05).mean() > 0.95
    assert monitor.p_values(-x[600:]).max() < 0.2
    assert monitor.claim(0.05).id == "monitor.mahalanobis"


def test_an_answer_that_is_no_number_raises_an_alarm() -> None:
    layer = nn.Linear(2, 2)
    x = RNG.random((100, 2)).astype(np.float32)
    monitor = InputMonitor.calibrated(energy_score(layer), x, kind="energy")
    strange = np.full((3, 2), np.nan, dtype=np.float32)
    assert monitor.alarms(strange, false_alarm_rate=0.05).all()
    with pytest.raises(ValueError, match="finite"):
        InputMonitor.calibrated(energy_score(layer), strange, kind="energy")


def test_logits_that_overflow_raise_an_alarm_and_are_not_taken_for_confidence() -> None:
    monitor = InputMonitor.calibrated(energy_score(nn.Identity()), RNG.random((100, 2)).astype(np.float32), kind="e")
    infinite = np.array([[np.inf, 0.0], [np.inf, np.inf]], dtype=np.float32)
    assert monitor.score(infinite).tolist() == [-np.inf, -np.inf]
    assert monitor.alarms(infinite, false_alarm_rate=0.05).all()
    assert monitor.p_values(infinite).max() < 0.01
