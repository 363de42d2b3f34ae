"""What a second thread gains for encrypted models: wall time of one thread over that of two, the same work.

    OMP_NUM_THREADS=1 python benchmarks/he_threads.py results    # a folder of examples/mnist-encrypted/train.py
    OMP_NUM_THREADS=1 python benchmarks/he_threads.py            # an untrained network of the same shape

Turns alternate between one thread and two, and each figure is the median of the turns' ratios, with the least and the
largest of them. Turns during which other processes took processor time do not count. Batches of a linear model take
milliseconds each; several of them are shared out among the threads, a batch each, and batches one after the other, each
on all threads, are shown beside it. `--keep-memory` tells glibc to keep what is freed, as the environment variables
MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ do: threads then do not wait for each other's page faults.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from he_network import CALIBRATION, images, untrained

from wardline.he.compiler.store import load_program
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.linear.evaluation import scores
from wardline.he.linear.plan import plan_linear
from wardline.he.linear.rows import encrypt_rows as encrypt_linear
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network
from wardline.he.network.evaluation import replies, unsafe_replies
from wardline.he.network.rows import encrypt_rows
from wardline.he.seal.bridge import SealLattice

FEATURES = 20
BATCHES = 256
MOST_FOREIGN = 0.03
"""A turn counts if other processes took less than this share of one processor meanwhile."""
MOST_SECONDS = 120.0
"""For a line, if turns are disturbed: then it says so, and shows no figure."""


def ratios(name: str, work: Callable[[int], object], *, threads: int, turns: int) -> None:
    """Print how much faster `work(threads)` is than `work(1)`, over turns that nobody disturbed."""
    work(1), work(threads)
    found, alone, disturbed = [], [], 0
    limit = time.monotonic() + MOST_SECONDS
    while len(found) < turns and time.monotonic() < limit:
        walls, busy = {}, 0.0
        for count in (1, threads):
            before, began, used = machine_seconds(), time.perf_counter(), time.process_time()
            work(count)
            walls[count] = time.perf_counter() - began
            busy += max(machine_seconds() - before - (time.process_time() - used), 0.0)
        if busy > MOST_FOREIGN * sum(walls.values()) + 0.02:  # the system counts in hundredths of a second
            disturbed += 1
            continue
        found.append(walls[1] / walls[threads])
        alone.append(walls[1])
    if not found:
        print(f"| {name} | | no turn undisturbed of {disturbed} | | |", flush=True)
        return
    print(
        f"| {name} | {1e3 * float(np.median(alone)):.4g} | {np.median(found):.2f} | {min(found):.2f} to "
        f"{max(found):.2f} | {len(found)} of {len(found) + disturbed} |",
        flush=True,
    )


def machine_seconds() -> float:
    """Processor time that all processes of this machine have taken."""
    user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def linear(threads: int, turns: int) -> None:
    """One batch, and several."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4096, FEATURES))
    weights, bias = generator.normal(size=(1, FEATURES)), generator.normal(size=1)
    plan, secret = plan_linear(weights, bias, low=x.min(0), high=x.max(0), sample=x)
    lattice = SealLattice.generate(plan.parameters)
    public = expand_keys(lattice.evaluation_keys()).public
    (columns,) = encrypt_linear(lattice, plan, x)

    def one(count: int) -> None:
        for _ in range(BATCHES):
            scores(columns, public, plan=plan, secret=secret, threads=count)

    def several(count: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            jobs = [pool.submit(scores, columns, public, plan=plan, secret=secret) for _ in range(BATCHES)]
            for job in jobs:
                job.result()

    ratios(f"linear, {BATCHES} batches of 4096 x {FEATURES}, each on all threads", one, threads=threads, turns=turns)
    ratios(f"linear, {BATCHES} batches of 4096 x {FEATURES}, a thread each", several, threads=threads, turns=turns)


def network(program: Any, sample: Any, x: Any, *, threads: int, turns: int) -> None:
    """A batch of the network, protected and not."""
    for kind, choose in (("protected", plan_network), ("not protected", unsafe_plan_unprotected_network)):
        plan, secret = choose(program, sample)
        lattice = SealLattice.generate(plan.parameters)
        keys = expand_keys(lattice.evaluation_keys(relinearisation=True))
        (columns,) = encrypt_rows(lattice, plan, x[: plan.rows])
        serve: Any = replies if kind == "protected" else unsafe_replies

        def work(count: int, serve: Any = serve, given: Any = (columns, keys, plan, secret)) -> None:
            columns, keys, plan, secret = given
            serve(columns, keys, plan=plan, secret=secret, threads=count)

        ratios(f"network, {kind}, a batch of {plan.rows}", work, threads=threads, turns=turns)


def main() -> None:
    """Measure, and print Markdown."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?", help="what examples/mnist-encrypted/train.py wrote")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--turns", type=int, default=7)
    options.add_argument("--only", choices=("linear", "network"))
    options.add_argument("--keep-memory", action="store_true")
    chosen = options.parse_args()
    if chosen.keep_memory:
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            ctypes.CDLL(None).mallopt(parameter, value)
    load = os.getloadavg()[0]
    print(f"numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f} before\n")
    print(f"| | one thread, ms | one over {chosen.threads}, median | least to largest | turns undisturbed |")
    print("| --- | ---: | ---: | ---: | ---: |")
    if chosen.only != "network":
        linear(chosen.threads, chosen.turns)
    if chosen.only != "linear":
        generator = np.random.default_rng(0)
        if chosen.folder is None:
            program, sample, x = untrained(), generator.random((CALIBRATION, 784)), generator.random((4096, 784))
        else:
            program = load_program(chosen.folder)
            sample, x, _ = images(4096)
        network(program, sample, x, threads=chosen.threads, turns=chosen.turns)


if __name__ == "__main__":
    main()
