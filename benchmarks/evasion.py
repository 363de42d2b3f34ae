"""Forty steps of PGD beside foolbox, ART and torchattacks: processor time and robust accuracy, in the same run.

Run: ``WARDLINE_DATA=... python benchmarks/evasion.py [examples] [repeats]``. Every contender attacks the same examples
of the same network within the same radius, with the same step and a random start; all of them are read rightly before.
Ours is timed as it is used, checks and the judgement of every example included; of the others the attack alone. Their
networks come as a user has them, and in the lines marked "frozen" with parameters that need no gradient, which neither
library arranges by itself.
"""

from __future__ import annotations

import copy
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball

STEPS, BATCH = 40, 128
DATA = Path(os.environ.get("WARDLINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
Arrays = tuple[np.ndarray, np.ndarray]
Attack = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.skip = nn.Conv2d(inner, outer, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of body and skip, above zero."""
        return torch.relu(self.body(x) + self.skip(x))


def mnist_cnn() -> nn.Module:
    parts = [nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*parts, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10))


def mnist_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def cifar_resnet() -> nn.Module:
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def load(name: str) -> Arrays:
    with np.load(DATA / name) as file:
        x, y = file["x"], file["y"].astype(np.int64)
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x).astype(np.float32) / 255, y


def train(net: nn.Module, data: Arrays, *, radius: float, epochs: int) -> nn.Module:
    """Training against single steps from a random start (Wong et al. 2020); plain training at radius 0."""
    x, y = (torch.from_numpy(part) for part in data)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            start = x[rows]
            if radius:
                near = (start + torch.empty_like(start).uniform_(-radius, radius)).requires_grad_()
                slope = torch.autograd.grad(functional.cross_entropy(net(near), y[rows]), near)[0]
                start = (
                    (start + (near - start + 1.25 * radius * slope.sign()).clamp(-radius, radius)).clamp(0, 1).detach()
                )
            optimiser.zero_grad()
            functional.cross_entropy(net(start), y[rows]).backward()
            optimiser.step()
    return net.eval()


def ours(net: nn.Module, radius: float, *, early_stop: bool = True, exact: bool = False) -> Attack:
    def attack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        target = Target(TorchPredictor(net, classes=10), InputSpec(shape=x.shape[1:]))
        pgd = Pgd(ball=Ball(norm="linf", radius=radius), steps=STEPS, early_stop=early_stop, exact=exact)
        return pgd.run(target, Labelled(x=x, y=y), Budget(batch=BATCH), 0).examples["adversarial"]

    return attack


def with_foolbox(net: nn.Module, radius: float) -> Attack:
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    pgd = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=2.5 * radius / STEPS, random_start=True)

    def attack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        pieces = zip(torch.from_numpy(x).split(BATCH), torch.from_numpy(y).split(BATCH), strict=True)
        return torch.cat([pgd(model, a, b, epsilons=radius)[1] for a, b in pieces]).numpy()

    return attack


def with_art(net: nn.Module, radius: float, *, batch: int) -> Attack:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    def attack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        model = PyTorchClassifier(
            net,
            loss=nn.CrossEntropyLoss(),
            input_shape=x.shape[1:],
            nb_classes=10,
            clip_values=(0, 1),
            device_type="cpu",
        )
        pgd = ProjectedGradientDescent(
            model,
            eps=radius,
            eps_step=2.5 * radius / STEPS,
            max_iter=STEPS,
            num_random_init=1,
            batch_size=batch,
            verbose=False,
        )
        return pgd.generate(x, y)

    return attack


def with_torchattacks(net: nn.Module, radius: float) -> Attack:
    import torchattacks

    pgd = torchattacks.PGD(net, eps=radius, alpha=2.5 * radius / STEPS, steps=STEPS, random_start=True)

    def attack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        pieces = zip(torch.from_numpy(x).split(BATCH), torch.from_numpy(y).split(BATCH), strict=True)
        return torch.cat([pgd(a, b) for a, b in pieces]).numpy()

    return attack


def contenders(net: nn.Module, radius: float) -> dict[str, Attack]:
    free, frozen = copy.deepcopy(net), copy.deepcopy(net).requires_grad_(False)
    found: dict[str, Attack] = {
        "wardline": ours(net, radius),
        "wardline, no early stop": ours(net, radius, early_stop=False),
        "wardline, full precision": ours(net, radius, exact=True),
    }
    others: list[tuple[str, Callable[[], Attack]]] = [
        ("foolbox", lambda: with_foolbox(free, radius)),
        ("foolbox, frozen", lambda: with_foolbox(frozen, radius)),
        ("ART, same batch", lambda: with_art(free, radius, batch=BATCH)),
        ("ART, same batch, frozen", lambda: with_art(frozen, radius, batch=BATCH)),
        ("ART, its default batch 32", lambda: with_art(free, radius, batch=32)),
        ("torchattacks", lambda: with_torchattacks(free, radius)),
    ]
    for name, make in others:
        try:
            found[name] = make()
        except ImportError as missing:
            print(f"{name} is left out: {missing}")
    return found


def accuracy(net: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    with torch.no_grad():
        return float(np.mean(net(torch.from_numpy(x)).argmax(1).numpy() == y))


def compare(title: str, net: nn.Module, data: Arrays, *, radius: float, repeats: int) -> None:
    x, y = data
    print(f"\n{title}, {len(x)} examples, linf {radius:.4f}")
    entries = contenders(net, radius)
    seconds: dict[str, list[float]] = {name: [] for name in entries}
    robust: dict[str, float] = {}
    for turn in range(repeats):
        names = list(entries) if turn % 2 == 0 else list(entries)[::-1]
        for name in names:
            began = time.process_time()
            adversarial = entries[name](x, y)
            seconds[name].append(time.process_time() - began)
            inside = np.abs(adversarial - x).max() <= radius + 1e-5
            robust[name] = accuracy(net, adversarial.astype(np.float32), y) if inside else float("nan")
    for name in entries:
        ratio = [mine / other for mine, other in zip(seconds["wardline"], seconds[name], strict=True)]
        share = f"wardline takes {np.median(ratio):.2f} of it"
        print(f"  {name:28} {np.median(seconds[name]):8.2f} s   robust {robust[name]:.3f}   {share}", flush=True)


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    examples, repeats = (int(given) for given in (*sys.argv[1:], "256", "3")[:2])
    print(f"python {platform.python_version()}, torch {torch.__version__}, 1 thread; {STEPS} steps, batches of {BATCH}")
    mnist, cifar = load("mnist/train.npz"), load("cifar10/train_exact.npz")
    for title, make, data, radius, trained, epochs in (
        ("MNIST 28x28, MLP, undefended", mnist_mlp, mnist, 0.04, 0.0, 2),
        ("MNIST 28x28, CNN, undefended", mnist_cnn, mnist, 0.08, 0.0, 1),
        ("MNIST 28x28, CNN, trained against 0.2", mnist_cnn, mnist, 0.2, 0.2, 2),
        ("CIFAR-10 32x32, ResNet, trained against 8/255", cifar_resnet, cifar, 8 / 255, 8 / 255, 6),
    ):
        known, held = tuple(part[:4_000] if len(part) < 10_000 else part[:10_000] for part in data), slice(-600, None)
        net = train(make(), known, radius=trained, epochs=epochs)
        x, y = (part[held] for part in data)
        with torch.no_grad():
            right = np.flatnonzero(net(torch.from_numpy(x)).argmax(1).numpy() == y)[:examples]
        compare(title, net, (x[right], y[right]), radius=radius, repeats=repeats)


if __name__ == "__main__":
    main()
