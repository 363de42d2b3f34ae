"""One step of private training beside Opacus and beside training without privacy, as a Markdown table.

    python benchmarks/dpsgd.py

All contenders take the same step on the same rows in one process on one thread, in turns; figures are medians of CPU
time, as a multiple of the step without privacy. Wardline's step includes its noise from AES-256-CTR; Opacus's includes
its default noise, torch's generator, which is faster and no CSPRNG (`secure_mode` needs a library that is no longer
maintained).
"""

from __future__ import annotations

import platform
import statistics
import time
import warnings
from collections.abc import Callable

import opacus
import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch.nn import functional

from wardline.core import SecureRandom, Seeds
from wardline.dp import clipped_gradient_sum, noisy_sum
from wardline.models import Architecture, Cnn, Logistic, Mlp, build, columns, torch_generator

ROUNDS = 15
CLIP_NORM, NOISE, LEARNING_RATE = 0.5, 1.0, 0.1
CASES: list[tuple[str, Architecture, int]] = [
    ("logistic 107-2", Logistic(inputs=107, classes=2), 256),
    ("logistic 107-2", Logistic(inputs=107, classes=2), 1500),
    ("MLP 107-64-2", Mlp(inputs=107, hidden=(64,), classes=2), 256),
    ("MLP 107-64-2", Mlp(inputs=107, hidden=(64,), classes=2), 1500),
    ("MLP 784-256-10", Mlp(inputs=784, hidden=(256,), classes=10), 512),
    ("CNN 8x8, 16-32-32-10", Cnn(shape=(1, 8, 8), channels=(16, 32), hidden=32, classes=10), 256),
    ("CNN 28x28, 16-32-32-10", Cnn(shape=(1, 28, 28), channels=(16, 32), hidden=32, classes=10), 256),
]


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, opacus {opacus.__version__}, {platform.machine()}, one thread, CPU time\n")
    print("| model | batch | without privacy, ms | Wardline | Opacus, hooks | Opacus, ghost clipping |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, architecture, batch in CASES:
        x = torch.rand(batch, columns(architecture), generator=torch_generator(Seeds(0), "x")) * 2 - 1
        y = torch.arange(batch) % architecture.classes
        contenders = [make(architecture, x, y) for make in (plain, wardline, opacus_hooks, opacus_ghost)]
        base, *others = medians(contenders)
        ratios = " | ".join(f"{other / base:.1f}" for other in others)
        print(f"| {name} | {batch} | {1000 * base:.2f} | {ratios} |", flush=True)


def medians(contenders: list[Callable[[], None]]) -> list[float]:
    """Median CPU seconds of each, taken in turns so that a disturbance meets all of them."""
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(ROUNDS + 2):
        for found, step in zip(seconds, contenders, strict=True):
            began = time.process_time()
            step()
            found.append(time.process_time() - began)
    return [statistics.median(found[2:]) for found in seconds]  # the first two warm up


def fresh(architecture: Architecture) -> torch.nn.Module:
    return build(architecture, generator=torch_generator(Seeds(0), "weights"))


def plain(architecture: Architecture, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    network = fresh(architecture)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    return step


def wardline(architecture: Architecture, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    network = build(architecture, generator=torch_generator(Seeds(0), "weights"))
    random = SecureRandom()

    def step() -> None:
        total = clipped_gradient_sum(network, x, y, clip_norm=CLIP_NORM)
        noisy = noisy_sum(total, noise_multiplier=NOISE, clip_norm=CLIP_NORM, random=random)
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.sub_(noisy[name], alpha=LEARNING_RATE / len(x))

    return step


def opacus_hooks(architecture: Architecture, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    network = opacus.GradSampleModule(wrapped(architecture))
    optimizer = DPOptimizer(
        torch.optim.SGD(network.parameters(), lr=LEARNING_RATE),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=len(x),
    )

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    return step


def opacus_ghost(architecture: Architecture, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    network = GradSampleModuleFastGradientClipping(
        wrapped(architecture), max_grad_norm=CLIP_NORM, use_ghost_clipping=True
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(network.parameters(), lr=LEARNING_RATE),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=len(x),
    )
    criterion = DPLossFastGradientClipping(network, optimizer, torch.nn.CrossEntropyLoss())

    def step() -> None:
        optimizer.zero_grad()
        criterion(network(x), y).backward()
        optimizer.step()

    return step


class Wrapped(torch.nn.Module):
    """Opacus looks for layers inside of a plain module, not in one that is a dictionary of layers."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.network(x)
        return logits


def wrapped(architecture: Architecture) -> torch.nn.Module:
    return Wrapped(fresh(architecture))


if __name__ == "__main__":
    main()
