"""Several processes charge at once and one of them is killed again and again, at any instruction."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from charging import assert_kept, race
from wardline.core import digest_value
from wardline.dp.ledger import Ledger

SHARED, OWN = 12, 12

_WORKER = f"""
import sys
from pathlib import Path
from wardline.core import digest_value
from wardline.dp.accounting import PoissonGaussian
from wardline.dp.ledger import Ledger, PlannedRelease

name = sys.argv[2]
event = PoissonGaussian(sample_rate=0.1, noise_multiplier=2.0, steps=10)
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger(Path(sys.argv[1]))

def one(release_id):
    release = PlannedRelease(release_id=release_id, dataset="d", unit="row", events=(event,), description="x")
    ledger.charge(release, limit=None)
    print(release_id, flush=True)

for number in range({OWN}):
    one(f"own-{{name}}-{{number}}")
    if number < {SHARED}:
        one(f"shared-{{number}}")
    if ledger.sealed(f"own-{{name}}-{{number}}") is None:
        noted = ledger.checkpoint(f"own-{{name}}-{{number}}")
        ledger.progress(f"own-{{name}}-{{number}}", (noted[0] if noted else 0) + 1, digest_value(number))
        ledger.seal(f"own-{{name}}-{{number}}", digest_value(number))
print("done", flush=True)
"""


def _start(path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _go(worker: subprocess.Popen[str]) -> None:
    """Let a worker begin once it has imported everything, so that they begin together."""
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()


def test_each_release_is_charged_exactly_once_whoever_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    workers = [_start(path, str(number)) for number in range(3)]
    for worker in workers:
        _go(worker)

    acknowledged: set[str] = set()
    kills = 0
    lines_before_the_kill = [1, 2, 0, 3, 5, 4, 7, 10_000]
    for lines in lines_before_the_kill:
        victim = _start(path, "victim")
        _go(victim)
        assert victim.stdout is not None
        said = ""
        for _ in range(lines):
            said = victim.stdout.readline().strip()
            if said == "done":
                break
            acknowledged.add(said)
        if said != "done":
            victim.kill()
            kills += 1
        # What it said before it died counts: a charge is durable when the call returns.
        acknowledged |= {line.strip() for line in victim.stdout if line.endswith("\n")} - {"done"}
        victim.communicate()

    for worker in workers:
        told, _ = worker.communicate()
        assert worker.returncode == 0
        assert told.endswith("done\n")
        acknowledged |= set(told.split()) - {"done"}
    assert kills >= 7

    ledger = Ledger(path)
    ledger.verify()
    charges = Counter(entry.release_id for entry in ledger.entries() if entry.kind == "charge")
    expected = {f"shared-{number}" for number in range(SHARED)} | {
        f"own-{name}-{number}" for name in ("0", "1", "2", "victim") for number in range(OWN)
    }
    assert acknowledged == expected
    assert charges == Counter(expected), "each exactly once"
    seals = Counter(entry.release_id for entry in ledger.entries() if entry.kind == "seal")
    assert seals == Counter(one for one in expected if one.startswith("own"))
    assert all(ledger.sealed(one) == digest_value(int(one.rsplit("-", 1)[1])) for one in seals)
    assert ledger.spent("d", delta=1e-5).releases == len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("adaptive", [True, False], ids=["filter", "fixed plan"])
def test_eight_at_once_never_exceed_the_limit_whoever_is_killed(tmp_path: Path, adaptive: bool) -> None:
    path = tmp_path / "ledger.sqlite"
    raced = race(str(path), tmp_path, adaptive=adaptive)
    assert raced.kills >= 6
    assert_kept(Ledger(path), raced, adaptive=adaptive)
