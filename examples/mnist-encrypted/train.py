"""MNIST: a network of three layers whose activations are squares, so that it can be scored encrypted.

    python examples/mnist-encrypted/train.py results            # about a minute of one core
    python examples/mnist-encrypted/train.py results --epochs 2 # less
    python examples/mnist-encrypted/train.py results --half     # images of half the height and width

Writes the program (program.json, program.safetensors) and training.json into the folder. Needs the data sets
(WARDLINE_DATA, default ../shared/data). One thread.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wardline.core import JsonLinesProgress, Seeds, canonical_json, write_atomic
from wardline.he.compiler.friendly import FriendlySettings, friendly
from wardline.he.compiler.from_torch import read_torch
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.preparation import prepare
from wardline.he.compiler.quantised import Bits, quantise
from wardline.he.compiler.store import save_program
from wardline.models import torch_generator

CLASSES = tuple(str(digit) for digit in range(10))
HELD = 10_000
"""Images that judge, and that training does not see."""


def main() -> None:
    """Train, judge, save."""
    options = argparse.ArgumentParser(description="MNIST with squares for activations")
    options.add_argument("folder", type=Path, help="where the program is written")
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--half", action="store_true", help="a quarter of the pixels, and of the bytes")
    chosen = options.parse_args()
    seeds = Seeds(chosen.seed)
    x, y = images(Path(os.environ.get("WARDLINE_DATA", "../shared/data")) / "mnist" / "train.npz")
    x = halved(x) if chosen.half else x
    order = seeds.numpy("mnist.held").permutation(len(y))
    held, rows = order[:HELD], order[HELD:]
    began = time.process_time()
    model = friendly(
        network(seeds, half=chosen.half),
        x[rows],
        y[rows],
        settings=FriendlySettings(activation="square", epochs=chosen.epochs, learning_rate=3e-3, weight_decay=0.05),
        seeds=seeds,
        progress=JsonLinesProgress(sys.stderr),
    )
    seconds = time.process_time() - began
    program = simplify(read_torch(model, x.shape[1:], classes=CLASSES))
    save_program(program, chosen.folder)
    found = judged(program, model, x[rows], x[held], y[held])
    record = {
        "settings": {"epochs": chosen.epochs, "seed": chosen.seed, "held": HELD, "half": chosen.half},
        "cpu_seconds": round(seconds, 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()},
        **found,
    }
    write_atomic(chosen.folder / "training.json", canonical_json(record))
    print(f"{100 * found['accuracy']:.2f} % of {HELD} held-out images right, {seconds:.0f} CPU seconds")
    print(f"{100 * found['simulated_accuracy']:.2f} % in fixed-point numbers, {found['agreement'] * 100:.2f} % agree")


def images(path: Path) -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Images [rows, 1, 28, 28] from 0 to 1, and their digits."""
    with np.load(path) as found:
        return found["x"][:, None].astype(np.float32) / 255, found["y"].astype(np.int64)


def halved(x: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Images of half the height and width: means of two by two pixels."""
    rows, channels, height, width = x.shape
    return x.reshape(rows, channels, height // 2, 2, width // 2, 2).mean(axis=(3, 5))


def network(seeds: Seeds, *, half: bool = False) -> nn.Sequential:
    """The network before activations are swapped, its weights uniform within 1 / sqrt(inputs of the layer)."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5 if half else 7, stride=3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 if half else 256, 64),
        nn.ReLU(),
        nn.Linear(64, len(CLASSES)),
    )
    generator = torch_generator(seeds, "mnist.init")
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                bound = 1.0 / math.sqrt(layer.weight[0].numel())
                for parameter in layer.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)
    return model


def judged(
    program: Any, model: nn.Sequential, train: np.ndarray[Any, Any], x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]
) -> dict[str, Any]:
    """What the program gets right, in 64-bit numbers and in fixed-point ones, and how far both are from torch."""
    with torch.inference_mode():
        logits = model(torch.from_numpy(x)).numpy()
    plain = program.evaluate(x)
    bits = Bits(inputs=8, weights=10, scale=26)
    prepared = prepare(program, train[:2000], margin=0.0)
    decided = quantise(prepared.program, bits).evaluate(prepared.rows(x)[0]).argmax(axis=1)
    return {
        "accuracy": float((plain.argmax(axis=1) == y).mean()),
        "largest_difference_from_torch": float(np.abs(plain - logits).max()),
        "simulated_bits": {"inputs": bits.inputs, "weights": bits.weights, "scale": bits.scale},
        "simulated_accuracy": float((decided == y).mean()),
        "agreement": float((decided == plain.argmax(axis=1)).mean()),
        "levels": prepared.levels,
        "layers": [layer.name for layer in program.layers],
    }


if __name__ == "__main__":
    main()
