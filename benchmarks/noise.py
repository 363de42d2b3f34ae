"""What secure noise costs for each number, beside its peers, as Markdown tables.

    python benchmarks/noise.py

All contenders run in one process on one thread, in turns; figures are medians of CPU time. `torch.randn` is torch's
generator, seeded with 64 bits and no CSPRNG: what training without secure noise would take. "Box and Muller" is the
method that Wardline used before, from the same keystream. OpenDP draws the same whole-number distributions exactly.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import opendp.prelude as opendp
import torch

from wardline.core import SecureRandom
from wardline.dp import noisy_sum
from wardline.dp.mechanisms import discrete_gaussian, discrete_laplace, exponential, geometric_partitions

ROUNDS = 25
SIZES = (216, 7_042, 203_530, 1_000_000)  # the first three: parameters of the models in benchmarks/dpsgd.py


def main() -> None:
    torch.set_num_threads(1)
    opendp.enable_features("contrib")
    print(f"numpy {np.__version__}, torch {torch.__version__}, opendp {_version()}, {platform.machine()}, one thread\n")
    gaussian()
    sums()
    whole_numbers()
    choices()


def gaussian() -> None:
    random = SecureRandom()
    print("| standard normal numbers | SecureRandom, ns each | Box and Muller | torch.randn |")
    print("| ---: | ---: | ---: | ---: |")
    for size in SIZES:
        contenders = (
            lambda n=size: random.gaussian(n),
            lambda n=size: box_muller(n, random),
            lambda n=size: torch.randn(n),
        )
        print(f"| {size:,} | {row(contenders, size)} |", flush=True)


def sums() -> None:
    random = SecureRandom()
    print("\n| numbers of a gradient sum | noisy_sum, ns each | sum + torch.randn |")
    print("| ---: | ---: | ---: |")
    for size in SIZES:
        total = torch.linspace(-1, 1, size, dtype=torch.float64)

        def secure(total: torch.Tensor = total) -> object:
            return noisy_sum({"": total}, noise_multiplier=1.1, clip_norm=1.0, random=random)

        def plain(total: torch.Tensor = total) -> object:
            return (total + 1.1 * torch.randn(len(total))).float()

        print(f"| {size:,} | {row((secure, plain), size)} |", flush=True)


def whole_numbers() -> None:
    random = SecureRandom()
    count, peers_count = 200_000, 5_000
    print("\n| distribution | scale | Wardline, ns each | OpenDP, ns each | OpenDP over Wardline |")
    print("| --- | ---: | ---: | ---: | ---: |")
    space = opendp.vector_domain(opendp.atom_domain(T=int))
    kinds = (
        (
            "discrete Laplace",
            lambda n, s: discrete_laplace(n, scale=s, random=random),
            opendp.m.make_laplace,
            opendp.l1_distance(T=int),
        ),
        (
            "discrete Gaussian",
            lambda n, s: discrete_gaussian(n, sigma=s, random=random),
            opendp.m.make_gaussian,
            opendp.l2_distance(T=float),
        ),
    )
    for name, draw, make, metric in kinds:
        for scale in (1.0, 10.0, 1000.0, 1e9):
            peer, zeros = make(space, metric, scale=scale), [0] * peers_count
            ours, theirs = medians((lambda d=draw, s=scale: d(count, s), lambda p=peer, z=zeros: p(z)))
            ours, theirs = ours / count, theirs / peers_count
            print(f"| {name} | {scale:g} | {1e9 * ours:.1f} | {1e9 * theirs:.0f} | {theirs / ours:.0f} |", flush=True)


def choices() -> None:
    random = SecureRandom()
    print("\n| mechanism | size | microseconds a call |")
    print("| --- | ---: | ---: |")
    for size in (10, 1_000, 1_000_000):
        scores, counts = np.arange(size) % 100, np.arange(size) % 50
        (seconds,) = medians((lambda s=scores: exponential(s, epsilon=1.0, sensitivity=1, random=random),))
        print(f"| exponential | {size:,} | {1e6 * seconds:.0f} |", flush=True)
        (seconds,) = medians((lambda c=counts: geometric_partitions(c, epsilon=1.0, delta=1e-6, random=random),))
        print(f"| geometric_partitions | {size:,} | {1e6 * seconds:.0f} |", flush=True)


def box_muller(count: int, random: SecureRandom) -> np.ndarray:
    """Two draws each, added: how `SecureRandom.gaussian` was made before."""
    pairs = (count + 1) // 2
    total = np.zeros(2 * pairs)
    for _ in range(2):
        radius = np.sqrt(-2.0 * np.log(random.uniform(pairs)))
        angle = (2.0 * np.pi) * random.uniform(pairs)
        total[:pairs] += radius * np.cos(angle)
        total[pairs:] += radius * np.sin(angle)
    return (total * np.sqrt(0.5))[:count]


def row(contenders: tuple[Callable[[], object], ...], size: int) -> str:
    return " | ".join(f"{1e9 * seconds / size:.1f}" for seconds in medians(contenders, repeat=max(1, 200_000 // size)))


def medians(contenders: tuple[Callable[[], object], ...], repeat: int = 1) -> list[float]:
    """Median CPU seconds of each, taken in turns so that a disturbance meets all of them.

    Small calls are repeated within a turn: numbers in stock are made in blocks, which must not fall between turns.
    """
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(ROUNDS + 2):
        for found, run in zip(seconds, contenders, strict=True):
            began = time.process_time()
            for _ in range(repeat):
                run()
            found.append((time.process_time() - began) / repeat)
    return [statistics.median(found[2:]) for found in seconds]  # the first two warm up


def _version() -> str:
    from importlib.metadata import version

    return version("opendp")


if __name__ == "__main__":
    main()
