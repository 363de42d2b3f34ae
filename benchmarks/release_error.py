"""How far the example releases are from the truth. For their authors alone: the truth is private.

    WARDLINE_DATA=... python benchmarks/release_error.py

Nothing is charged and nothing is written; a release on purpose never reports this.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np

from wardline.core import SecureRandom
from wardline.dp.queries import collect
from wardline.dp.releases.tabulate import published_table
from wardline.plan.resolve_release import resolve_release
from wardline.policy.release_loader import load_release

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("WARDLINE_DATA", ROOT.parent / "shared" / "data"))
RELEASES = 400


def told(name: str, errors: np.ndarray, cells: str) -> None:
    """Print quantiles over groups of the median error over releases."""
    each = np.median(errors, axis=0)
    print(f"{name}: median {np.median(each):.1%}, mean {each.mean():.1%}, worst {each.max():.1%} ({cells})")


def income() -> None:
    """Average income of each state."""
    source = DATA / "acs_income" / "train.parquet"
    plan = resolve_release(load_release(ROOT / "examples/acs-income/release.yaml"), data=str(source)).plan
    rows = duckdb.read_parquet(str(source)).aggregate("stabbr, avg(pincp) AS mean, count(*) AS n").fetchall()
    truth = {state: (mean, n) for state, mean, n in rows}
    means, counts, covered = [], [], []
    collected = collect(plan.query)
    used = collected.groups.statistics
    for _ in range(RELEASES):
        table = published_table(plan, plan.query, collected, SecureRandom()).to_pylist()
        means.append([abs(row["income"] / truth[row["stabbr"]][0] - 1) for row in table])
        counts.append([abs(row["count"] / truth[row["stabbr"]][1] - 1) for row in table])
        covered.append(
            [row["count_low"] <= n <= row["count_high"] for row, n in zip(table, used["rows"].values, strict=True)]
        )
    told("income by state, against the mean of all rows as they are", np.array(means), f"{len(truth)} states")
    told("number of adults by state", np.array(counts), f"{len(truth)} states")
    print(f"  intervals of the counts that cover the count of the rows used: {np.mean(covered):.1%}")


def routes() -> None:
    """Routes by grid cell."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "routes.parquet"
        sys.path.insert(0, str(ROOT / "examples/geolife-routes"))
        from routes import main  # the example's own script

        main(str(DATA / "geolife" / "train.parquet"), str(target))
        for name in ("release.yaml", "coarse.yaml"):
            plan = resolve_release(load_release(ROOT / "examples/geolife-routes" / name), data=str(target)).plan
            collected = collect(plan.query)
            exact = collected.groups.statistics["rows"].values
            tables = (published_table(plan, plan.query, collected, SecureRandom()) for _ in range(RELEASES))
            noisy = np.array([table.column("routes").to_numpy() for table in tables], dtype=float)
            order = np.argsort(-exact, kind="stable")
            for first, last in ((0, 1), (1, 5), (5, 20)):
                chosen = order[first:last]
                errors = np.abs(noisy[:, chosen] / exact[chosen] - 1)
                told(f"{name}: cells {first + 1} to {last} by true count", errors, f"counts {exact[chosen].tolist()}")


if __name__ == "__main__":
    income()
    routes()
