"""Private estimators beside scikit-learn without privacy and beside two private peers, as Markdown tables.

    python benchmarks/estimators.py [runs]

Data: Adult, default of credit cards, and income in the American Community Survey, from the folder that WARDLINE_DATA
names; a quarter of each is held out. The defaults of Wardline's estimators were chosen with an eye on the first two,
not on the third. Bounds and categories are public knowledge of the tables, not read from them. Every figure is a mean
over runs with fresh noise and its standard deviation, all at delta 1e-5 and on one thread.

The peers do not run beside a current scikit-learn. They are installed into `.wardline/peers`, an environment of their
own, and this file is run there once more, on the same arrays.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("WARDLINE_DATA", ROOT.parent / "shared" / "data"))
PEERS = ROOT / ".wardline" / "peers"
REQUIREMENTS = ("diffprivlib==0.6.6", "scikit-learn<1.6", "interpret-core==0.7.3")
EPSILONS, DELTA = (0.5, 1.0, 3.0), 1e-5
Arrays = dict[str, Any]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    tables = {"adult": adult(), "credit_default": credit_default(), "acs_income": acs_income()}
    peer_versions, peers = run_peers(tables, runs)
    import sklearn

    print(f"{platform.machine()}, one thread, {runs} runs; scikit-learn {sklearn.__version__}, {peer_versions}\n")
    for name, table in tables.items():
        y = table["test_y"]
        print(f"### {name}: {len(table['train_y'])} rows to train on, {table['codes'].shape[1]} features\n")
        print(f"Always the larger class: {max(y.mean(), 1 - y.mean()):.4f}.\n")
        print("| estimator | without privacy | " + " | ".join(f"epsilon {one:g}" for one in EPSILONS) + " | fit, s |")
        print("| --- | ---: |" + " ---: |" * (len(EPSILONS) + 1))
        for label, cells in [*ours(table, runs), *peers[name]]:
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
        print()


def ours(table: Arrays, runs: int) -> list[tuple[str, list[str]]]:
    """Rows of the table: scikit-learn's estimators and ours."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    from wardline.dp.estimators import DpBoostingClassifier, DpLogisticRegression

    low, high = table["indicator_bounds"]

    def scaled(x: np.ndarray) -> np.ndarray:
        return (np.clip(x, low, high) - low) / (high - low)

    linear = LogisticRegression(max_iter=5000)
    trees = HistGradientBoostingClassifier(categorical_features=table["categorical"])
    plain = [
        ("scikit-learn, LogisticRegression", linear, (scaled(table["train_x"]), scaled(table["test_x"]))),
        ("scikit-learn, HistGradientBoosting", trees, (table["train_codes"], table["test_codes"])),
    ]
    rows = []
    for label, model, (train, test) in plain:
        began = time.perf_counter()
        model.fit(train, table["train_y"])
        seconds = time.perf_counter() - began
        rows.append((label, [f"{model.score(test, table['test_y']):.4f}", *[""] * len(EPSILONS), f"{seconds:.2f}"]))
    shared = {"delta": DELTA}
    makers = {
        "**Wardline, DpLogisticRegression**": (
            lambda epsilon: DpLogisticRegression(epsilon=epsilon, **shared, bounds=table["indicator_bounds"]),
            "x",
        ),
        "Wardline, DpLogisticRegression, output": (
            lambda epsilon: DpLogisticRegression(
                epsilon=epsilon, **shared, bounds=table["indicator_bounds"], method="output"
            ),
            "x",
        ),
        "**Wardline, DpBoostingClassifier**": (
            lambda epsilon: DpBoostingClassifier(
                epsilon=epsilon,
                **shared,
                bounds=table["code_bounds"],
                categorical_features=list(table["categorical"]),
            ),
            "codes",
        ),
    }
    return rows + [(label, measured(make, table, kind, runs)) for label, (make, kind) in makers.items()]


def measured(make: Any, table: Arrays, kind: str, runs: int) -> list[str]:
    """Mean accuracy and its standard deviation over runs for each epsilon, and seconds for a fit."""
    cells, seconds = [""], []
    for epsilon in EPSILONS:
        scores = []
        for _ in range(runs):
            model = make(epsilon)
            began = time.perf_counter()
            model.fit(table[f"train_{kind}"], table["train_y"])
            seconds.append(time.perf_counter() - began)
            scores.append(float(np.mean(model.predict(table[f"test_{kind}"]) == table["test_y"])))
        cells.append(f"{np.mean(scores):.4f} ± {np.std(scores):.4f}")
    return [*cells, f"{np.median(seconds):.2f}"]


