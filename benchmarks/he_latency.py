"""Latency of one encrypted row of a network, by diagonals: time, bytes and memory, with and without protection.

    python examples/mnist-encrypted/train.py results
    python benchmarks/he_latency.py results --images 100
    python benchmarks/he_latency.py --random              # a network that was never trained, and images of noise
    python benchmarks/he_latency.py --trials 200          # random small networks: noise against its prediction

Times are medians over the images, of CPU seconds of this process with one thread (set OMP_NUM_THREADS=1) and of wall
time, everything compiled before and a client's keys made ready before (which is timed by itself: it is done once for a
client). The server's time includes drawing out the second parts of the client's ciphertexts and all protection.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from he_network import CALIBRATION, images, untrained

from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.compiler.store import load_program
from wardline.he.diagonal.choice import plan_diagonal, unsafe_plan_unprotected_diagonal
from wardline.he.diagonal.evaluation import replies, unsafe_replies
from wardline.he.diagonal.keys import gathered
from wardline.he.diagonal.rows import decrypt_outputs, encrypt_rows, unsafe_raw_outputs
from wardline.he.seal.bridge import SealLattice

Floats = np.ndarray[Any, Any]


def main() -> None:
    """Measure, and print Markdown."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?", help="what examples/mnist-encrypted/train.py wrote")
    options.add_argument("--random", action="store_true", help="an untrained network on noise")
    options.add_argument("--images", type=int, default=20)
    options.add_argument("--only", choices=("protected", "unprotected"))
    options.add_argument("--threads", type=int, default=1, help="also the wall time of so many against one")
    options.add_argument("--trials", type=int, help="random small networks in place of images")
    chosen = options.parse_args()
    print(f"numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} CPUs\n")
    if chosen.trials:
        trials(chosen.trials)
        return
    y = None
    if chosen.random or chosen.folder is None:
        generator = np.random.default_rng(0)
        program, sample, x = untrained(), generator.random((CALIBRATION, 784)), generator.random((chosen.images, 784))
    else:
        program = load_program(chosen.folder)
        sample, x, y = images(chosen.images)
    for kind in ("unprotected", "protected"):
        if chosen.only in (None, kind):
            measure(kind, program, sample, x, y, threads=chosen.threads)


def measure(kind: str, program: Program, sample: Floats, x: Floats, y: Floats | None, *, threads: int) -> None:
    """One plan, all images, one table."""
    choose = plan_diagonal if kind == "protected" else unsafe_plan_unprotected_diagonal
    spent, (plan, secret) = clock(lambda: choose(program, sample))
    print(f"## {kind}\n\n```\n{plan.explain()}\n```\n", flush=True)
    lattice = SealLattice.generate(plan.parameters)
    made, seeded = clock(lambda: lattice.evaluation_keys(relinearisation=plan.relinearises, steps=plan.steps))
    readied, ready = clock(lambda: gathered(plan, seeded))
    answer: Callable[..., Any] = replies if kind == "protected" else unsafe_replies
    answer(next(iter(encrypt_rows(lattice, plan, x))), ready, plan=plan, secret=secret)  # compiles
    times: dict[str, list[tuple[float, float]]] = {"encrypt": [], "server": [], "decrypt": []}
    outputs = np.empty((len(x), plan.outputs))
    for row in range(len(x)):
        one = x[row : row + 1]
        encrypting, (columns,) = clock(lambda one=one: list(encrypt_rows(lattice, plan, one)))
        serving, reply = clock(lambda columns=columns: answer(columns, ready, plan=plan, secret=secret))
        decrypting, outputs[row] = clock(lambda reply=reply: decrypt_outputs(lattice, plan, [reply], rows=1)[0])
        for name, found in (("encrypt", encrypting), ("server", serving), ("decrypt", decrypting)):
            times[name].append(found)
    walls = {
        count: min(
            clock(lambda count=count: answer(columns, ready, plan=plan, secret=secret, threads=count))[0][1]
            for _ in range(10)
        )
        for count in (1, threads)
    }
    tracemalloc.start()
    answer(columns, ready, plan=plan, secret=secret)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    plain = program.evaluate(x)
    decided, right = outputs.argmax(axis=1), plain.argmax(axis=1)
    lines = [
        ("decisions that agree with the plain network", f"{100 * (decided == right).mean():.2f} % of {len(x)}"),
        ("error of an output, predicted", f"{plan.error:.3g}"),
        ("error of an output, measured", f"{np.sqrt(((outputs - plain) ** 2).mean(axis=0)).max():.3g}"),
    ]
    for name, found in times.items():
        cpu, wall = np.median(np.array(found), axis=0) * 1000
        lines.append((f"{name}, ms a row: CPU (wall)", f"{cpu:.1f} ({wall:.1f})"))
    lines += [
        ("upload, bytes a row", f"{plan.upload_bytes:,}"),
        ("reply, bytes a row", f"{plan.reply_bytes:,}"),
        ("keys, once, MiB", f"{plan.keys_bytes / 2**20:.0f}"),
        ("keys: made by the client, CPU s", f"{made[0]:.1f}"),
        ("keys: drawn out and made ready by the server, CPU s", f"{readied[0]:.2f}"),
        ("server memory for a row, MiB: formula (measured)", f"{plan.memory_bytes() / 2**20:.0f} ({peak / 2**20:.0f})"),
        ("server memory for weights, MiB", f"{plan.plaintexts_bytes / 2**20:.0f}"),
        ("server memory for a client's keys, MiB", f"{plan.gathered_keys_bytes / 2**20:.0f}"),
        ("plan, CPU s", f"{spent[0]:.1f}"),
        (
            "largest memory of this process so far, MiB",
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f}",
        ),
    ]
    if threads > 1:
        lines.append((f"wall time of one thread over {threads}, best of ten", f"{walls[1] / walls[threads]:.2f}"))
    if y is not None:
        lines.append(("accuracy, plain", f"{100 * (right == y).mean():.2f} %"))
        lines.append(("accuracy, encrypted", f"{100 * (decided == y).mean():.2f} %"))
    print(f"| {kind} | |\n| --- | ---: |")
    for name, value in lines:
        print(f"| {name} | {value} |")
    print(flush=True)


