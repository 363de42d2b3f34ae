from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional

from wardline.core import NoProgress, Seeds
from wardline.models import (
    Architecture,
    Cnn,
    Logistic,
    Mlp,
    ResNet,
    build,
    columns,
    stacked,
    torch_generator,
    train_stack,
)
from wardline.models.stacked import stacked_logits

ARCHITECTURES: list[Architecture] = [
    Logistic(inputs=12, classes=3, linear_inputs=4),
    Mlp(inputs=20, hidden=(9, 7), classes=3, linear_inputs=2),
    Cnn(shape=(2, 9, 8), channels=(4, 6), hidden=8, classes=3, linear_inputs=3),
    ResNet(shape=(1, 8, 8), channels=(8, 16), blocks=(1, 1), classes=3),
]
TRAINED: list[Architecture] = [
    Logistic(inputs=36, classes=3),
    Mlp(inputs=36, hidden=(16, 8), classes=3),
    Cnn(shape=(1, 6, 6), channels=(4,), hidden=8, classes=3),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    batch: int = 16
    epochs: int = 3
    learning_rate: float = 0.01
    weight_decay: float = 0.0


class Told(NoProgress):
    """Remembers what it was told."""

    def start(self, stage: str, total: int) -> None:
        self.total, self.seen = total, []

    def advance(self, done: int, detail: str = "") -> None:
        self.seen.append(done)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("models", [1, 3])
def test_a_stack_answers_as_its_networks_do_and_has_their_gradients(architecture: Architecture, models: int) -> None:
    networks = [build(architecture, generator=torch_generator(Seeds(1), f"n{i}")) for i in range(models)]
    generator = torch_generator(Seeds(2), "values")
    with torch.no_grad():
        for network in networks:
            for value in network.parameters():
                value.add_(0.1 * torch.empty_like(value).normal_(generator=generator))
    names = [name for name, _ in networks[0].named_parameters()]
    stacked = {
        name: torch.stack([network.get_parameter(name).detach() for network in networks]).requires_grad_()
        for name in names
    }
    x = torch.from_numpy(np.random.default_rng(0).random((models, 5, columns(architecture)), dtype=np.float32))
    together = stacked_logits(architecture, stacked, x)
    weights = torch.from_numpy(np.random.default_rng(1).random(together.shape, dtype=np.float32))
    gradients = dict(zip(names, torch.autograd.grad((together * weights).sum(), list(stacked.values())), strict=True))
    for index, network in enumerate(networks):
        alone = network(x[index])
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-4)
        expected = torch.autograd.grad((alone * weights[index]).sum(), list(network.parameters()))
        for name, value in zip(names, expected, strict=True):
            torch.testing.assert_close(gradients[name][index], value, atol=1e-4, rtol=1e-3)


def _rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return generator.normal(size=(count, 36)).astype(np.float32), generator.integers(3, size=count)


def _alone(
    architecture: Architecture, settings: Settings, x: np.ndarray, y: np.ndarray, rows: np.ndarray, name: str
) -> dict[str, np.ndarray]:
    """One model, trained by a plain loop."""
    seeds = Seeds(5)
    network = build(architecture, generator=torch_generator(seeds, f"{name}.init"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    order = seeds.numpy(f"{name}.order")
    batches = math.ceil(len(rows) / settings.batch)
    total = batches * settings.epochs
    step = 0
    for _ in range(settings.epochs):
        for batch in np.array_split(rows[order.permutation(len(rows))], batches):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 - step / total)
            loss = functional.cross_entropy(network(torch.from_numpy(x[batch])), torch.from_numpy(y[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return {key: value.detach().numpy() for key, value in network.named_parameters()}


@pytest.mark.parametrize("architecture", TRAINED, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_models_trained_at_once_are_those_trained_alone(architecture: Architecture, weight_decay: float) -> None:
    settings = Settings(weight_decay=weight_decay)
    x, y = _rows(90)
    sets = np.stack([np.random.default_rng(i).permutation(90)[:60] for i in range(4)])
    stack = train_stack(architecture, settings, x=x, y=y, sets=sets, seeds=Seeds(5))
    assert len(stack) == 4
    for index in range(4):
        alone = _alone(architecture, settings, x, y, sets[index], f"reference.{index}")
        for name, value in alone.items():
            np.testing.assert_allclose(stack.parameters[name][index].numpy(), value, atol=2e-5)
    logits = stack.logits(x)
    assert logits.shape == (4, 90, 3)
    np.testing.assert_allclose(stack.part(2, 3).logits(x)[0], logits[2], atol=1e-5)


def test_small_memory_trains_in_groups_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture, settings = TRAINED[1], Settings()
    x, y = _rows(40)
    sets = np.stack([np.random.default_rng(i).permutation(40)[:20] for i in range(5)])
    at_once = train_stack(architecture, settings, x=x, y=y, sets=sets, seeds=Seeds(5)).logits(x)
    monkeypatch.setattr(stacked, "_BYTES_AT_ONCE", 2 * stacked._row_bytes(architecture) * 16)
    told = Told()
    in_groups = train_stack(architecture, settings, x=x, y=y, sets=sets, seeds=Seeds(5), progress=told).logits(x)
    np.testing.assert_allclose(at_once, in_groups, atol=2e-5)
    assert told.seen == list(range(1, told.total + 1))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_no_sets_are_refused(shape: tuple[int, ...]) -> None:
    x, y = _rows(4)
    with pytest.raises(ValueError):
        train_stack(TRAINED[0], Settings(), x=x, y=y, sets=np.zeros(shape, dtype=np.int64), seeds=Seeds(0))
