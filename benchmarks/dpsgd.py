"""A step of private training beside training without privacy, and beside Opacus, as a Markdown table.

    python benchmarks/dpsgd.py

All contenders take turns in one process on one thread; figures are medians of CPU time, as a multiple of the step
without privacy, written by hand. Wardline is timed as it is used: whole calls of `train_dp`, divided by their steps,
with preparation, Poisson sampling, clipping, noise from AES-256-CTR, momentum and averaging. Opacus is timed without
sampling, on one batch that lies ready, with its default noise from torch's generator, which is no CSPRNG (`secure_mode`
needs a library that is no longer maintained).

Training without privacy comes in three forms, all with a fresh shuffled batch for each step:

* by hand: for dense networks forward and backward written out in torch, without autograd and without an optimiser;
  for convolutions torch's autograd, and the update by hand. This is what the others are compared with.
* ready memory: the same for dense networks, every result written into memory that is there already. The fastest that
  we know how to write.
* autograd: what most people write, `loss.backward()` and `torch.optim.SGD`.
"""

from __future__ import annotations

import platform
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import opacus
import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch.nn import functional

from wardline.core import SecureRandom, Seeds
from wardline.data import Examples
from wardline.dp import DpSgdConfig, train_dp
from wardline.models import Architecture, Cnn, Logistic, Mlp, build, columns, torch_generator

