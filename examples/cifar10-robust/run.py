"""CIFAR-10 at 8/255: an undefended network and three defended ones, each attacked by AutoAttack.

    python examples/cifar10-robust/run.py results            # everything, one method after the other
    python examples/cifar10-robust/run.py results --only pgd # one method
    python examples/cifar10-robust/run.py results --share 0.2  # a fifth of the epochs

What is there already is not done again: a method that was trained is only attacked, one that was attacked is only
shown. Needs the data sets (WARDLINE_DATA, default ../shared/data) and Pillow. One thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images import SHAPE, load

from wardline.attacks.evasion.autoattack import AutoAttack
from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import JsonLinesProgress, Seeds, canonical_json, write_atomic
from wardline.data import Examples
from wardline.models import TrainedModel, one_thread, parameter_count
from wardline.models import load as load_model
from wardline.models import save as save_model
from wardline.models.architecture import ResNet
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball
from wardline.robust.training.config import Augmentation, Checks, Fit, Method, RobustConfig, Search
from wardline.robust.training.loop import train_robust

RADIUS = 8 / 255
NETWORK = ResNet(shape=SHAPE, channels=(32, 64, 128), blocks=(1, 1, 1), classes=10, stride=2)
EPOCHS: dict[Method, int] = {"plain": 20, "fgsm-rs": 28, "pgd": 21, "trades": 11}
"""So many as one thread of the machine named in the README does in less than half an hour."""


def main() -> None:
    """Train, attack, tell."""
    options = argparse.ArgumentParser(description="CIFAR-10 at 8/255")
    options.add_argument("folder", type=Path, help="where models and results are")
    options.add_argument("--only", choices=list(EPOCHS), help="one method")
    options.add_argument("--share", type=float, default=1.0, help="of the epochs, above 0")
    options.add_argument("--attacked", type=int, default=500, help="images that AutoAttack is tried on")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    train, judge = load(Path(os.environ.get("WARDLINE_DATA", "../shared/data")) / "cifar10")
    print(f"{len(train)} images to train on, {len(judge)} to judge by, {parameter_count(NETWORK)} parameters")
    results = []
    with one_thread():
        for method in [chosen.only] if chosen.only else EPOCHS:
            config = settings(method, share=chosen.share)
            folder = chosen.folder / f"{method}-{config.fit.epochs}-{chosen.seed}"
            model, training = trained(folder, train, config, seed=chosen.seed)
            results.append({**training, **attacked(folder, model, judge, count=chosen.attacked, seed=chosen.seed)})
            print(line(results[-1]), flush=True)
    print("\n" + table(results))


def settings(method: Method, *, share: float) -> RobustConfig:
    """What a method is trained with."""
    return RobustConfig(
        method=method,
        ball=Ball(norm="linf", radius=RADIUS),
        search=Search(steps=1, step=1.25 * RADIUS) if method == "fgsm-rs" else Search(steps=3, step=RADIUS / 2),
        fit=Fit(
            batch=128,
            epochs=max(1, round(share * EPOCHS[method])),
            learning_rate=0.003,
            average=0.995,
            precision="bfloat16",
        ),
        checks=Checks(rows=500),
        augmentation=Augmentation(shape=SHAPE, mirror=True, shift=4),
        strength=6.0 if method == "trades" else 0.0,
    )


def trained(folder: Path, train: Examples, config: RobustConfig, *, seed: int) -> tuple[TrainedModel, dict[str, Any]]:
    """The model of this folder, trained if it is not there, and the record of its training."""
    path = folder / "training.json"
    wanted = json.loads(canonical_json(dataclasses.asdict(config)))
    if path.exists():
        record = json.loads(path.read_text())
        if record["training"]["config"] != wanted:
            raise SystemExit(f"{folder} was trained with other settings: name another folder")
        return load_model(folder), record
    model, training = train_robust(
        NETWORK, train, config=config, seeds=Seeds(seed), progress=JsonLinesProgress(sys.stderr)
    )
    save_model(model, folder)
    record = {
        "training": training.to_json(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()},
    }
    write_atomic(path, canonical_json(record))
    return model, json.loads(path.read_text())


def attacked(folder: Path, model: TrainedModel, judge: Examples, *, count: int, seed: int) -> dict[str, Any]:
    """Accuracy on all images to judge by, and what the attacks leave of it on some."""
    path = folder / f"attacks-{count}.json"
    if not path.exists():
        right = model.predict(judge.x) == judge.y
        some = np.sort(Seeds(seed).numpy("attacked").permutation(len(judge))[:count])
        data = Labelled(x=judge.x[some].reshape(count, *SHAPE), y=judge.y[some])
        ball = Ball(norm="linf", radius=RADIUS)
        found: dict[str, Any] = {"accuracy": share(int(right.sum()), len(right))}
        found["accuracy_of_attacked"] = share(int(right[some].sum()), count)
        for name, attack in (
            ("pgd", Pgd(ball=ball, steps=50, restarts=5)),
            ("autoattack", AutoAttack(ball=ball)),
        ):
            began = time.process_time()
            target = Target(TorchPredictor.of(model), InputSpec(shape=SHAPE))
            result = attack.run(target, data, Budget(batch=250), seed)
            withstood = int(right[some].sum()) - round((result.rate or 0.0) * result.n)
            found[name] = {
                "robust": share(withstood, count),
                "result": result.to_json(),
                "cpu_seconds": time.process_time() - began,
            }
        write_atomic(path, canonical_json(found))
    return json.loads(path.read_text())


def share(count: int, whole: int) -> dict[str, Any]:
    """A share with its exact interval."""
    interval = clopper_pearson(count, whole)
    return {"count": count, "of": whole, "share": count / whole, "low": interval.low, "high": interval.high}


def line(found: dict[str, Any]) -> str:
    """One row of the table."""
    training = found["training"]
    cells = [
        training["config"]["method"],
        f"{training['looks'][training['chosen']]['epoch']:g} of {training['config']['fit']['epochs']}",
        f"{training['cpu_seconds'] / 60:.1f}",
        *(
            f"{100 * one['share']:.1f} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
            for one in (found["accuracy"], found["pgd"]["robust"], found["autoattack"]["robust"])
        ),
    ]
    return f"| {' | '.join(cells)} |"


def table(results: list[dict[str, Any]]) -> str:
    """All rows, in Markdown."""
    head = ["training", "epoch", "CPU minutes", "accuracy %", "under PGD-50, 5 restarts %", "under AutoAttack %"]
    return "\n".join(
        (f"| {' | '.join(head)} |", "| --- | --- | ---: | ---: | ---: | ---: |", *(line(one) for one in results))
    )


if __name__ == "__main__":
    main()
