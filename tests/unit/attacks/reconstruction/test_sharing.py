from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from wardline.attacks.reconstruction.sharing import Defence, GradientData, Simulation
from wardline.core import Seeds

NETWORK = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
X = np.random.default_rng(0).random((8, 6), dtype=np.float32)
Y = np.arange(8) % 3


def _flat(gradients: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([value.ravel() for value in gradients.values()])


def test_an_undefended_gradient_is_that_of_the_mean_cross_entropy() -> None:
    shared = Simulation(NETWORK, seeds=Seeds(0)).share(X, Y)
    loss = functional.cross_entropy(NETWORK(torch.from_numpy(X)), torch.from_numpy(Y))
    for (name, value), expected in zip(
        NETWORK.named_parameters(), torch.autograd.grad(loss, list(NETWORK.parameters())), strict=True
    ):
        assert value.shape == expected.shape
        np.testing.assert_allclose(shared[name], expected.numpy(), atol=1e-6)


def test_each_example_is_clipped_before_the_mean() -> None:
    each = [_flat(Simulation(NETWORK, seeds=Seeds(0)).share(X[i : i + 1], Y[i : i + 1])) for i in range(8)]
    bound = float(np.median([np.linalg.norm(one) for one in each]))
    expected = np.mean([one * min(1.0, bound / np.linalg.norm(one)) for one in each], axis=0)
    clipped = Simulation(NETWORK, defence=Defence(clip_norm=bound), seeds=Seeds(0)).share(X, Y)
    np.testing.assert_allclose(_flat(clipped), expected, atol=1e-6)


def test_noise_has_the_deviation_it_says() -> None:
    """Chi-squared over 53 entries in 200 draws: 5 % off has a chance below 1e-6."""
    plain = _flat(Simulation(NETWORK, seeds=Seeds(0)).share(X, Y))
    noisy = Simulation(NETWORK, defence=Defence(noise=0.3), seeds=Seeds(1))
    apart = np.stack([_flat(noisy.share(X, Y)) - plain for _ in range(200)])
    assert apart.std() == pytest.approx(0.3, rel=0.05)
    dp = Defence.dp_sgd(clip_norm=2.0, noise_multiplier=1.5, batch=10)
    assert (dp.clip_norm, dp.noise) == (2.0, pytest.approx(0.3))


def test_pruning_keeps_the_largest_entries() -> None:
    plain = _flat(Simulation(NETWORK, seeds=Seeds(0)).share(X, Y))
    pruned = _flat(Simulation(NETWORK, defence=Defence(kept=0.25), seeds=Seeds(0)).share(X, Y))
    kept = np.flatnonzero(pruned)
    assert len(kept) == round(0.25 * len(plain))
    np.testing.assert_allclose(pruned[kept], plain[kept], atol=1e-6)
    assert np.abs(plain[kept]).min() >= np.abs(np.delete(plain, kept)).max()


def test_bad_settings_and_data_that_do_not_fit_are_refused() -> None:
    for wrong in ({"clip_norm": 0.0}, {"noise": -1.0}, {"noise": float("nan")}, {"kept": 0.0}, {"kept": 1.5}):
        with pytest.raises(ValueError):
            Defence(**wrong)
    sharer = Simulation(NETWORK, seeds=Seeds(0))
    with pytest.raises(ValueError, match="fill one batch"):
        GradientData.collect(sharer, X, Y, batch=9)
    data = GradientData.collect(sharer, X, Y, batch=3)
    assert data.x.shape == (2, 3, 6)
    with pytest.raises(ValueError, match="every batch"):
        GradientData(gradients=data.gradients[:1], x=data.x, y=data.y, defence=Defence())
    with pytest.raises(ValueError, match="prior"):
        GradientData(gradients=data.gradients, x=data.x, y=data.y, defence=Defence(), prior=X[:, :3])
