"""A mean per group under differential privacy, beside the plain mean and beside other libraries, as Markdown tables.

    python benchmarks/groupby.py                    # 1M rows
    python benchmarks/groupby.py --rows 200000
    python benchmarks/groupby.py --large            # 1M, 10M and 100M rows besides, out of core, from Parquet

The question: the mean of a number clipped to [0, 100] in each of 1000 public groups; a person has 1 to 8 rows, in any
groups, and counts with at most 8; epsilon 1, all of it for the means. Two threads each. A run of Wardline's is a whole
release: plan, bounding, sums, noise and the table that is published, but for the ledger, whose charge does not depend
on the rows. All contenders of a table take turns; figures are medians, and the least in brackets.

OpenDP's `polars` extra and PipelineDP want versions of their own: they are installed into an environment below
build/peers, on the first run, and compared with plain Polars of that environment, in the same process. `--no-peers`
leaves them out. PipelineDP's local backend is run on fewer rows, and its time compared with that of plain Polars for
all rows, per row.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

THREADS = 2
os.environ.setdefault("POLARS_MAX_THREADS", str(THREADS))

import numpy as np  # noqa: E402 (Polars reads its number of threads when it is imported)
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

GROUPS, MOST_ROWS, LOWER, UPPER, EPSILON = 1000, 8, 0.0, 100.0, 1.0
ROUNDS = 9
PIECE = 5_000_000
PEERS = Path(__file__).resolve().parents[1] / "build" / "peers"
PEER_PACKAGES = ("opendp[polars]==0.16.0", "pipeline-dp==0.3.1", "pyarrow")
PIPELINE_ROWS = 50_000
MEMORY = "4GB"
_PERSONS = np.repeat(np.arange(8), np.arange(1, 9))  # of 36 rows, persons with 1, 2, ..., 8


def piece(start: int, stop: int, rows: int) -> pa.Table:
    """Rows start to stop of a table in which the rows of a person lie far apart."""
    stride = next(s for s in range(int(rows * 0.6180339887), 2 * rows + 3) if math.gcd(s, rows) == 1)
    place = (np.arange(start, stop, dtype=np.int64) * stride) % rows  # each of 0 to rows - 1 once
    rng = np.random.Generator(np.random.PCG64(start))
    return pa.table(
        {
            "person": place // 36 * 8 + _PERSONS[place % 36],
            "area": rng.integers(0, GROUPS, stop - start),
            "x": rng.gamma(2.0, 20.0, stop - start),
        }
    )


def write(path: Path, rows: int) -> None:
    with pq.ParquetWriter(path, piece(0, 1, rows).schema) as writer:
        for start in range(0, rows, PIECE):
            writer.write_table(piece(start, min(start + PIECE, rows), rows), row_group_size=1_000_000)


Seconds = list[tuple[float, float]]
"""Of each run: by the clock, and of CPU."""


def turns(contenders: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, Seconds]:
    """Seconds of each, in turns, so that a disturbance meets all of them; the first round warms up."""
    seconds: dict[str, Seconds] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            began, used = time.perf_counter(), time.process_time()
            run()
            if number:
                seconds[name].append((time.perf_counter() - began, time.process_time() - used))
    return seconds


def line(name: str, seconds: Seconds, base: Seconds, rmse: str = "") -> str:
    clock, cpu = zip(*seconds, strict=True)
    plain_clock, plain_cpu = zip(*base, strict=True)
    ratio = f"{statistics.median(clock) / statistics.median(plain_clock):.1f} ({min(clock) / min(plain_clock):.1f})"
    used = f"{statistics.median(cpu) / statistics.median(plain_cpu):.1f}"
    return f"| {name} | {1000 * statistics.median(clock):.0f} ({1000 * min(clock):.0f}) | {ratio} | {used} | {rmse} |"


def query(source: object, *, rows: int = MOST_ROWS, found: bool = False):  # noqa: ANN201
    from wardline.dp.queries import Bound, Key, Mean, Query, Table

    return Query(
        table=Table(source),
        unit="person",
        bound=Bound(rows=rows),
        by=(Key("area", None if found else range(GROUPS)),),
        aggregates=(Mean("x", lower=LOWER, upper=UPPER),),
    )


def rmse(means: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.clip(means, LOWER, UPPER) - truth) ** 2)))


def true_means(table: pa.Table) -> np.ndarray:
    area, x = table["area"].to_numpy(), np.clip(table["x"].to_numpy(), LOWER, UPPER)
    return np.bincount(area, x, GROUPS) / np.bincount(area, minlength=GROUPS)


def small(path: Path, rows: int, *, peers: bool) -> None:
    """The table of all contenders, from a table in memory."""
    import duckdb
    import opendp.prelude as dp
    import polars as pl

    from wardline.dp.engines import DuckDbEngine
    from wardline.dp.releases import release

    table = pq.read_table(path)
    truth = true_means(table)
    frame = pl.from_arrow(table)
    database = duckdb.connect(config={"threads": THREADS})
    database.register("t", table)
    engine = DuckDbEngine(threads=THREADS)
    dp.enable_features("contrib")

    def sql_and_noise() -> np.ndarray:
        """What people write by hand: a window for the bound, whole numbers, and OpenDP's discrete Laplace."""
        steps = 2**20
        found = database.sql(
            f"""SELECT area, count(*) AS n, sum(q) AS s FROM (
                  SELECT area, floor((least(greatest(x, {LOWER}), {UPPER}) - 50) / 50 * {steps} + 0.5)::BIGINT AS q,
                         row_number() OVER (PARTITION BY person ORDER BY hash(area, x)) AS i
                  FROM t) WHERE i <= {MOST_ROWS} GROUP BY area ORDER BY area"""
        ).fetchnumpy()
        half = EPSILON / 2
        figures = []
        for values, most in ((found["n"], 1), (found["s"], steps)):
            space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
            noise = dp.m.make_laplace(*space, scale=MOST_ROWS * most / half)
            figures.append(np.array(noise([int(v) for v in values]), dtype=float))
        return 50 + figures[1] / steps * 50 / np.maximum(figures[0], 1)

    def wardline() -> np.ndarray:
        made = release(query(table), epsilon=EPSILON, engine=engine)
        return made.table["x_mean"].to_numpy()

    seconds = turns(
        {
            "plain Polars": lambda: frame.lazy().group_by("area").agg(pl.col("x").mean()).collect(),
            "plain DuckDB": lambda: database.sql("SELECT area, avg(x) FROM t GROUP BY area").to_arrow_table(),
            "Wardline": wardline,
            "Wardline, at most 4 rows: 72 % of the rows are ranked": lambda: release(
                query(table, rows=4), epsilon=EPSILON, engine=engine
            ),
            "Wardline, groups found in the data, delta 1e-6": lambda: release(
                query(table, found=True), epsilon=EPSILON, delta=1e-6, engine=engine
            ),
            "DuckDB window + OpenDP's noise": sql_and_noise,
        }
    )
    error = {
        "Wardline": statistics.mean(rmse(wardline(), truth) for _ in range(5)),
        "DuckDB window + OpenDP's noise": statistics.mean(rmse(sql_and_noise(), truth) for _ in range(5)),
    }
    base = min(
        seconds["plain Polars"],
        seconds["plain DuckDB"],
        key=lambda found: statistics.median(clock for clock, _ in found),
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("polars", "duckdb", "opendp"))
    print(f"{rows:,} rows in memory (Arrow), {versions}\n")
    print("| contender | ms: median (least) | times the faster plain one | its CPU time likewise | RMSE of a mean |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, found in seconds.items():
        print(line(name, found, base, f"{error[name]:.2f}" if name in error else ""))
    if peers:
        for peer in ("opendp", "pipelinedp"):
            for answer in asked_of(peer, path):
                print(line(answer["name"], answer["seconds"], answer["base"], f"{answer['rmse']:.2f}"), flush=True)
    print()


def asked_of(peer: str, path: Path) -> list[dict]:
    """What a peer measures in its own environment."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    done = subprocess.run([python, __file__, "--peer", peer, str(path)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def opendp_polars(path: Path) -> list[dict]:
    import opendp.prelude as dp
    import polars as pl

    dp.enable_features("contrib")
    table = pq.read_table(path)
    truth = true_means(table)
    rows, frame = table.num_rows, pl.from_arrow(table).lazy()
    keys = pl.LazyFrame({"area": np.arange(GROUPS)})

    def release() -> np.ndarray:
        # contributions=1 counts persons; 8 would be taken for eight identifiers each, at 7.8 times the noise.
        context = dp.Context.compositor(
            data=frame,
            privacy_unit=dp.unit_of(contributions=1, identifier=pl.col("person")),
            privacy_loss=dp.loss_of(epsilon=EPSILON),
            split_evenly_over=1,
            margins=[
                dp.polars.Margin(by=["area"], max_length=rows, max_groups=GROUPS),
                dp.polars.Margin(by=[], max_length=rows),
            ],
        )
        mean = pl.col("x").fill_nan(0.0).fill_null(0.0).dp.mean((LOWER, UPPER))
        asked = context.query().truncate_per_group(MOST_ROWS).group_by("area").agg(mean).with_keys(keys)
        return asked.release().collect().sort("area")["x"].to_numpy()

    seconds = turns(
        {"plain": lambda: frame.group_by("area").agg(pl.col("x").mean()).collect(), "opendp": release}, rounds=3
    )
    error = statistics.mean(rmse(release(), truth) for _ in range(2))
    name = f"OpenDP on Polars (its Polars is {pl.__version__})"
    return [{"name": name, "seconds": seconds["opendp"], "base": seconds["plain"], "rmse": error}]


def pipelinedp(path: Path) -> list[dict]:
    import pipeline_dp
    import polars as pl

    table = pq.read_table(path)
    frame = pl.from_arrow(table).lazy()
    few = table.slice(0, PIPELINE_ROWS)
    truth = true_means(table)
    rows = list(zip(few["person"].to_pylist(), few["area"].to_pylist(), few["x"].to_pylist(), strict=True))
    getters = pipeline_dp.DataExtractors(
        privacy_id_extractor=lambda row: row[0],
        partition_extractor=lambda row: row[1],
        value_extractor=lambda row: row[2],
    )
    parameters = pipeline_dp.AggregateParams(
        noise_kind=pipeline_dp.NoiseKind.LAPLACE,
        metrics=[pipeline_dp.Metrics.MEAN],
        max_partitions_contributed=MOST_ROWS,
        max_contributions_per_partition=1,
        min_value=LOWER,
        max_value=UPPER,
    )

    def release() -> np.ndarray:
        budget = pipeline_dp.NaiveBudgetAccountant(total_epsilon=EPSILON, total_delta=1e-10)
        engine = pipeline_dp.DPEngine(budget, pipeline_dp.LocalBackend())
        found = engine.aggregate(rows, parameters, getters, public_partitions=list(range(GROUPS)))
        budget.compute_budgets()
        means = dict(found)
        return np.array([means[area].mean for area in range(GROUPS)])

    seconds = turns({"plain": lambda: frame.group_by("area").agg(pl.col("x").mean()).collect()}, rounds=5)
    began, used = time.perf_counter(), time.process_time()
    made = release()
    one = time.perf_counter() - began, time.process_time() - used
    share = table.num_rows / few.num_rows
    return [
        {
            "name": f"PipelineDP, local ({few.num_rows:,} rows, its time scaled; its RMSE at that size)",
            "seconds": [[share * spent for spent in one]],
            "base": seconds["plain"],
            "rmse": rmse(made, truth),
        }
    ]


def large_one(contender: str, path: Path) -> dict:
    """One contender on one file, in a process of its own, whose memory is then known."""
    import duckdb

    from wardline.dp.engines import DuckDbEngine
    from wardline.dp.releases import release

    spill = Path(tempfile.mkdtemp(dir=path.parent))
    settings = {"threads": THREADS, "memory_limit": MEMORY}
    engine = DuckDbEngine(**settings, spill_folder=spill)
    with duckdb.connect(config={**settings, "temp_directory": str(spill)}) as database:
        runs: dict[str, Callable[[], object]] = {
            "plain DuckDB": lambda: database.execute(
                "SELECT area, avg(x) FROM read_parquet(?) GROUP BY area", [str(path)]
            ).fetchall(),
            "Wardline": lambda: release(query(path), epsilon=EPSILON, engine=engine),
        }
        began = time.perf_counter()
        runs[contender]()
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def large(folder: Path, sizes: list[int]) -> None:
    print(f"From Parquet, {MEMORY} for DuckDB, each in a process of its own\n")
    print("| rows | plain DuckDB, s | Wardline, s | times plain | Wardline, us a row | peak memory, GB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for rows in sizes:
        path = folder / f"{rows}.parquet"
        write(path, rows)
        found: dict[str, list[dict]] = {"plain DuckDB": [], "Wardline": []}
        for _ in range(3):
            for name, answers in found.items():
                command = [sys.executable, __file__, "--contender", name, str(path)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                answers.append(json.loads(done.stdout))
        path.unlink()
        plain, ours = (min(answer["seconds"] for answer in answers) for answers in found.values())
        memory = max(answer["gigabytes"] for answer in found["Wardline"])
        print(
            f"| {rows:,} | {plain:.2f} | {ours:.2f} | {ours / plain:.1f} | {1e6 * ours / rows:.3f} | {memory:.2f} |",
            flush=True,
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", action="store_true", help="also 1M, 10M and 100M rows from disk (about 2.5 GB)")
    parser.add_argument("--no-peers", action="store_true", help="leave OpenDP on Polars and PipelineDP out")
    parser.add_argument("--folder", type=Path, help="where the data is put meanwhile; a temporary one by default")
    parser.add_argument("--peer", choices=("opendp", "pipelinedp"), help=argparse.SUPPRESS)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("path", nargs="?", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peer:
        print(json.dumps({"opendp": opendp_polars, "pipelinedp": pipelinedp}[chosen.peer](chosen.path)))
        return
    if chosen.contender:
        print(json.dumps(large_one(chosen.contender, chosen.path)))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, {THREADS} threads\n")
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="wardline-groupby-") as name:
        folder = Path(name)
        path = folder / "people.parquet"
        write(path, chosen.rows)
        small(path, chosen.rows, peers=not chosen.no_peers)
        path.unlink()
        if chosen.large:
            large(folder, [1_000_000, 10_000_000, 100_000_000])


if __name__ == "__main__":
    main()
