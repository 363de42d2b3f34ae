"""`wardline ledger`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wardline.crypto import SigningKey, write_private_key, write_public_key
from wardline.dp.accounting import PureDp, ZeroConcentrated
from wardline.dp.ledger import Ledger, Limit, PlannedRelease, dataset_key

PASSPHRASE = "a long passphrase for a test"
PEOPLE, ROWS = dataset_key(name="people", unit="person"), dataset_key(name="rows", unit="row")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / ".wardline" / "ledger.sqlite")
    ledger.set_limit(PEOPLE, Limit(epsilon=2.0, delta=1e-6))
    for number in range(3):
        release = PlannedRelease(
            release_id=f"p{number}",
            dataset=PEOPLE,
            unit="person",
            events=(PureDp(epsilon=0.1), ZeroConcentrated(rho=0.001)),
            description=f"table {number}",
        )
        ledger.charge(release, limit=None)
    release = PlannedRelease(release_id="r", dataset=ROWS, unit="row", events=(PureDp(epsilon=1.0),), description="x")
    ledger.charge(release, limit=None)
    ledger.close()
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wardline", "ledger", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "WARDLINE_PASSPHRASE": PASSPHRASE, "COLUMNS": "100"},
    )


def told(folder: Path, *words: str) -> dict[str, object]:
    done = run(folder, *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    value: dict[str, object] = json.loads(done.stdout)
    return value


def test_all_data_sets_and_one_of_them(folder: Path) -> None:
    ledger = Ledger(folder / ".wardline" / "ledger.sqlite")
    listed = told(folder, "show")
    people, rows = listed["datasets"]
    assert (people["dataset"], people["releases"], people["delta"]) == (PEOPLE, 3, 1e-6)
    assert people["epsilon"] == ledger.spent(PEOPLE, delta=1e-6).epsilon
    assert people["limit"] == {"epsilon": 2.0, "delta": 1e-6, "adaptive": True}
    assert (rows["dataset"], rows["limit"]) == (ROWS, None)
    one = told(folder, "show", PEOPLE[:6], "--delta", "1e-5")
    assert one["epsilon"] == ledger.spent(PEOPLE, delta=1e-5).epsilon
    assert [moment["releases"] for moment in one["history"]] == [1, 2, 3]
    text = run(folder, "show", PEOPLE[:6]).stdout
    assert "table 2" in text
    assert "limit used" in text
    assert run(folder, "show").stdout.count("releases") == 2


def test_a_plot_is_written_whole(folder: Path) -> None:
    for name, beginning in (("out.html", b"<!doctype html>"), ("out.svg", b"<svg ")):
        assert run(folder, "show", PEOPLE[:6], "--plot", name).returncode == 0
        assert (folder / name).read_bytes().startswith(beginning)
    refused = run(folder, "show", PEOPLE[:6], "--plot", "out.png")
    assert refused.returncode == 2
    assert "hint: end its name in .html or .svg" in refused.stderr
    assert not (folder / "out.png").exists()
    assert run(folder, "show", "--plot", "out.html").returncode == 2


def test_a_limit_is_stored_lowered_and_raised_only_expressly(folder: Path) -> None:
    stored = told(folder, "limit", ROWS[:6], "--epsilon", "3", "--delta", "1e-6", "--reason", "the board")
    assert stored["limit"] == {"epsilon": 3, "delta": 1e-6, "adaptive": True}
    refused = run(folder, "limit", ROWS[:6], "--epsilon", "4", "--delta", "1e-6")
    assert refused.returncode == 2
    assert "--raise" in refused.stderr
    assert "(raised)" in run(folder, "limit", ROWS[:6], "--epsilon", "4", "--delta", "1e-6", "--raise").stdout
    below = run(folder, "limit", ROWS[:6], "--epsilon", "0.5", "--delta", "1e-6", "--fixed-plan")
    assert below.returncode == 2, "a fixed plan is looser than a filter, whatever its epsilon"
    below = run(folder, "limit", ROWS[:6], "--epsilon", "0.5", "--delta", "1e-6")
    assert "nothing more can be released" in below.stdout
    new = dataset_key(name="new", unit="person")
    assert run(folder, "limit", new, "--epsilon", "1", "--delta", "1e-6").returncode == 2
    assert run(folder, "limit", new, "--new", "--epsilon", "1", "--delta", "1e-6").returncode == 0
    assert Ledger(folder / ".wardline" / "ledger.sqlite").limit(new) == Limit(epsilon=1.0, delta=1e-6)
    for epsilon, delta in (("0", "1e-6"), ("-1", "1e-6"), ("nan", "1e-6"), ("1", "0"), ("1", "1")):
        assert run(folder, "limit", new, "--epsilon", epsilon, "--delta", delta).returncode == 2


def test_a_signed_head_finds_a_rollback(folder: Path) -> None:
    key = SigningKey.generate()
    write_private_key(folder / "signer.key", key, passphrase=PASSPHRASE)
    write_public_key(folder / "signer.pub", key.verifying_key)
    (folder / "earlier.sqlite").write_bytes((folder / ".wardline" / "ledger.sqlite").read_bytes())
    Ledger(folder / ".wardline" / "ledger.sqlite").set_limit(ROWS, Limit(epsilon=9.0, delta=1e-6))
    exported = told(folder, "export", "head.json", "--key", "signer.key")
    assert exported["seq"] == 7
    assert told(folder, "verify", "--head", "head.json", "--key", "signer.pub")["known"] == 7
    assert "nothing was compared" in run(folder, "verify").stdout
    assert run(folder, "verify", "--ledger", "earlier.sqlite").returncode == 0, "alone, it is sound"
    found = run(folder, "verify", "--ledger", "earlier.sqlite", "--head", "head.json", "--key", "signer.pub")
    assert found.returncode == 3
    assert "rolled back or replaced" in found.stderr
    write_public_key(folder / "other.pub", SigningKey.generate().verifying_key)
    assert run(folder, "verify", "--head", "head.json", "--key", "other.pub").returncode == 3
    assert run(folder, "verify", "--head", "head.json").returncode == 2


def test_looking_never_makes_a_ledger_and_bad_words_are_told(folder: Path) -> None:
    done = run(folder, "show", "--ledger", "nowhere.sqlite")
    assert done.returncode == 2
    assert "there is no ledger" in done.stderr
    assert not (folder / "nowhere.sqlite").exists()
    for words in (("show", "zzz"), ("show", "--delta", "2"), ("show", PEOPLE, "--delta", "1e-300"), ("show", "")):
        done = run(folder, *words)
        assert done.returncode == 2, words
        assert done.stderr.startswith("error: ")
        assert "hint: " in done.stderr
        assert "Traceback" not in done.stderr
    assert run(folder, "show", "--ledger", "mysql://host/db").returncode == 2
