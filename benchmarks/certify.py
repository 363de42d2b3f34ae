"""What a certificate by randomised smoothing costs, in predictions of the same network one at a time.

Run: ``python benchmarks/certify.py [repeats]``. One thread, processor time, medians. "Forward" is the floor of any
implementation that calls the network: 10,000 noisy copies in the batches that are fastest, without noise and counting.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from evasion import cifar_resnet, mnist_cnn, mnist_mlp
from torch import nn

from wardline.models import Cnn, Logistic, Mlp, build
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.smoothing import SmoothedClassifier

DRAWS = 10_000
Shape = tuple[int, ...]


def median(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return float(np.median(times))


def confident(net: nn.Module) -> nn.Module:
    """The same network with a last bias that one class always wins: no certificate ends early."""
    with torch.no_grad():
        [part for part in net.modules() if isinstance(part, nn.Linear)][-1].bias[0] += 1e3
    return net.eval()


def forward(net: nn.Module, shape: Shape) -> Callable[[], object]:
    rows = torch.rand(64 if any(isinstance(part, nn.Conv2d) for part in net.modules()) else 512, *shape)
    fast = net.to(memory_format=torch.channels_last)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(DRAWS // len(rows)):
                fast(rows)

    return work


def main() -> None:
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"python {platform.python_version()}, torch {torch.__version__}, 1 thread; n = {DRAWS:,}, in predictions")
    cases: list[tuple[str, nn.Module, Shape]] = [
        ("logistic 30", build(Logistic(inputs=30, classes=2)), (30,)),
        ("MLP 107-64-2", build(Mlp(inputs=107, hidden=(64,), classes=2)), (107,)),
        ("MLP 784-128-10", build(Mlp(inputs=784, hidden=(128,), classes=10)), (784,)),
        ("MLP 784-256-256-10", mnist_mlp(), (1, 28, 28)),
        ("CNN 8x8, 16-32-32-10", build(Cnn(shape=(1, 8, 8), channels=(16, 32), hidden=32, classes=10)), (64,)),
        ("CNN 28x28, tanh", build(Cnn(shape=(1, 28, 28), channels=(16, 32), hidden=32, classes=10)), (784,)),
        ("CNN 28x28, ReLU", mnist_cnn(), (1, 28, 28)),
        ("ResNet 32x32", cifar_resnet(), (3, 32, 32)),
    ]
    print(f"{'network':22} {'one, us':>8} {'certify':>8} {'forward':>8} {'radius sigma is enough':>23}")
    for name, net, shape in cases:
        confident(net)
        x = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
        smoothed = SmoothedClassifier(net, classes=_classes(net, x), sigma=0.25)
        plain = TorchPredictor(net, classes=_classes(net, x))
        smoothed.certify(x, draws=500)
        single, whole, floor, short = [], [], [], []
        run = forward(net, shape)
        for _ in range(repeats):  # side by side, so that other work on the machine meets all of them
            single.append(median(lambda plain=plain, x=x: plain.answer(x), 200))
            whole.append(median(lambda smoothed=smoothed, x=x: smoothed.certify(x, draws=DRAWS), 1))
            floor.append(median(run, 1))
            short.append(median(lambda smoothed=smoothed, x=x: smoothed.certify(x, draws=DRAWS, enough=0.25), 3))
        one = float(np.median(single))
        parts = [float(np.median(part)) / one for part in (whole, floor, short)]
        print(f"{name:22} {one * 1e6:8.0f} {parts[0]:8.0f} {parts[1]:8.0f} {parts[2]:23.0f}")


def _classes(net: nn.Module, x: np.ndarray) -> int:
    with torch.no_grad():
        return int(net(torch.from_numpy(x)).shape[1])


if __name__ == "__main__":
    main()