ROUNDS = 11
ROWS = 24_000
CLIP_NORM, NOISE, LEARNING_RATE = 0.5, 1.0, 0.1
# Models, and how many steps a call of train_dp takes: fewer than a real run, so that preparation weighs more.
CASES: list[tuple[str, Architecture, int]] = [
    ("logistic 107-2", Logistic(inputs=107, classes=2), 300),
    ("MLP 107-64-2", Mlp(inputs=107, hidden=(64,), classes=2), 300),
    ("MLP 784-256-10", Mlp(inputs=784, hidden=(256,), classes=10), 100),
    ("CNN 8x8, 16-32-32-10", Cnn(shape=(1, 8, 8), channels=(16, 32), hidden=32, classes=10), 20),
    ("CNN 28x28, 16-32-32-10", Cnn(shape=(1, 28, 28), channels=(16, 32), hidden=32, classes=10), 4),
]
BATCHES = (256, 1024)
SLOW = 20  # an Opacus step is timed this many times less often


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, opacus {opacus.__version__}, {platform.machine()}, one thread, CPU time\n")
    print(
        "| model | batch | without privacy, by hand, ms | **Wardline** | Opacus, hooks | Opacus, ghost clipping |"
        " without privacy, ready memory | without privacy, autograd |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, architecture, steps in CASES:
        data = examples(architecture)
        for batch in BATCHES:
            dense = not isinstance(architecture, Cnn)
            contenders = [
                (by_hand if dense else by_hand_convolutional)(architecture, data, batch, steps),
                wardline(architecture, data, batch, steps),
                opacus_hooks(architecture, data, batch, max(1, steps // SLOW)),
                opacus_ghost(architecture, data, batch, max(1, steps // SLOW)),
                *([ready_memory(architecture, data, batch, steps)] if dense else []),
                with_autograd(architecture, data, batch, steps),
            ]
            base, ours, hooks, ghost, *plain = medians(contenders)
            ready = f"{plain[0] / base:.2f}" if dense else "-"
            print(
                f"| {name} | {batch} | {1000 * base:.3g} | **{ours / base:.2f}** | {hooks / base:.1f} |"
                f" {ghost / base:.1f} | {ready} | {plain[-1] / base:.2f} |",
                flush=True,
            )


Contender = tuple[Callable[[], None], int]


def medians(contenders: list[Contender]) -> list[float]:
    """Median CPU seconds a step of each, taken in turns so that a disturbance meets all of them."""
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(ROUNDS + 2):
        for found, (run, steps) in zip(seconds, contenders, strict=True):
            began = time.process_time()
            run()
            found.append((time.process_time() - began) / steps)
    return [statistics.median(found[2:]) for found in seconds]  # the first two warm up


def examples(architecture: Architecture) -> Examples:
    random = Seeds(0).numpy("rows")
    width = columns(architecture)
    return Examples(
        x=random.uniform(-1, 1, (ROWS, width)).astype(np.float32),
        y=random.integers(0, architecture.classes, ROWS),
        unit=np.arange(ROWS),
        features=tuple(f"f{index}" for index in range(width)),
        classes=tuple(f"c{index}" for index in range(architecture.classes)),
    )


def repeated(step: Callable[[], None], steps: int) -> Contender:
    def run() -> None:
        with torch.no_grad():
            for _ in range(steps):
                step()

    return run, steps


class Shuffled:
    """Row numbers of one batch after the other, in an order that is drawn anew for every epoch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.generator = torch_generator(Seeds(0), "order")
        self.left: list[torch.Tensor] = []

    def draw(self) -> torch.Tensor:
        """The next batch."""
        if not self.left:
            self.left = list(torch.randperm(ROWS, generator=self.generator).split(self.batch)[:-1])
        return self.left.pop()


def fresh(architecture: Architecture) -> torch.nn.Module:
    return build(architecture, generator=torch_generator(Seeds(0), "weights"))


def dense_parameters(architecture: Logistic | Mlp) -> list[tuple[torch.Tensor, torch.Tensor]]:
    flat = [value.detach().clone() for value in fresh(architecture).parameters()]
    return list(zip(flat[::2], flat[1::2], strict=True))


def by_hand(architecture: Architecture, data: Examples, batch: int, steps: int) -> Contender:
    assert not isinstance(architecture, Cnn)
    x, y, order = torch.from_numpy(data.x), torch.from_numpy(data.y), Shuffled(batch)
    layers, every = dense_parameters(architecture), torch.arange(batch)
    rate = LEARNING_RATE / batch

    def step() -> None:
        rows = order.draw()
        inputs = [x.index_select(0, rows)]
        for weight, bias in layers[:-1]:
            inputs.append(torch.addmm(bias, inputs[-1], weight.t()).relu_())
        d = torch.softmax(torch.addmm(layers[-1][1], inputs[-1], layers[-1][0].t()), 1)
        d[every, y.index_select(0, rows)] -= 1
        for (weight, bias), a in zip(reversed(layers), reversed(inputs), strict=True):
            below = None if a is inputs[0] else (d @ weight).mul_(a > 0)
            weight.addmm_(d.t(), a, alpha=-rate)
            bias.sub_(d.sum(0), alpha=rate)
            if below is not None:
                d = below

    return repeated(step, steps)


def ready_memory(architecture: Architecture, data: Examples, batch: int, steps: int) -> Contender:
    assert not isinstance(architecture, Cnn)
    x, y, order = torch.from_numpy(data.x), torch.from_numpy(data.y)[:, None], Shuffled(batch)
    layers = dense_parameters(architecture)
    turned = [weight.t() for weight, _ in layers]
    a = [torch.empty(batch, x.shape[1]), *(torch.empty(batch, len(bias)) for _, bias in layers)]
    d = [torch.empty(batch, len(bias)) for _, bias in layers]
    d_turned = [one.t() for one in d]
    classes, minus, ones = torch.empty(batch, 1, dtype=torch.int64), -torch.ones(batch, 1), torch.ones(batch)
    rate, last = LEARNING_RATE / batch, len(layers) - 1

    def step() -> None:
        rows = order.draw()
        torch.index_select(x, 0, rows, out=a[0])
        torch.index_select(y, 0, rows, out=classes)
        for index in range(last + 1):
            torch.addmm(layers[index][1], a[index], turned[index], out=a[index + 1])
            if index < last:
                a[index + 1].relu_()
        torch.softmax(a[last + 1], 1, out=d[last])
        d[last].scatter_add_(1, classes, minus)
        for index in range(last, -1, -1):
            weight, bias = layers[index]
            if index:
                torch.mm(d[index], weight, out=d[index - 1])
                torch.ops.aten.threshold_backward.grad_input(d[index - 1], a[index], 0, grad_input=d[index - 1])
            weight.addmm_(d_turned[index], a[index], alpha=-rate)
            bias.addmv_(d_turned[index], ones, alpha=-rate)

    return repeated(step, steps)


def by_hand_convolutional(architecture: Architecture, data: Examples, batch: int, steps: int) -> Contender:
    x, y, order, network = torch.from_numpy(data.x), torch.from_numpy(data.y), Shuffled(batch), fresh(architecture)
    parameters = list(network.parameters())

    def step() -> None:
        rows = order.draw()
        with torch.enable_grad():
            loss = functional.cross_entropy(network(x.index_select(0, rows)), y.index_select(0, rows))
        for value, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            value.sub_(gradient, alpha=LEARNING_RATE)

    return repeated(step, steps)


def with_autograd(architecture: Architecture, data: Examples, batch: int, steps: int) -> Contender:
    x, y, order, network = torch.from_numpy(data.x), torch.from_numpy(data.y), Shuffled(batch), fresh(architecture)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        rows = order.draw()
        optimizer.zero_grad()
        with torch.enable_grad():
            functional.cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()

    return repeated(step, steps)


def wardline(architecture: Architecture, data: Examples, batch: int, steps: int) -> Contender:
    config = DpSgdConfig(
        epsilon=1.0,  # what is claimed does not change the step
        delta=1e-5,
        clip_norm=CLIP_NORM,
        noise_multiplier=NOISE,
        sample_rate=batch / ROWS,
        steps=steps,
        learning_rate=LEARNING_RATE,
        momentum=0.9,
    )

    def run() -> None:
        train_dp(architecture, data, config=config, random=SecureRandom(), seeds=Seeds(0))

    return run, steps


def opacus_hooks(architecture: Architecture, data: Examples, batch: int, steps: int) -> Contender:
    x, y = torch.from_numpy(data.x[:batch]), torch.from_numpy(data.y[:batch])
    network = opacus.GradSampleModule(Wrapped(fresh(architecture)))
    optimizer = DPOptimizer(
        torch.optim.SGD(network.parameters(), lr=LEARNING_RATE),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=batch,
    )

    def step() -> None:
        optimizer.zero_grad()
        with torch.enable_grad():
            functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    return repeated(step, steps)


def opacus_ghost(architecture: Architecture, data: Examples, batch: int, steps: int) -> Contender:
    x, y = torch.from_numpy(data.x[:batch]), torch.from_numpy(data.y[:batch])
    network = GradSampleModuleFastGradientClipping(
        Wrapped(fresh(architecture)), max_grad_norm=CLIP_NORM, use_ghost_clipping=True
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(network.parameters(), lr=LEARNING_RATE),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=batch,
    )
    criterion = DPLossFastGradientClipping(network, optimizer, torch.nn.CrossEntropyLoss())

    def step() -> None:
        optimizer.zero_grad()
        with torch.enable_grad():
            criterion(network(x), y).backward()
        optimizer.step()

    return repeated(step, steps)


class Wrapped(torch.nn.Module):
    """Opacus looks for layers inside of a plain module, not in one that is a dictionary of layers."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.network(x)
        return logits


if __name__ == "__main__":
    main()
