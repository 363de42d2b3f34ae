"""MNIST at epsilon 3 with the settings that `default_config` derives, on 6,000 of the 60,000 training images held out.

    python benchmarks/mnist.py            # one run, a quarter of an hour on one core
    python benchmarks/mnist.py --runs 3   # fresh noise, coins and initial weights each time

Needs the data sets (WARDLINE_DATA, default ../shared/data). The test images are not used.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from wardline.core import SecureRandom, Seeds
from wardline.data import Examples
from wardline.dp import default_config, train_dp, training_claim
from wardline.models import Cnn, one_thread, parameter_count

EPSILON, DELTA = 3.0, 1e-5
HELD_OUT = 6000
MEAN, STANDARD_DEVIATION = 0.1307, 0.3081  # of MNIST, published: looking at these rows would cost epsilon
ARCHITECTURE = Cnn(shape=(1, 28, 28), channels=(16, 32, 32), hidden=32, classes=10)


def main() -> None:
    options = argparse.ArgumentParser(description="MNIST at epsilon 3")
    options.add_argument("--runs", type=int, default=1)
    runs = options.parse_args().runs
    path = Path(os.environ.get("WARDLINE_DATA", "../shared/data")) / "mnist" / "train.npz"
    if not path.exists():
        print(f"no data at {path}: nothing measured")
        return
    train, held_out = split(path)
    config = default_config(n_units=len(train), epsilon=EPSILON, delta=DELTA, architecture=ARCHITECTURE)
    print(f"{len(train)} images to train on, {len(held_out)} held out, {parameter_count(ARCHITECTURE)} parameters")
    print(config)
    print(f"accounted epsilon: {training_claim(config, n_units=len(train)).parameters['epsilon_accounted']:.4f}")
    print("\n| run | accuracy | minutes |\n| ---: | ---: | ---: |")
    for run in range(runs):
        began = time.perf_counter()
        with one_thread():
            model = train_dp(ARCHITECTURE, train, config=config, random=SecureRandom(), seeds=Seeds(run))
        minutes = (time.perf_counter() - began) / 60
        print(f"| {run} | {(model.predict(held_out.x) == held_out.y).mean():.4f} | {minutes:.1f} |", flush=True)


def split(path: Path) -> tuple[Examples, Examples]:
    """Rows to train on and rows held out, by a permutation that anybody can repeat."""
    with np.load(path) as file:
        images, classes = file["x"], file["y"].astype(np.int64)
    x = (images.reshape(len(images), -1).astype(np.float32) / 255 - MEAN) / STANDARD_DEVIATION
    whole = Examples(
        x=x.astype(np.float32),
        y=classes,
        unit=np.arange(len(x)),
        features=tuple(f"pixel{index}" for index in range(x.shape[1])),
        classes=tuple(map(str, range(10))),
    )
    order = Seeds(0).numpy("mnist.split").permutation(len(x))
    return whole.take(order[HELD_OUT:]), whole.take(order[:HELD_OUT])


if __name__ == "__main__":
    main()
