"""Reference models trained at once over reference models trained one by one, in the same process.

Run: ``python benchmarks/shadows.py``. A ratio above 1 says how many times faster training at once is. CPU time, so that
other work on the machine matters less.
"""

from __future__ import annotations

import os
import platform
import time

import numpy as np
import torch
from torch.nn import functional

from wardline.attacks import ReferenceRecipe, balanced_design
from wardline.core import Seeds
from wardline.dp import PlainConfig
from wardline.models import Architecture, Cnn, Logistic, Mlp, build, torch_generator, train_stack

REFERENCES = 16
SETTINGS: list[tuple[str, Architecture, int, PlainConfig]] = [
    ("logistic", Logistic(inputs=107, classes=2), 4000, PlainConfig(batch=128, epochs=5, learning_rate=3e-3)),
    ("mlp 64", Mlp(inputs=107, hidden=(64,), classes=2), 4000, PlainConfig(batch=128, epochs=5, learning_rate=3e-3)),
    (
        "mlp 784-64",
        Mlp(inputs=784, hidden=(64,), classes=10),
        2000,
        PlainConfig(batch=64, epochs=3, learning_rate=3e-3),
    ),
    (
        "cnn 8x8",
        Cnn(shape=(1, 8, 8), channels=(16, 32), hidden=32, classes=10),
        1000,
        PlainConfig(batch=64, epochs=3, learning_rate=1e-3),
    ),
    (
        "cnn 28x28",
        Cnn(shape=(1, 28, 28), channels=(8, 16), hidden=32, classes=10),
        300,
        PlainConfig(batch=32, epochs=1, learning_rate=1e-3),
    ),
]


def one_by_one(recipe: ReferenceRecipe, x: np.ndarray, y: np.ndarray, sets: np.ndarray) -> None:
    seeds = Seeds(0)
    training = recipe.training
    for index, rows in enumerate(sets):
        network = build(recipe.architecture, generator=torch_generator(seeds, f"reference.{index}.init"))
        optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=0.0, fused=True)
        order = seeds.numpy(f"reference.{index}.order")
        for _ in range(training.epochs):
            shuffled = rows[order.permutation(len(rows))]
            for batch in np.array_split(shuffled, -(-len(rows) // training.batch)):
                loss = functional.cross_entropy(network(torch.from_numpy(x[batch])), torch.from_numpy(y[batch]))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()


def main() -> None:
    print(f"python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads,", end=" ")
    print(f"{os.cpu_count()} cores; {REFERENCES} reference models; best of 3, CPU seconds")
    print(f"{'model':12} {'rows':>6} {'one by one':>11} {'at once':>9} {'ratio':>6}")
    for name, architecture, rows, training in SETTINGS:
        recipe = ReferenceRecipe(architecture=architecture, training=training, references=REFERENCES)
        generator = np.random.default_rng(0)
        x = generator.normal(size=(2 * rows, architecture.inputs)).astype(np.float32)
        y = generator.integers(architecture.classes, size=2 * rows)
        inside = balanced_design(2 * rows, REFERENCES, generator=generator)
        sets = np.stack([np.flatnonzero(flags) for flags in inside])
        alone, together = [], []
        for _ in range(3):
            began = time.process_time()
            one_by_one(recipe, x, y, sets)
            alone.append(time.process_time() - began)
            began = time.process_time()
            train_stack(architecture, training, x=x, y=y, sets=sets, seeds=Seeds(0))
            together.append(time.process_time() - began)
        ratio = min(alone) / min(together)
        print(f"{name:12} {rows:6} {min(alone):10.2f}s {min(together):8.2f}s {ratio:6.2f}")


if __name__ == "__main__":
    main()
