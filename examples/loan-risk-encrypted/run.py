"""Loan risk scored on encrypted applications: trains, compiles, serves in a process of its own, scores over gRPC.

    python examples/loan-risk-encrypted/run.py results

`WARDLINE_DATA` is the folder of the data sets.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from wardline.core import Seeds
from wardline.he.compiled.compiling import compile_model
from wardline.he.compiled.folder import write_model
from wardline.he.seal.bridge import SealLattice
from wardline.serve import ScoringClient
from wardline.serve.scoring.trial import trial_service

SETS = {"german_credit": ("credit_class", 2, ()), "credit_default": ("DEFAULT_NEXT_MONTH", 1, ("ID",))}
"""The column to predict, the value that stands for a bad risk, and columns that are no features."""

HELD_OUT = 0.25


def load(root: Path, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features [rows, features] as numbers, bad risks [rows], and names; a category becomes a column for each value."""
    target, bad, ignored = SETS[name]
    table = pq.read_table(root / name / "train.parquet")
    columns: list[np.ndarray] = []
    names: list[str] = []
    for column in table.column_names:
        if column in (target, *ignored):
            continue
        values = table[column].to_numpy()
        if values.dtype == object:
            for value in sorted(set(values)):
                columns.append((values == value).astype(np.float64))
                names.append(f"{column} {value}")
        else:
            columns.append(values.astype(np.float64))
            names.append(column)
    return np.stack(columns, axis=1), table[target].to_numpy() == bad, names


def fit(x: np.ndarray, y: np.ndarray) -> Pipeline:
    """A logistic regression behind a scaler."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(x, y)


def score(root: Path, name: str, folder: Path) -> dict[str, Any]:
    """Everything for one data set; returns the figures."""
    x, bad, names = load(root, name)
    order = Seeds(0).numpy(f"split of {name}").permutation(len(x))
    cut = int(len(x) * (1 - HELD_OUT))
    train, held = order[:cut], order[cut:]
    model = fit(x[train], bad[train])
    compiled = compile_model(model, x[train], features=names)
    write_model(folder / "model", compiled.public, compiled.weights)
    plan = compiled.public.plan
    print(f"## {name}\n\n{plan.explain()}\n{compiled.fidelity}\n")
    with (
        trial_service(folder / "model", folder / "service", rows=len(x) + 1) as service,
        service.connect("client") as connection,
    ):
        start = time.perf_counter()
        client = ScoringClient(connection, SealLattice.generate(plan.parameters))
        client.score(x[:1])  # what is needed once: keys, session, kernels
        setup_seconds = time.perf_counter() - start
        before = connection.frame_bytes
        start = time.perf_counter()
        scores = client.score(x)
        seconds = time.perf_counter() - start
        sent, answered = (now - then for now, then in zip(connection.frame_bytes, before, strict=True))
    plain = model.decision_function(x)[:, None]
    decided = compiled.public.meaning.decide(scores).astype(bool)
    within = (np.abs(x - plan.centre) <= plan.half_width * (1 + 1e-9)).all(axis=1)
    return {
        "rows": len(x),
        "features": plan.inputs,
        "rows_with_equal_decisions": int((decided == (plain[:, 0] > 0)).sum()),
        "agreement": float((decided == (plain[:, 0] > 0)).mean()),
        "accuracy_held_out": float((decided[held] == bad[held]).mean()),
        "plain_accuracy_held_out": float(((plain[:, 0] > 0)[held] == bad[held]).mean()),
        "rows_clipped": client.outside(x),
        "largest_error_within_ranges": float(np.abs(scores - plain)[within].max()),
        "worst_error_of_the_plan": plan.worst + plan.step / 2,
        "bytes_up_a_row": sent / len(x),
        "bytes_up_a_row_of_full_ciphertexts": sent / (compiled.public.batches(len(x)) * plan.rows),
        "bytes_down_a_row": answered / len(x),
        "seconds": seconds,
        "setup_seconds": setup_seconds,
    }


def main() -> None:
    """Score both sets and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for figures.json")
    parser.add_argument("--only", choices=sorted(SETS), help="one data set")
    arguments = parser.parse_args()
    root = Path(os.environ["WARDLINE_DATA"])
    figures = {}
    for name in [arguments.only] if arguments.only else SETS:
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = score(root, name, Path(folder))
        print(json.dumps(figures[name], indent=2), "\n")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
