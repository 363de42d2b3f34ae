"""Card fraud on encrypted payments: trains a network, compiles, serves it in a process of its own, scores over gRPC.

    python examples/card-fraud-encrypted/run.py results

`WARDLINE_DATA` is the folder of the data sets. About a minute of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import nn

from wardline.core import Seeds
from wardline.he.compiled.compiling import compile_model
from wardline.he.compiled.folder import write_model
from wardline.he.compiler.friendly import FriendlySettings, friendly
from wardline.he.compiler.from_torch import read_torch
from wardline.he.compiler.layers import Affine
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Meaning, Program
from wardline.he.seal.bridge import SealLattice
from wardline.models import torch_generator
from wardline.serve import ScoringClient
from wardline.serve.scoring.trial import trial_service

HELD_OUT = 0.25
BASE_RATE = 492 / 284_807
"""Frauds among all payments of the two days; the data set holds all frauds and a sample of the others."""

CLASSES = ("normal", "fraud")


def load(path: Path, seeds: Seeds) -> tuple[np.ndarray, ...]:
    """Features and frauds to train on, and held out; payments that are repeated stay on one side."""
    table = pq.read_table(path)
    names = [name for name in table.column_names if name != "Class"]
    x = np.stack([table[name].to_numpy().astype(np.float64) for name in names], axis=1)
    y = table["Class"].to_numpy().astype(np.int64)
    _, group = np.unique(np.column_stack([x, y]), axis=0, return_inverse=True)
    order = seeds.numpy("card fraud split").permutation(int(group.max()) + 1)
    fraud = np.zeros(len(order), dtype=bool)
    fraud[group] = y == 1
    held_groups = np.zeros(len(order), dtype=bool)
    for kind in (False, True):  # as many of each side
        own = order[fraud[order] == kind]
        held_groups[own[: round(HELD_OUT * len(own))]] = True
    held = held_groups[group]
    return x[~held], y[~held], x[held], y[held], np.array(names)


def weights(y: np.ndarray) -> np.ndarray:
    """What makes frauds as rare as they are among all payments."""
    share = y.mean()
    return np.where(y == 1, BASE_RATE / share, (1 - BASE_RATE) / (1 - share))


def train(x: np.ndarray, y: np.ndarray, seeds: Seeds) -> tuple[Program, float]:
    """A network of two layers with a trained polynomial on scaled features, and one output, fraud against normal."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    generator = torch_generator(seeds, "card fraud weights")
    model = nn.Sequential(nn.Linear(x.shape[1], 24), nn.ReLU(), nn.Linear(24, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            bound = 1 / np.sqrt(parameter.shape[-1] if parameter.ndim > 1 else 24)
            parameter.uniform_(-bound, bound, generator=generator)
    settings = FriendlySettings(activation="polynomial", epochs=20, learning_rate=1e-2, weight_decay=0.02)
    start = time.process_time()
    tuned = friendly(model, (x - mean) / scale, y, settings=settings, seeds=seeds)
    seconds = time.process_time() - start
    read = read_torch(tuned, (x.shape[1],))
    first = Affine(weights=np.diag(1 / scale), offset=-mean / scale, name="scaling")
    last = Affine(weights=np.array([[-1.0, 1.0]]), offset=np.zeros(1), name="fraud against normal")
    layers = (first, *read.layers, last)
    program = replace(read, layers=layers, meaning=Meaning(gives="decision", classes=CLASSES, link="sigmoid"))
    return simplify(program), seconds


def best_threshold(scores: np.ndarray, y: np.ndarray) -> float:
    """Where precision and recall are best together (F1), at the true base rate."""
    precision, recall, at = precision_recall_curve(y, scores, sample_weight=weights(y))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(at[np.argmax(f1[:-1])])


def judged(decided: np.ndarray, scores: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Figures at the true base rate."""
    weight = weights(y)
    caught = decided & (y == 1)
    return {
        "average_precision": float(average_precision_score(y, scores, sample_weight=weight)),
        "precision": float(weight[caught].sum() / max(weight[decided].sum(), 1e-300)),
        "recall": float(caught.sum() / (y == 1).sum()),
    }


def main() -> None:
    """Train, compile, serve, score, compare."""
    parser = argparse.ArgumentParser(description="card fraud on encrypted payments")
    parser.add_argument("out", type=Path, help="folder for figures.json")
    parser.add_argument("--rows", type=int, help="payments to score; all that are held out without it")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    seeds = Seeds(chosen.seed)
    x, y, held_x, held_y, names = load(Path(os.environ["WARDLINE_DATA"]) / "card_fraud" / "train.parquet", seeds)
    # A few payments are far from all others. What lies beyond these ends is set to them, by the client as in training.
    low, high = np.quantile(x, (0.001, 0.999), axis=0)
    x = np.clip(x, low, high)
    program, cpu_seconds = train(x, y, seeds)
    threshold = best_threshold(program.evaluate(x)[:, 0], y)
    program = replace(program, meaning=replace(program.meaning, threshold=threshold))
    compiled = compile_model(program, x, features=names.tolist(), margin=0.0)
    plan = compiled.public.plan
    print(f"{plan.explain()}\n{compiled.fidelity}\n")
    rows, truth = held_x[: chosen.rows], held_y[: chosen.rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", compiled.public, compiled.weights)
        with (
            trial_service(folder / "model", folder / "service", rows=2 * compiled.public.charged(len(rows))) as service,
            service.connect("client") as connection,
        ):
            client = ScoringClient(connection, SealLattice.generate(plan.parameters))
            client.score(rows[:1])  # what is needed once: keys, session, kernels
            before = connection.frame_bytes
            start = time.perf_counter()
            scores = client.score(rows)
            seconds = time.perf_counter() - start
            sent, answered = (now - then for now, then in zip(connection.frame_bytes, before, strict=True))
    plain = program.evaluate(np.clip(rows, low, high))
    decided, plainly = (program.meaning.decide(one).astype(bool) for one in (scores, plain))
    linear = LogisticRegression(C=0.1, max_iter=2000).fit((x - x.mean(axis=0)) / x.std(axis=0), y)
    beside = linear.decision_function((np.clip(rows, low, high) - x.mean(axis=0)) / x.std(axis=0))
    figures: dict[str, Any] = {
        "rows": len(rows),
        "frauds": int(truth.sum()),
        "rows_charged": compiled.public.charged(len(rows)),
        "rows_with_equal_decisions": int((decided == plainly).sum()),
        "agreement": float((decided == plainly).mean()),
        "encrypted": judged(decided, scores[:, 0], truth),
        "plain": judged(plainly, plain[:, 0], truth),
        "average_precision_of_a_logistic_regression": float(
            average_precision_score(truth, beside, sample_weight=weights(truth))
        ),
        "threshold": threshold,
        "error": float(np.sqrt(((scores - plain) ** 2).mean())),
        "predicted_error": plan.error,
        "largest_error": float(np.abs(scores - plain).max()),
        "worst_error_of_the_plan": plan.worst,
        "rows_clipped": client.outside(rows),
        "bytes_up_a_row": sent / len(rows),
        "bytes_down_a_row": answered / len(rows),
        "seconds": seconds,
        "training_cpu_seconds": cpu_seconds,
    }
    print(json.dumps(figures, indent=2))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
