"""Synthetic Adult rows beside a peer's and beside real ones, as a Markdown table.

    python benchmarks/synthetic.py [--peer PYTHON] [--repeats N]

A quarter of the rows is held out; the rest is synthesised at epsilon 1 and 3, delta 1e-6. Figures: mean total variation
of single columns and of pairs to the held-out rows (at most 20 cells a column), accuracy on held-out rows of gradient
boosting that learnt from the synthetic ones, CPU seconds of learning and drawing on one thread. `--peer` names the
interpreter of an environment of its own with dpmm 0.1.9 (`pip install dpmm`; it pins NumPy 1.26), which is given the
same rows, the same public domain and the same budget, a tenth of it for its private bins as is its default.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

EPSILONS, DELTA, METHODS = (1.0, 3.0), 1e-6, ("mst", "aim")
PEER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import pandas as pd
from dpmm.pipelines.aim import AIMPipeline
from dpmm.pipelines.mst import MSTPipeline
real, made, method, epsilon, delta, domain = sys.argv[1:]
domain = json.loads(domain)
rows = pd.read_csv(real, keep_default_na=False)
for name, one in domain.items():
    if "categories" in one:
        rows[name] = rows[name].astype(pd.CategoricalDtype(one["categories"]))
pipeline = {"aim": AIMPipeline, "mst": MSTPipeline}[method](
    epsilon=0.9 * float(epsilon), delta=float(delta), proc_epsilon=0.1 * float(epsilon), n_jobs=1
)
began = time.process_time()
pipeline.fit(rows, domain=domain)
drawn = pipeline.generate(n_records=len(rows))
print(time.process_time() - began)
for name, one in domain.items():
    drawn[name] = drawn[name].astype(str) if "categories" in one else drawn[name].round().astype("int64")
drawn.to_csv(made, index=False)
"""


def main() -> None:
    given = argparse.ArgumentParser()
    given.add_argument("--peer", type=Path)
    given.add_argument("--repeats", type=int, default=3)
    asked = given.parse_args()

    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq
    from ruamel.yaml import YAML

    from wardline.core import SecureRandom, Seeds
    from wardline.data import Contract, Encoder, enforce, read_table
    from wardline.dp.synthetic import Domain, plan_synthesis
    from wardline.dp.synthetic.comparison import classified, distances
    from wardline.dp.synthetic.synthesis import learn
    from wardline.policy import recipe

    data = Path(os.environ.get("WARDLINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    contract = Contract.from_policy(YAML(typ="safe").load(recipe("adult-income"))["data"])
    table = enforce(contract, pq.read_table(data / "adult" / "train.parquet"))
    order = Seeds(0).numpy("benchmark.split").permutation(table.num_rows)
    held, real = table.take(order[: len(order) // 4]), table.take(order[len(order) // 4 :])
    domain, encoder = Domain.of(contract, cells=20), Encoder(contract)
    test, cells = encoder.encode(held), domain.encode(held)

    def judged(rows: pa.Table) -> tuple[float, float, float]:
        columns = domain.encode(rows)
        variation = [np.mean(list(distances(domain, columns, cells, ways=ways).values())) for ways in (1, 2)]
        accuracy = classified(encoder.encode(rows), test, seeds=Seeds(0)).mean()
        return float(variation[0]), float(variation[1]), float(accuracy)

    def ours(method: str, epsilon: float) -> tuple[pa.Table, float]:
        plan = plan_synthesis(contract, epsilon=epsilon, delta=DELTA, method=method)
        random = SecureRandom()
        began = time.process_time()
        model = learn(plan, real, random=random)
        drawn = model.sample(round(model.total), random=random)
        return drawn, time.process_time() - began

    def theirs(method: str, epsilon: float) -> tuple[pa.Table, float]:
        public = {
            one.name: {"categories": list(one.values)}
            if one.kind == "category"
            else {"lower": int(one.low or 0), "upper": int(one.high or 0)}
            for one in contract.columns
            if one.kind != "ignore"
        }
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / name) for name in ("real.csv", "made.csv")]
            pacsv.write_csv(real, paths[0])
            words = [str(asked.peer), "-c", PEER, *paths, method, str(epsilon), str(DELTA), json.dumps(public)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"the peer failed:\n{done.stderr}")
            made = read_table(Path(paths[1])).select(real.column_names)
            return enforce(contract, made, to_learn=False), float(done.stdout.split()[-1])

    print(f"{platform.machine()}, Python {platform.python_version()}, one thread, median of {asked.repeats}\n")
    print("| rows | epsilon | single columns | pairs | accuracy | CPU s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    print("| real | | {:.4f} | {:.4f} | {:.4f} | |".format(*judged(real)), flush=True)
    makers = {"Wardline": ours} | ({"dpmm": theirs} if asked.peer else {})
    for epsilon in EPSILONS:
        for method in METHODS:
            for name, make in makers.items():
                runs = []
                for _ in range(asked.repeats):
                    made, seconds = make(method, epsilon)
                    runs.append((*judged(made), seconds))
                figures = [statistics.median(one) for one in zip(*runs, strict=True)]
                print(
                    "| {} {} | {:g} | {:.4f} | {:.4f} | {:.4f} | {:.1f} |".format(name, method, epsilon, *figures),
                    flush=True,
                )


if __name__ == "__main__":
    sys.exit(main())