def clock(work: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """CPU and wall seconds of some work, and what it gives."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return (time.process_time() - cpu, time.perf_counter() - wall), found


def trials(count: int) -> None:
    """Random networks of up to two squares, one row each: noise over its prediction and its bound."""
    generator = np.random.default_rng(0)
    shares: dict[int, list[float]] = {0: [], 1: [], 2: []}
    errors: list[float] = []
    farthest = worst = 0.0
    for _ in range(count):
        squares = int(generator.integers(0, 3))
        widths = [int(one) for one in generator.integers(1, 13, squares + 2)]
        layers: list[Affine | Polynomial] = []
        for index in range(squares + 1):
            inputs, outputs = widths[index : index + 2]
            weights = generator.normal(size=(outputs, inputs)) / inputs
            layers.append(Affine(weights=weights, offset=generator.normal(size=outputs)))
            if index < squares:
                powers = (generator.normal(), generator.normal(), generator.choice([-1, 1]) * generator.uniform(0.3, 1))
                layers.append(Polynomial(coefficients=powers, units=outputs, interval=(-4.0, 4.0)))
        program = Program(input_shape=(widths[0],), layers=tuple(layers), meaning=Meaning(gives="values"))
        sample = generator.normal(size=(300, widths[0]))
        plan, secret = unsafe_plan_unprotected_diagonal(program, sample)
        lattice = SealLattice.generate(plan.parameters)
        keys = gathered(plan, lattice.evaluation_keys(relinearisation=plan.relinearises, steps=plan.steps))
        (columns,) = encrypt_rows(lattice, plan, sample[:1])
        reply = unsafe_replies(columns, keys, plan=plan, secret=secret)
        noise = unsafe_raw_outputs(lattice, plan, [reply], rows=1) - secret.simulate(sample[:1], plan)
        off = decrypt_outputs(lattice, plan, [reply], rows=1) - program.evaluate(sample[:1])
        shares[squares].extend((noise / plan.layers[-1].error).ravel().tolist())
        errors.extend((off / plan.error).ravel().tolist())
        farthest = max(farthest, float(np.abs(noise).max()) / plan.layers[-1].bound)
        worst = max(worst, float(np.abs(off).max()) / plan.worst)
    print(f"| {count} random networks | numbers | root mean square over prediction |\n| --- | ---: | ---: |")
    for squares, found in shares.items():
        if found:
            print(f"| noise, {squares} squares | {len(found)} | {math.sqrt(np.mean(np.square(found))):.2f} |")
    print(f"| error of outputs | {len(errors)} | {math.sqrt(np.mean(np.square(errors))):.2f} |")
    print(f"\nLargest noise over its bound: {farthest:.3f}; largest error over its bound: {worst:.3f}.")


if __name__ == "__main__":
    main()
