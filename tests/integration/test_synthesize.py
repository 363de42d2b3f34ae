"""`wardline synthesize` as a person runs it: real files, the real ledger, and once a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from wardline.cli import main
from wardline.dp import Ledger
from wardline.dp.synthetic import read_synthetic

# The small project's table has 1,000 rows.
ASK = ["--epsilon", "1", "--delta", "1e-5", "--method", "mst", "--quiet"]


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


Wardline = Callable[..., Done]


@pytest.fixture
def wardline(small_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wardline:
    """The command line, in this process: the project's folder is the current one."""

    def call(*words: str) -> Done:
        monkeypatch.chdir(small_project.parent)
        monkeypatch.setattr(sys, "argv", ["wardline", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Done(int(ended.value.code or 0), told.out, told.err)

    return call


def process(folder: Path, *words: str) -> Done:
    """The command line, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "wardline", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def charges(folder: Path) -> list[str]:
    return [entry.kind for entry in Ledger(folder / ".wardline" / "ledger.sqlite").entries() if entry.kind != "open"]


def test_a_table_is_made_charged_and_sealed_and_made_once(small_project: Path, wardline: Wardline) -> None:
    folder = small_project.parent
    done = process(folder, "synthesize", "policy.yaml", *ASK, "--out", "made/s.parquet", "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["charged"] is True
    assert told["claim"]["value"] == 1
    made = read_synthetic(folder / "made" / "s.parquet")
    assert made.table.column_names == ["age", "dose", "ward", "sick"]
    assert made.table.num_rows == told["rows"]
    assert 900 < told["rows"] < 1100
    assert charges(folder) == ["charge", "seal"]
    again = wardline("synthesize", "policy.yaml", *ASK, "--out", "made/s.parquet")
    assert again.returncode == 0, again.stderr
    assert "nothing charged" in again.stdout
    assert charges(folder) == ["charge", "seal"]
    real = set(map(str, pacsv.read_csv(folder / "people.csv").to_pylist()))
    assert not real & set(map(str, made.table.to_pylist())), "a dose of three decimals that is met twice was copied"


def test_a_dry_run_reads_no_data_and_charges_nothing(small_project: Path, wardline: Wardline) -> None:
    folder = small_project.parent
    (folder / "people.csv").unlink()
    done = wardline("synthesize", "policy.yaml", *ASK, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "at most 2.718" in done.stdout
    assert not (folder / ".wardline").exists()


@pytest.mark.parametrize(
    ("way", "basis", "kinds"),
    [
        (["--public", "others.csv"], "public", ["charge", "seal"]),
        (["--compare-epsilon", "2"], "charged", ["charge", "seal", "charge", "seal"]),
        (["--holder"], "holder", ["charge", "seal"]),
    ],
)
def test_a_comparison_says_what_permits_it(
    small_project: Path, wardline: Wardline, way: list[str], basis: str, kinds: list[str]
) -> None:
    folder = small_project.parent
    lines = (folder / "people.csv").read_text().splitlines()
    (folder / "others.csv").write_text("\n".join([lines[0], *reversed(lines[1:500])]) + "\n")
    words = ["synthesize", "policy.yaml", *ASK, "--out", "s.csv", *way, "--report", "page.html", "--format", "json"]
    done = wardline(*words)
    assert done.returncode == 0, done.stderr
    quality = json.loads(done.stdout)["quality"]
    assert quality["basis"] == basis
    assert {one["quantity"] for one in quality["measurements"]} >= {"tv_single", "tv_pairs", "accuracy"}
    page = (folder / "page.html").read_text()
    assert ("do not publish" in page) == (basis == "holder")
    assert "<script" not in page
    assert charges(folder) == kinds
    again = wardline(*words)
    assert again.returncode == 0, again.stderr
    assert charges(folder) == kinds, "a second call charges nothing"
    if basis != "public":
        assert json.loads(done.stdout)["rows"] < 800, "held-out rows stay out of the synthesis"


def test_the_policys_limit_holds(small_project: Path, wardline: Wardline) -> None:
    folder = small_project.parent
    text = small_project.read_text().replace("  unit: row\n", "  unit: row\n  budget: {epsilon: 2, delta: 1e-4}\n")
    small_project.write_text(text)
    assert wardline("synthesize", "policy.yaml", *ASK, "--out", "a.csv").returncode == 0
    refused = wardline("synthesize", "policy.yaml", *ASK, "--out", "b.csv", "--epsilon", "4")
    assert refused.returncode == 1
    assert "limit" in refused.stderr
    assert not (folder / "b.csv").exists()
    assert charges(folder) == ["charge", "seal"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epsilon", "0", "--delta", "1e-5"], "epsilon"),
        (["--epsilon", "1", "--delta", "0"], "delta"),
        (["--epsilon", "1", "--delta", "0.01"], "--delta"),
        (["--epsilon", "1", "--delta", "1e-5", "--rows", "0"], "rows"),
        (["--epsilon", "1", "--delta", "1e-5", "--out", "s.json"], ".parquet"),
        (["--epsilon", "1", "--delta", "1e-5", "--holder", "--compare-epsilon", "1"], "more than one"),
        (["--epsilon", "1", "--delta", "1e-5", "--report", "page.html"], "--report"),
        (["--epsilon", "1", "--delta", "1e-5", "--public", "people.csv"], "protected rows"),
        (["--epsilon", "1", "--delta", "1e-5", "--holder", "--public", "people.csv"], "more than one"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_hint(
    small_project: Path, wardline: Wardline, words: list[str], said: str
) -> None:
    done = wardline("synthesize", "policy.yaml", "--quiet", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint:" in done.stderr
    assert not list(small_project.parent.glob("synthetic*"))


def test_parquet_carries_the_claim(small_project: Path, wardline: Wardline) -> None:
    wardline("synthesize", "policy.yaml", *ASK, "--out", "s.parquet")
    metadata = pq.read_schema(small_project.parent / "s.parquet").metadata
    assert json.loads(metadata[b"wardline.synthetic"])["claim"]["id"] == "dp.synthetic"
