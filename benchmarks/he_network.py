"""A network of three layers on encrypted images: agreement, time and bytes, with and without protection of the weights.

    python examples/mnist-encrypted/train.py results
    python benchmarks/he_network.py results --images 4096
    python benchmarks/he_network.py --random            # a network that was never trained, and images of noise

Times are CPU seconds of this process with one thread (set OMP_NUM_THREADS=1), everything compiled before. A batch of
the protected network has room for 8192 images, one of the other for 4096; a batch that is not full takes as long, so
times for an image are given for full batches. `he_threads.py` measures a second thread, `he_cnn_peers.py` other
libraries, and `he_batches.py` memory and fewer images at a time.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from wardline.core import Seeds
from wardline.he.ciphertext import Ciphertext
from wardline.he.compiler.convolution import convolve
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.compiler.store import load_program
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network
from wardline.he.network.evaluation import replies, unsafe_replies
from wardline.he.network.rows import decrypt_outputs, encrypt_rows
from wardline.he.seal.bridge import SealLattice

HELD = 10_000
CALIBRATION = 2000


def main() -> None:
    """Measure, and print Markdown."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?", help="what examples/mnist-encrypted/train.py wrote")
    options.add_argument("--random", action="store_true", help="an untrained network on noise")
    options.add_argument("--images", type=int, default=4096)
    options.add_argument("--only", choices=("protected", "unprotected"))
    chosen = options.parse_args()
    if chosen.random or chosen.folder is None:
        generator = np.random.default_rng(0)
        program, sample, x = untrained(), generator.random((CALIBRATION, 784)), generator.random((chosen.images, 784))
        y = None
    else:
        program = load_program(chosen.folder)
        sample, x, y = images(chosen.images)
    print(f"numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} CPUs; {len(x)} images\n")
    warm_up()
    for kind in ("unprotected", "protected"):
        if chosen.only in (None, kind):
            measure(kind, program, sample, x, y)


def images(count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Training images to calibrate on, and held-out ones with their digits, as the example splits them."""
    with np.load(Path(os.environ.get("WARDLINE_DATA", "../shared/data")) / "mnist" / "train.npz") as found:
        x, y = found["x"].reshape(-1, 784) / 255.0, found["y"].astype(np.int64)
    order = Seeds(0).numpy("mnist.held").permutation(len(y))
    held, rows = order[:HELD][:count], order[HELD:][:CALIBRATION]
    return x[rows], x[held], y[held]


def untrained() -> Program:
    """The example's network with random weights."""
    generator = np.random.default_rng(1)
    square = (0.0, 0.0, 1.0)
    return Program(
        input_shape=(1, 28, 28),
        layers=(
            convolve(
                generator.normal(size=(4, 1, 7, 7)) / 7,
                generator.normal(size=4),
                input_shape=(1, 28, 28),
                stride=(3, 3),
            ),
            Polynomial(coefficients=square, units=256, interval=(-4.0, 4.0)),
            Affine(weights=generator.normal(size=(64, 256)) / 16, offset=generator.normal(size=64)),
            Polynomial(coefficients=square, units=64, interval=(-4.0, 4.0)),
            Affine(weights=generator.normal(size=(10, 64)) / 8, offset=generator.normal(size=10)),
        ),
        meaning=Meaning.usual("logits", 10),
    )


def warm_up() -> None:
    """Compile what is compiled, on a network of a few numbers."""
    generator = np.random.default_rng(2)
    program = Program(
        input_shape=(3,),
        layers=(
            Affine(weights=generator.normal(size=(20, 3)), offset=np.ones(20)),
            Polynomial(coefficients=(0.0, 0.0, 1.0), units=20, interval=(-4.0, 4.0)),
            Affine(weights=generator.normal(size=(20, 20)), offset=np.ones(20)),
        ),
        meaning=Meaning(gives="values"),
    )
    rows = generator.normal(size=(100, 3))
    plan, secret = plan_network(program, rows)
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys(relinearisation=True))
    (columns,) = encrypt_rows(lattice, plan, rows)
    replies(columns, keys, plan=plan, secret=secret)


def measure(
    kind: str,
    program: Program,
    sample: np.ndarray[Any, Any],
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any] | None,
) -> None:
    """One plan, all images, one table."""
    choose = plan_network if kind == "protected" else unsafe_plan_unprotected_network
    plan, secret = choose(program, sample)
    print(f"## {kind}\n\n```\n{plan.explain()}\n```\n", flush=True)
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys(relinearisation=True))
    spent = {"encrypt": 0.0, "server": 0.0, "decrypt": 0.0}

    def serve(columns: Any) -> tuple[Ciphertext, ...]:
        if kind == "protected":
            return replies(columns, keys, plan=plan, secret=secret)
        return unsafe_replies(columns, keys, plan=plan, secret=secret)

    answers = []
    batches = math.ceil(len(x) / plan.rows)
    clock = time.process_time()
    for columns in encrypt_rows(lattice, plan, x):
        spent["encrypt"] += time.process_time() - clock
        clock = time.process_time()
        answers.append(serve(columns))
        spent["server"] += time.process_time() - clock
        clock = time.process_time()
    outputs = decrypt_outputs(lattice, plan, answers, rows=len(x))
    spent["decrypt"] += time.process_time() - clock
    plain = program.evaluate(x)
    decided, right = outputs.argmax(axis=1), plain.argmax(axis=1)
    room = batches * plan.rows
    lines = [
        ("decisions that agree with the plain network", f"{100 * (decided == right).mean():.2f} % of {len(x)}"),
        ("error of an output, predicted", f"{plan.error:.3g}"),
        ("error of an output, measured", f"{np.sqrt(((outputs - plain) ** 2).mean(axis=0)).max():.3g}"),
        ("server, CPU s a batch", f"{spent['server'] / batches:.2f}"),
        ("server, CPU ms an image, batch full", f"{1000 * spent['server'] / room:.3f}"),
        ("client, encrypt, CPU ms an image, batch full", f"{1000 * spent['encrypt'] / room:.3f}"),
        ("client, decrypt, CPU ms an image, batch full", f"{1000 * spent['decrypt'] / room:.4f}"),
        ("upload, bytes an image, batch full", f"{plan.upload_bytes / plan.rows:.0f}"),
        ("reply, bytes an image, batch full", f"{plan.reply_bytes / plan.rows:.0f}"),
        ("server memory by the formula, MiB", f"{plan.memory_bytes() / 2**20:.0f}"),
        (
            "largest memory of this process so far, MiB",
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f}",
        ),
    ]
    if y is not None:
        lines.append(("accuracy, plain", f"{100 * (right == y).mean():.2f} %"))
        lines.append(("accuracy, encrypted", f"{100 * (decided == y).mean():.2f} %"))
    print(f"| {kind} | |\n| --- | ---: |")
    for name, value in lines:
        print(f"| {name} | {value} |")
    print(flush=True)


if __name__ == "__main__":
    main()
