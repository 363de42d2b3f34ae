"""Poisons against defences on MNIST: success rates, what each defence finds, and what is left after cleaning.

Run: ``python benchmarks/backdoors.py attacks``, ``... clean-models`` or ``... partitions``. MNIST is read from
``WARDLINE_DATA`` (``mnist/train.npz``). Each takes a few minutes on one core.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

from wardline.attacks.backdoors.clean_label import CleanLabel
from wardline.attacks.backdoors.poisons import LabelFlips, Poison, Poisoned, Stamped
from wardline.attacks.backdoors.triggers import Blend, Patch
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.roc import roc_curve
from wardline.core import Seeds
from wardline.models import Cnn, Logistic
from wardline.models.learner import NetworkLearner
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.sanitise.clustering import activation_clusters
from wardline.robust.sanitise.influence import influence_on, self_influence
from wardline.robust.sanitise.neighbours import neighbour_disagreement
from wardline.robust.sanitise.partitions import certified_accuracy, train_partitions
from wardline.robust.sanitise.spectral import spectral_signatures
from wardline.robust.sanitise.strip import strip_monitor
from wardline.robust.sanitise.trigger_search import TriggerSearch, neural_cleanse

DATA = Path(os.environ.get("WARDLINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
ARCHITECTURE = Cnn(shape=(1, 28, 28), channels=(8, 16), hidden=32, classes=10)
LEARNER = NetworkLearner(architecture=ARCHITECTURE, epochs=6, batch=32, learning_rate=5e-3)
SEARCH = TriggerSearch(steps=200, batch=16)
TRAIN, SPARE, TEST = slice(0, 5000), slice(5000, 6000), slice(6000, 8000)


def attacks() -> None:
    x, y = _mnist()
    test = Labelled(x=x[TEST], y=y[TEST])
    twin = LEARNER(x[TRAIN], y[TRAIN], seeds=Seeds(0))
    print(f"twin: accuracy {_accuracy(twin, test):.3f}")
    poisons: dict[str, Poison] = {
        "patch": Stamped(),
        "patch, 1 %": Stamped(share=0.01),
        "blend 0.2": Stamped(trigger=Blend()),
        "blend 0.4": Stamped(trigger=Blend(ratio=0.4)),
        "source 1": Stamped(sources=(1,), share=0.3),
        "large patch": Stamped(trigger=Patch(size=14)),
        "clean label": CleanLabel(surrogate=twin.network()),
        "label flips": LabelFlips(),
    }
    for name, poison in poisons.items():
        began = time.perf_counter()
        made = poison.poison(x[TRAIN], y[TRAIN], seeds=Seeds(1))
        checkpoints = LEARNER.checkpoints(made.x, made.y, seeds=Seeds(0))
        model = checkpoints[-1].predictor
        rows = np.flatnonzero(made.y != y[TRAIN])
        rows = rows if len(rows) else made.rows
        trials = poison.trials(test)
        goal = -1 if trials.goal is None else trials.goal
        told = model.answer(trials.x).argmax(axis=1)
        rate, of_itself = (told == goal).mean(), (twin.answer(trials.x).argmax(axis=1) == goal).mean()
        print(f"\n{name}: {len(made.rows)} rows, accuracy {_accuracy(model, test):.3f}, ", end="")
        print(f"success {rate:.3f} (twin {of_itself:.3f})")
        print(f"  k-NN {_auc(neighbour_disagreement(made.x, made.y).scores, rows):.3f}, ", end="")
        print(f"self-influence {_auc(self_influence(checkpoints, made.x, made.y).scores, rows):.3f}")
        if goal < 0:
            continue
        _monitor(model, trials.x[told == goal], x)
        _training_rows(model, made, rows, goal)
        suspects = trials.x[told == goal][:5]
        if len(suspects):
            ranking = influence_on(
                checkpoints, made.x, made.y, suspects=suspects, predicted=np.full(len(suspects), goal)
            )
            quality = ranking.quality(rows)
            kept = ranking.keep(2 * len(rows))
            again = LEARNER(made.x[kept], made.y[kept], seeds=Seeds(0))
            left = (again.answer(trials.x).argmax(axis=1) == goal).mean()
            print(f"  influence {quality.auc:.3f}, precision {quality.precision:.3f}; after taking out ", end="")
            print(f"{len(made.y) - len(kept)} rows: success {left:.3f}, accuracy {_accuracy(again, test):.3f}")
        scan = neural_cleanse(model, x[SPARE][:500], seeds=Seeds(2), search=SEARCH)
        print(f"  Neural Cleanse: {scan}; p = {scan.p_value:.4f}; {time.perf_counter() - began:.0f} s in all")


def clean_models() -> None:
    x, y = _mnist()
    test = Labelled(x=x[TEST], y=y[TEST])
    for seed in range(10):
        model = LEARNER(x[TRAIN], y[TRAIN], seeds=Seeds(100 + seed))
        began = time.perf_counter()
        scan = neural_cleanse(model, x[SPARE][:500], seeds=Seeds(seed), search=SEARCH)
        print(f"{seed}: accuracy {_accuracy(model, test):.3f}, {scan}, index {max(scan.indices):.2f}, ", end="")
        print(f"p = {scan.p_value:.3f}, {time.perf_counter() - began:.1f} s")


def partitions() -> None:
    x, y = _mnist()
    test = Labelled(x=x[TEST], y=y[TEST])
    learner = NetworkLearner(architecture=Logistic(inputs=784, classes=10), epochs=10, batch=16, learning_rate=5e-3)
    poison = Stamped(share=0.01)
    made = poison.poison(x[TRAIN], y[TRAIN], seeds=Seeds(1))
    trials = poison.trials(test)
    for parts in (1, 20, 50, 100):
        began = time.perf_counter()
        clean = train_partitions(learner, x[TRAIN], y[TRAIN], parts=parts, classes=10, seeds=Seeds(0))
        poisoned = train_partitions(learner, made.x, made.y, parts=parts, classes=10, seeds=Seeds(0))
        curve = certified_accuracy(clean.certify(test.x), test.y, sizes=[0, 1, 5, 10, 15, 20, 30])
        rate = float((poisoned.answer(trials.x) == 0).mean())
        print(
            f"{parts} parts: certified accuracy {[round(one, 3) for one in curve]} at 0, 1, 5, 10, 15, 20, 30; ", end=""
        )
        print(f"success of {len(made.rows)} patched rows {rate:.3f}; {time.perf_counter() - began:.0f} s")


def _monitor(model: TorchPredictor, triggered: np.ndarray, x: np.ndarray) -> None:
    if not len(triggered):
        return
    monitor = strip_monitor(model, overlays=x[SPARE][:30], calibration=x[SPARE][30:], false_alarm_rate=0.05)
    hit, clean = monitor.scores(triggered[:300]), monitor.scores(x[TEST][:500])
    caught, false = monitor.flags(triggered[:300]).mean(), monitor.flags(x[TEST][:500]).mean()
    print(f"  STRIP area {roc_curve(hit, clean).auc:.3f}, caught {caught:.3f} at {false:.3f} false alarms")


def _training_rows(model: TorchPredictor, made: Poisoned, rows: np.ndarray, goal: int) -> None:
    signatures = spectral_signatures(model, made.x, made.y).scores
    inside = np.flatnonzero(made.y == goal)
    area = _auc(signatures[inside], np.flatnonzero(np.isin(inside, rows)))
    splits = activation_clusters(model, made.x, made.y, seeds=Seeds(0))
    place = [split.label for split in splits].index(goal) + 1
    split = splits[place - 1]
    found = np.isin(split.smaller_rows, rows).mean()
    print(
        f"  spectral signatures inside the class {area:.3f}; activation clustering ranks the class {place} of 10",
        end="",
    )
    print(f" (silhouette {split.silhouette:.2f}, first {splits[0].label} with {splits[0].silhouette:.2f}; ", end="")
    print(f"{found:.2f} of its smaller group poisoned)")


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    print(f"python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with np.load(DATA / "mnist" / "train.npz") as data:
        return (data["x"][: TEST.stop, None] / 255).astype(np.float32), data["y"][: TEST.stop].astype(np.int64)


def _accuracy(model: TorchPredictor, test: Labelled) -> float:
    return float((model.answer(test.x).argmax(axis=1) == test.y).mean())


def _auc(scores: np.ndarray, rows: np.ndarray) -> float:
    inside = np.zeros(len(scores), dtype=bool)
    inside[rows] = True
    return roc_curve(scores[inside], scores[~inside]).auc


if __name__ == "__main__":
    {"attacks": attacks, "clean-models": clean_models, "partitions": partitions}[sys.argv[1]]()
