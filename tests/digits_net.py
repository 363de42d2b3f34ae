"""A small network on scikit-learn's handwritten digits, trained in a second, for tests that need a real classifier."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.models.torch_predictor import TorchPredictor

SPEC = InputSpec(shape=(64,))


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images as rows of 64 grey values in [0, 1], and their classes; the first 1,297 are for training."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int64)


def trained(*, sigma: float = 0.0, epochs: int = 40, seed: int = 0) -> nn.Sequential:
    """A multilayer perceptron with 48 hidden units, trained with Gaussian noise of this sigma on its inputs."""
    x, y = (torch.from_numpy(part[:1297]) for part in digits())
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            noise = sigma * torch.empty_like(x[rows]).normal_(generator=generator)
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows] + noise), y[rows]).backward()
            optimiser.step()
    return net.eval()


def target_of(net: nn.Module) -> Target:
    """The network under attack by somebody who knows it."""
    return Target(TorchPredictor(net, classes=10), SPEC)
