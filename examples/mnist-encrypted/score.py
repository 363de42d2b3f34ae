"""MNIST on encrypted images: compiles the network that train.py saved, serves it, scores held-out images over gRPC.

    python examples/mnist-encrypted/score.py results            # 8,192 images
    python examples/mnist-encrypted/score.py results --images 12 --single # one image at a time, with little delay

Writes results/figures.json. `WARDLINE_DATA` is the folder of the data sets. The service is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from wardline.core import Seeds
from wardline.he.compiled.compiling import compile_model, compile_single
from wardline.he.compiled.folder import write_model
from wardline.he.compiler.store import load_program
from wardline.he.seal.bridge import SealLattice
from wardline.serve import ScoringClient
from wardline.serve.scoring.trial import trial_service

HELD = 10_000
"""Images that training did not see; see train.py."""

SAMPLE = 3_000
"""Training images that give the ranges."""


def images(path: Path, seed: int, *, half: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images held out [10,000, pixels], their digits, and a sample of the others; whole, or of half the height."""
    with np.load(path) as found:
        x, y = found["x"].astype(np.float64) / 255, found["y"].astype(np.int64)
    if half:
        x = x.reshape(len(x), 14, 2, 14, 2).mean(axis=(2, 4))
    x = x.reshape(len(x), -1)
    order = Seeds(seed).numpy("mnist.held").permutation(len(y))
    return x[order[:HELD]], y[order[:HELD]], x[order[HELD : HELD + SAMPLE]]


def peak_bytes(process: int) -> int:
    """The most memory that a process had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Compile, serve, score, compare."""
    parser = argparse.ArgumentParser(description="MNIST on encrypted images")
    parser.add_argument("folder", type=Path, help="where train.py wrote its program")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0, help="that of training")
    parser.add_argument("--single", action="store_true", help="one image at a time")
    parser.add_argument("--threads", type=int, default=1, help="of the service")
    chosen = parser.parse_args()
    program = load_program(chosen.folder)
    half = program.input_shape == (1, 14, 14)
    x, y, sample = images(Path(os.environ["WARDLINE_DATA"]) / "mnist" / "train.npz", chosen.seed, half=half)
    x, y = x[: chosen.images], y[: chosen.images]
    start = time.perf_counter()
    compiled = (compile_single if chosen.single else compile_model)(program, sample)
    compile_seconds = time.perf_counter() - start
    plan = compiled.public.plan
    print(f"{plan.explain()}\n{compiled.fidelity}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", compiled.public, compiled.weights)
        charged = compiled.public.charged(len(x))
        options = ("--threads", str(chosen.threads))
        with (
            trial_service(folder / "model", folder / "service", rows=charged, options=options) as service,
            service.connect("client", seconds=500) as connection,
        ):
            start = time.perf_counter()
            client = ScoringClient(connection, SealLattice.generate(plan.parameters))
            connection.rows_left(client.keys)
            setup_seconds = time.perf_counter() - start
            start = time.perf_counter()
            scores = client.score(x)
            seconds = time.perf_counter() - start
            sent, answered = connection.frame_bytes
            peak = peak_bytes(service.process)
    plain = program.evaluate(x)
    decided = program.meaning.decide(scores)
    figures = {
        "images": len(x),
        "rows_charged": charged,
        "accuracy": float((decided == y).mean()),
        "plain_accuracy": float((program.decide(x) == y).mean()),
        "agreement": float((decided == program.decide(x)).mean()),
        "error": float(np.sqrt(((scores - plain) ** 2).mean())),
        "predicted_error": plan.error,
        "largest_error": float(np.abs(scores - plain).max()),
        "worst_error_of_the_plan": plan.worst,
        "images_clipped": compiled.public.outside(x),
        "bytes_up_an_image": sent / len(x),
        "bytes_down_an_image": answered / len(x),
        "seconds": seconds,
        "setup_seconds": setup_seconds,
        "compile_seconds": compile_seconds,
        "server_peak_bytes": peak,
    }
    print(json.dumps(figures, indent=2))
    (chosen.folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
