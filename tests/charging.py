"""Many processes that charge one ledger at once while some of them are killed: for every kind of database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wardline.dp.accounting import PureDp, ZeroConcentrated, compose
from wardline.dp.accounting.filters import PrivacyFilter
from wardline.dp.ledger import Ledger, Limit

LIMIT = Limit(epsilon=2.0, delta=1e-6)

# Each process notes in a file of its own, synced, what was charged, after `charge` returned. One that is started again
# under the same name goes on after what it had noted: the charge that the kill interrupted is asked for once more.
_WORKER = """
import os, sys
from wardline.core import BudgetError
from wardline.dp.accounting import PureDp, ZeroConcentrated
from wardline.dp.ledger import Ledger, Limit, PlannedRelease

address, name, notes, adaptive = sys.argv[1:]
limit = Limit(epsilon=2.0, delta=1e-6, adaptive=adaptive == "yes")
file = os.open(notes, os.O_RDWR | os.O_CREAT | os.O_APPEND)
print("ready", flush=True)
sys.stdin.readline()
number = os.read(file, 1 << 20).count(b"\\n")
ledger = Ledger(address)
while True:
    event = (PureDp(epsilon=0.014), ZeroConcentrated(rho=0.0001))[number % 2]
    release = PlannedRelease(
        release_id=f"{name}-{number}", dataset="d", unit="person", events=(event,), description="x"
    )
    try:
        ledger.charge(release, limit=limit)
    except BudgetError:
        break
    os.write(file, f"{name}-{number}\\n".encode())
    os.fsync(file)
    print(number, flush=True)
    number += 1
print("full", flush=True)
"""


@dataclass(frozen=True)
class Raced:
    """What came of it."""

    kills: int
    noted: list[str]


def race(address: str, folder: Path, *, processes: int = 8, kills: int = 12, adaptive: bool = True) -> Raced:
    """Charge until the limit is reached, killing some process at random again and again."""
    rng = np.random.default_rng(20261121)
    notes = {str(number): folder / f"notes-{number}" for number in range(processes)}

    def start(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _WORKER, address, name, str(notes[name]), "yes" if adaptive else "no"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def go(worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == "ready\n"
        worker.stdin.write("go\n")
        worker.stdin.flush()

    workers = {name: start(name) for name in notes}
    # Those who take a killed one's place are started beforehand, so that the others do not use up the limit meanwhile.
    victims = [str(name) for name in rng.integers(processes, size=kills)]
    spares = [start(name) for name in victims]
    everybody = [*workers.values(), *spares]
    try:
        for worker in workers.values():
            go(worker)
        killed = 0
        for name, spare in zip(victims, spares, strict=True):
            victim = workers[name]
            assert victim.stdout is not None
            lines = [victim.stdout.readline() for _ in range(int(rng.integers(0, 6)))]
            if "full\n" in lines or victim.poll() is not None:
                continue
            victim.kill()
            victim.communicate()
            killed += 1
            workers[name] = spare
            go(spare)
        for worker in workers.values():
            told, _ = worker.communicate(timeout=120)
            assert worker.returncode == 0
            assert told == "" or told.endswith("full\n")
    finally:
        for worker in everybody:
            worker.kill()
            worker.wait()
    return Raced(kills=killed, noted=[line for path in notes.values() for line in path.read_text().splitlines()])


def assert_kept(ledger: Ledger, raced: Raced, *, adaptive: bool = True) -> None:
    """The limit was kept, and used up; nothing that was acknowledged is missing; the chain is whole."""
    ledger.verify()
    charges = Counter(entry.release_id for entry in ledger.entries("d") if entry.kind == "charge")
    assert set(charges.values()) == {1}, "each exactly once"
    assert set(raced.noted) <= set(charges), "no charge was lost"
    assert set(raced.noted) == set(charges), "and whoever was killed before it could note one found it again"
    even = sum(1 for release_id in charges if int(release_id.rsplit("-", 1)[1]) % 2 == 0)
    events = [PureDp(epsilon=0.014, steps=even), ZeroConcentrated(rho=0.0001, steps=len(charges) - even)]
    one_more = [*events, PureDp(epsilon=0.014), ZeroConcentrated(rho=0.0001)]
    if adaptive:
        kept = PrivacyFilter(epsilon=LIMIT.epsilon, delta=LIMIT.delta)
        assert kept.admits(kept.consumed(events)), "never above the limit"
        assert not kept.admits(kept.consumed(one_more)), "and the limit was reached"
    else:
        assert compose(events, delta=LIMIT.delta) <= LIMIT.epsilon, "never above the limit"
        assert compose(one_more, delta=LIMIT.delta) > LIMIT.epsilon, "and the limit was reached"
