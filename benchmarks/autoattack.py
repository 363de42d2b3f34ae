"""AutoAttack beside ART's, in the same run: processor time and robust accuracy on the same examples.

Run: ``WARDLINE_DATA=... python benchmarks/autoattack.py [examples]``. Single attacks are compared first, with equal
steps, queries and batch and one random start: Auto-PGD on cross-entropy, and Square. The ensembles differ: ART's is
Auto-PGD on cross-entropy and on the difference of logits ratio, DeepFool, and Square; ours follows the paper and aims
at nine classes with Auto-PGD and FAB, which is more work. The last lines give ART its own defaults (five restarts, a
batch of 32, 5,000 queries in each of five restarts) and ours the standard, on a tenth of the examples. Ours is timed as
it is used, checks and the judgement of every example included.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from wardline.attacks.evasion.apgd import Apgd
from wardline.attacks.evasion.autoattack import AutoAttack
from wardline.attacks.evasion.square import Square
from wardline.attacks.protocol.attack import Attack
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball

STEPS, QUERIES, BATCH = 100, 500, 128
DATA = Path(os.environ.get("WARDLINE_DATA", "../shared/data"))
Arrays = tuple[np.ndarray, np.ndarray]
Contender = Callable[[np.ndarray, np.ndarray], np.ndarray]


def small_net(channels: int, side: int) -> nn.Module:
    parts = [nn.Conv2d(channels, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 10))


def load(name: str) -> Arrays:
    with np.load(DATA / name) as file:
        x, y = file["x"], file["y"].astype(np.int64)
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x).astype(np.float32) / 255, y


def train(net: nn.Module, data: Arrays, *, radius: float, epochs: int) -> nn.Module:
    """Training against single steps from a random start (Wong et al. 2020); plain training at radius 0."""
    x, y = (torch.from_numpy(part) for part in data)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            start = x[rows]
            if radius:
                near = (start + torch.empty_like(start).uniform_(-radius, radius)).requires_grad_()
                slope = torch.autograd.grad(functional.cross_entropy(net(near), y[rows]), near)[0]
                change = (near - start + 1.25 * radius * slope.sign()).clamp(-radius, radius)
                start = (start + change).clamp(0, 1).detach()
            optimiser.zero_grad()
            functional.cross_entropy(net(start), y[rows]).backward()
            optimiser.step()
    return net.eval()


def ours(net: nn.Module, attack: Attack) -> Contender:
    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        target = Target(TorchPredictor(net, classes=10), InputSpec(shape=x.shape[1:]))
        result = attack.run(target, Labelled(x=x, y=y), Budget(batch=BATCH), 0)
        return result.examples["adversarial"]

    return run


class Art:
    """ART's attacks with one set of settings."""

    def __init__(self, net: nn.Module, x: np.ndarray, radius: float, *, batch: int = BATCH, restarts: int = 1) -> None:
        from art.estimators.classification import PyTorchClassifier

        self.classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1))
        self.radius, self.batch, self.restarts = radius, batch, restarts
        self.shared = {"eps": radius, "batch_size": batch, "verbose": False}

    def apgd(self, loss: str = "cross_entropy") -> Any:
        """Auto-PGD."""
        from art.attacks.evasion import AutoProjectedGradientDescent

        sizes = {"eps_step": 2 * self.radius, "max_iter": STEPS, "nb_random_init": self.restarts}
        return AutoProjectedGradientDescent(self.classifier, loss_type=loss, **sizes, **self.shared)

    def square(self, queries: int) -> Any:
        """Square."""
        from art.attacks.evasion import SquareAttack

        return SquareAttack(self.classifier, max_iter=queries, nb_restarts=self.restarts, p_init=0.8, **self.shared)

    def ensemble(self, queries: int) -> Any:
        """ART's AutoAttack."""
        from art.attacks.evasion import AutoAttack as Theirs
        from art.attacks.evasion import DeepFool

        fool = DeepFool(self.classifier, max_iter=100, epsilon=1e-3, nb_grads=10, batch_size=self.batch, verbose=False)
        stages = [self.apgd(), self.apgd("difference_logits_ratio"), fool, self.square(queries)]
        eps = {"eps": self.radius, "eps_step": 2 * self.radius}
        return Theirs(self.classifier, attacks=stages, batch_size=self.batch, **eps)


def generated(attack: Any) -> Contender:
    return lambda x, y: attack.generate(x, np.eye(10, dtype=np.float32)[y])


def timed(attack: Contender, net: nn.Module, examples: Arrays) -> tuple[float, float]:
    x, y = examples
    began = time.process_time()
    changed = attack(x, y)
    seconds = time.process_time() - began
    with torch.inference_mode():
        return seconds, float((net(torch.from_numpy(changed)).argmax(1).numpy() == y).mean())


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"python {platform.python_version()}, torch {torch.__version__}, one thread, linf")
    settings = (
        ("MNIST, plain", "mnist/train.npz", 0.1, 0.0),
        ("MNIST, adversarially trained", "mnist/train.npz", 0.1, 0.1),
        ("CIFAR-10, plain", "cifar10/train_exact.npz", 8 / 255, 0.0),
        ("CIFAR-10, adversarially trained", "cifar10/train_exact.npz", 8 / 255, 8 / 255),
    )
    for name, file, radius, against in settings:
        x, y = load(file)
        x, y, held = x[: 9 * len(x) // 10][:20_000], y[: 9 * len(x) // 10][:20_000], (x[-n:], y[-n:])
        net = train(small_net(x.shape[1], x.shape[2]), (x, y), radius=against, epochs=4).requires_grad_(False)
        few = held[0][: max(n // 10, 10)], held[1][: max(n // 10, 10)]
        ball = Ball(norm="linf", radius=radius)
        art, default = Art(net, held[0], radius), Art(net, held[0], radius, batch=32, restarts=5)
        print(f"{name}, radius {radius:.4f}")
        pairs: tuple[tuple[str, Attack, Any, Arrays], ...] = (
            ("Auto-PGD on cross-entropy", Apgd(ball=ball, steps=STEPS), art.apgd(), held),
            (f"Square, {QUERIES} queries", Square(ball=ball, queries=QUERIES), art.square(QUERIES), held),
            (f"ensembles, {QUERIES} queries", AutoAttack(ball=ball, queries=QUERIES), art.ensemble(QUERIES), held),
            ("ensembles, ART's defaults", AutoAttack(ball=ball), default.ensemble(5000), few),
        )
        for label, mine, theirs, examples in pairs:
            seconds, robust = timed(ours(net, mine), net, examples)
            other_seconds, other_robust = timed(generated(theirs), net, examples)
            print(
                f"  {label:28} {len(examples[0]):5} examples: ours {seconds:7.2f} s, robust {robust:.3f};"
                f" ART {other_seconds:7.2f} s, robust {other_robust:.3f}; ratio {seconds / other_seconds:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