def run_peers(tables: dict[str, Arrays], runs: int) -> tuple[str, dict[str, list[tuple[str, list[str]]]]]:
    """Their rows, from a process in their environment, which is made first if it is not there."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, table in tables.items():
            np.savez(Path(folder) / f"{name}.npz", **table)
        done = subprocess.run(
            [str(python), __file__, "--peer", folder, str(runs)], check=True, capture_output=True, text=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return found["versions"], found["rows"]


def peer(folder: Path, runs: int) -> None:
    """What runs in the peers' environment: one line of JSON."""
    warnings.simplefilter("ignore")
    import diffprivlib
    import interpret
    from diffprivlib.models import LogisticRegression, RandomForestClassifier
    from interpret.privacy import DPExplainableBoostingClassifier

    rows: dict[str, list[tuple[str, list[str]]]] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as stored:
            table = {name: stored[name] for name in stored.files}
        low, high = table["indicator_bounds"]
        wide = (low != 0) | (high != 1)
        for part in ("train", "test"):
            scaled = (np.clip(table[f"{part}_x"], low, high) - low) / (high - low)
            table[f"{part}_scaled"] = np.where(wide, 2 * scaled - 1, scaled)
        kinds = [
            "nominal" if place in table["categorical"] else "continuous" for place in range(table["codes"].shape[1])
        ]
        low, high = table["code_bounds"]

        def linear(epsilon: float) -> Any:
            return LogisticRegression(epsilon=epsilon, data_norm=2.0, max_iter=2000)

        def forest(epsilon: float, low: Any = low, high: Any = high) -> Any:
            return RandomForestClassifier(epsilon=epsilon, bounds=(low, high), classes=[False, True], n_jobs=1)

        def machine(epsilon: float, kinds: Any = kinds, low: Any = low, high: Any = high) -> Any:
            return DPExplainableBoostingClassifier(
                epsilon=epsilon,
                delta=DELTA,
                feature_types=kinds,
                privacy_bounds=np.stack([low, high], axis=1),
                n_jobs=1,
            )

        rows[path.stem] = [
            ("diffprivlib, LogisticRegression (delta 0)", measured(linear, table, "scaled", runs)),
            ("diffprivlib, RandomForestClassifier (delta 0)", measured(forest, table, "codes", runs)),
            ("interpret, DP-EBM", measured(machine, table, "codes", runs)),
        ]
    versions = f"diffprivlib {diffprivlib.__version__}, interpret {interpret.__version__}"
    print(json.dumps({"versions": versions, "rows": rows}))


def adult() -> Arrays:
    """Census income above 50,000 dollars."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(DATA / "adult" / "train.parquet").to_pydict()
    numbers = {
        "age": (17, 90),
        "education_num": (1, 16),
        "capital_gain": (0, 20_000),
        "capital_loss": (0, 4_500),
        "hours_per_week": (1, 99),
    }
    names = ("workclass", "education", "marital_status", "occupation", "relationship", "race", "sex", "native_country")
    columns = [(np.array(table[name], dtype=float), ends, None) for name, ends in numbers.items()]
    for name in names:
        values, codes = np.unique(np.array(table[name]), return_inverse=True)
        columns.append((codes.astype(float), None, len(values)))
    return arrange(columns, np.array(table["income"]) == ">50K")


def credit_default() -> Arrays:
    """Default on a credit card, Taiwan 2005."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(DATA / "credit_default" / "train.parquet").to_pydict()
    categories = {"SEX": 3, "EDUCATION": 7, "MARRIAGE": 4}
    columns = []
    for name, values in table.items():
        if name in ("ID", "DEFAULT_NEXT_MONTH"):
            continue
        if name in categories:
            columns.append((np.array(values, dtype=float), None, categories[name]))
            continue
        ends = {"LIMIT_BAL": (0, 1_000_000), "AGE": (18, 80)}.get(name, (-2, 8))
        if name.startswith("PAY_AMT"):
            ends = (0, 100_000)
        elif name.startswith("BILL"):
            ends = (-20_000, 500_000)
        columns.append((np.array(values, dtype=float), ends, None))
    return arrange(columns, np.array(table["DEFAULT_NEXT_MONTH"]) == 1)


def acs_income() -> Arrays:
    """Personal income above 50,000 dollars."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(DATA / "acs_income" / "train.parquet").to_pydict()
    _, states = np.unique(np.array(table["stabbr"]), return_inverse=True)
    columns = [
        (np.array(table["agep"], dtype=float), (18, 97), None),
        (np.array(table["sporder"], dtype=float), (1, 20), None),
        (np.array(table["retp"], dtype=float), (0, 100_000), None),
        (np.array(table["ssp"], dtype=float), (0, 30_000), None),
        (np.array(table["intp"], dtype=float), (0, 50_000), None),
        (np.array(table["sex"], dtype=float) - 1, None, 2),
        (np.array(table["mar"], dtype=float) - 1, None, 5),
        (states.astype(float), None, int(states.max()) + 1),
    ]
    return arrange(columns, np.array(table["pincp"]) > 50_000)


def arrange(columns: list[tuple[np.ndarray, tuple[float, float] | None, int | None]], y: np.ndarray) -> Arrays:
    """The same features twice: categories as codes for trees, and as indicators for linear models."""
    indicators, wide, codes, narrow, categorical = [], [], [], [], []
    for values, ends, size in columns:
        if size is None:
            indicators.append(values)
            wide.append(ends)
            narrow.append(ends)
        else:
            indicators += list(np.eye(size)[values.astype(int)].T)
            wide += [(0, 1)] * size
            narrow.append((0, size - 1))
            categorical.append(len(codes))
        codes.append(values)
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(y))
    cut = len(y) * 3 // 4
    train, test = order[:cut], order[cut:]
    x, coded = np.stack(indicators, axis=1), np.stack(codes, axis=1)
    return {
        "train_x": x[train],
        "test_x": x[test],
        "train_codes": coded[train],
        "test_codes": coded[test],
        "codes": coded[:1],
        "train_y": y[train],
        "test_y": y[test],
        "indicator_bounds": np.array(wide, dtype=float).T,
        "code_bounds": np.array(narrow, dtype=float).T,
        "categorical": np.array(categorical),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
