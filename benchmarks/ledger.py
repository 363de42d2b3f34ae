"""The ledger: charges a second, one process and eight, SQLite and PostgreSQL, on this machine's disk.

    OMP_NUM_THREADS=1 python benchmarks/ledger.py [folder]

Every charge is on the disk before it is acknowledged, so one process alone can make no more of them than the disk
syncs; the first line says how many that is, with bare SQLite (write-ahead log, synchronous FULL) and one row a
transaction. Each process charges releases of its own to one data set, whose limit is kept by a filter, or by exact
composition ("fixed plan"). The whole chain is verified afterwards.
"""

from __future__ import annotations

import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from wardline.dp.ledger import Ledger

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from servers import postgres_binaries, postgres_server

ALONE, EACH, PROCESSES = 1000, 250, 8

_WORKER = """
import sys
from wardline.dp.accounting import PureDp, ZeroConcentrated
from wardline.dp.ledger import Ledger, Limit, PlannedRelease

address, name, count, adaptive = sys.argv[1:]
limit = Limit(epsilon=30.0, delta=1e-6, adaptive=adaptive == "filter")
ledger = Ledger(address)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    event = (PureDp(epsilon=0.01), ZeroConcentrated(rho=1e-5))[number % 2]
    ledger.charge(
        PlannedRelease(release_id=f"{name}-{number}", dataset="d", unit="row", events=(event,), description="x"),
        limit=limit,
    )
print("done", flush=True)
"""


def rate(address: str, processes: int, each: int, rule: str) -> float:
    """Charges a second, from the moment at which all processes are ready."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, address, str(number), str(each), rule],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "done\n"
    taken = time.perf_counter() - began
    for worker in workers:
        worker.communicate()
    ledger = Ledger(address)
    ledger.verify()
    assert ledger.spent("d", delta=1e-6).releases == processes * each
    ledger.close()
    return processes * each / taken


def bare(path: Path) -> float:
    """Rows a second that SQLite alone makes durable, one a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, body TEXT)")
        began = time.perf_counter()
        for number in range(ALONE):
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO entry VALUES (?, ?)", (number, "x" * 600))
            db.execute("COMMIT")
        return ALONE / (time.perf_counter() - began)


def main() -> None:
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    print(f"{platform.machine()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}\n")
    print("| | charges a second |\n| --- | ---: |")
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        print(f"| bare SQLite, one row a transaction, no checks | {bare(folder / 'bare.sqlite'):.0f} |", flush=True)
        for rule in ("filter", "fixed plan"):
            for processes, each in ((1, ALONE), (PROCESSES, EACH)):
                found = rate(str(folder / f"{rule}-{processes}.sqlite"), processes, each, rule)
                print(f"| SQLite, {rule}, {processes} at once | {found:.0f} |", flush=True)
    if postgres_binaries() is None:
        print("| PostgreSQL is not installed | |")
        return
    for processes, each in ((1, ALONE), (PROCESSES, EACH)):
        with postgres_server(durable=True) as url:
            print(
                f"| PostgreSQL, filter, {processes} at once | {rate(url, processes, each, 'filter'):.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
