"""Friendly copies have no layer that ciphertexts cannot compute, are as good, and leave the model as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wardline.core import DataError, Seeds, UsageError
from wardline.he.compiler.activations import PolynomialActivation, Square
from wardline.he.compiler.friendly import FriendlySettings, friendly
from wardline.he.compiler.from_torch import read_torch
from wardline.he.compiler.merging import simplify


def started(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    model = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            bound = value[0].numel() ** -0.5 if value.ndim > 1 else 0.1
            value.uniform_(-bound, bound, generator=generator)
    return model


def rings(seed: int, rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that no line separates."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    angle = rng.uniform(0, 2 * np.pi, rows)
    radius = 0.5 + y + rng.normal(0, 0.1, rows)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), y


@pytest.mark.parametrize("activation", ["square", "polynomial", "fixed"])
def test_what_no_line_separates_is_learned(activation: str) -> None:
    x, y = rings(0, rows=300)
    model = started(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.9), nn.Linear(8, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = FriendlySettings(activation=activation, epochs=16, batch=32, learning_rate=0.02)
    found = friendly(model, x, y, settings=settings, seeds=Seeds(1))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "the model stays as it is"
    program = simplify(read_torch(found, (2,)))
    assert program.exact
    new, wanted = rings(1)
    assert (program.decide(new) == wanted).mean() > 0.97
    short = FriendlySettings(activation=activation, epochs=1, batch=32)
    first, again, other = (friendly(model, x, y, settings=short, seeds=Seeds(seed)) for seed in (1, 1, 2))
    for one, same in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, same), "equal seeds give equal weights"
    assert not torch.equal(first[0].weight, other[0].weight)


def test_what_is_fixed_is_not_trained_and_what_is_trained_moves() -> None:
    x, y = rings(0, rows=100)
    for activation, moves in (("fixed", False), ("polynomial", True)):
        model = started(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        few = friendly(model, x, y, settings=FriendlySettings(activation=activation, epochs=1), seeds=Seeds(0))
        more = friendly(
            model, x, y, settings=FriendlySettings(activation=activation, epochs=3, learning_rate=0.05), seeds=Seeds(0)
        )
        assert isinstance(few[1], PolynomialActivation)
        assert torch.equal(few[1].coefficients, more[1].coefficients) is not moves


def test_maxima_become_averages_and_images_are_read() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = rng.normal(0, 0.3, size=(200, 1, 8, 8)).astype(np.float32)
    x[:, 0, 2:6, 2:6] += y[:, None, None]
    model = started(
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 2),
    )
    found = friendly(model, x, y, settings=FriendlySettings(epochs=15, batch=20, learning_rate=0.01), seeds=Seeds(0))
    assert [type(layer) for layer in found[2:4]] == [PolynomialActivation, nn.AvgPool2d]
    program = read_torch(found, (1, 8, 8))
    assert (program.decide(x) == y).mean() > 0.95
    with torch.inference_mode():
        np.testing.assert_allclose(program.evaluate(x), found(torch.from_numpy(x)).numpy(), atol=1e-4)


def test_numbers_are_fitted_by_their_squared_error() -> None:
    x, _ = rings(3)
    y = x[:, 0] ** 2 - x[:, 1]
    model = started(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    settings = FriendlySettings(activation="square", epochs=40, batch=32, learning_rate=0.02)
    program = read_torch(friendly(model, x, y, settings=settings, seeds=Seeds(0)), (2,), gives="values")
    assert np.mean((program.evaluate(x)[:, 0] - y) ** 2) < 0.02 * y.var()


class _Steps:
    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def start(self, stage: str, total: int) -> None:
        self.told.append((stage, total))

    def advance(self, done: int, detail: str = "") -> None:
        self.told.append((detail, done))

    def finish(self, detail: str = "") -> None:
        self.told.append((detail, "end"))


def test_progress_is_told() -> None:
    x, y = rings(0, rows=100)
    steps = _Steps()
    settings = FriendlySettings(epochs=2, batch=50)
    friendly(started(nn.Linear(2, 2)), x, y, settings=settings, seeds=Seeds(0), progress=steps)
    assert steps.told[0] == ("fine-tuning", 4)
    assert [done for _, done in steps.told[1:]] == [1, 2, 3, 4, "end"]
    assert "after epoch 2" in steps.told[-1][0]


def test_what_is_refused() -> None:
    x, y = rings(0, rows=20)
    with pytest.raises(UsageError, match="LayerNorm") as refused:
        friendly(started(nn.Linear(2, 4), nn.Sequential(nn.LayerNorm(4))), x, y, seeds=Seeds(0))
    assert refused.value.where == "1.0"
    with pytest.raises(UsageError, match="rounded up"):
        friendly(
            nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), np.zeros((2, 1, 4, 4)), np.zeros(2, int), seeds=Seeds(0)
        )
    with pytest.raises(DataError, match="as many labels"):
        friendly(started(nn.Linear(2, 2)), x, y[:-1], seeds=Seeds(0))
    with pytest.raises(DataError, match="not finite"):
        friendly(started(nn.Linear(2, 2)), np.full_like(x, np.nan), y, seeds=Seeds(0))
    wild = FriendlySettings(activation="square", learning_rate=1e9, gradient_norm=1e9, epochs=5, batch=5)
    with pytest.raises(UsageError, match="diverged"):
        friendly(started(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), x, y, settings=wild, seeds=Seeds(0))
    for bad in ({"degree": 5}, {"epochs": 0}, {"activation": "cube"}, {"weight_decay": -1.0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match="must"):
            FriendlySettings(**bad)


@pytest.mark.data
def test_a_tenth_of_mnist_in_three_epochs(data_root: Path) -> None:
    """The network of the recipe: above 90 % of 1,000 others with 6,000 images, where one image in ten is chance."""
    with np.load(data_root / "mnist" / "train.npz") as found:
        x, y = found["x"][:7000, None].astype(np.float32) / 255, found["y"][:7000].astype(np.int64)
    model = started(nn.Conv2d(1, 4, 7, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
    settings = FriendlySettings(activation="square", epochs=3, batch=64, learning_rate=3e-3)
    tuned = friendly(model, x[:6000], y[:6000], settings=settings, seeds=Seeds(0))
    assert sum(isinstance(layer, Square) for layer in tuned) == 2
    program = simplify(read_torch(tuned, (1, 28, 28)))
    assert [layer.outputs for layer in program.layers] == [256, 256, 64, 64, 10]
    assert (program.decide(x[6000:]) == y[6000:]).mean() > 0.9
