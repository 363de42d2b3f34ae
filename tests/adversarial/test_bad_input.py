"""Bad input of every kind that was thought of: one clear error, its place and remedy, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wardline.core import WardlineError
from wardline.crypto import SigningKey
from wardline.run import RunOptions, run

Change = Callable[[Path], None]


def policy(old: str, new: str) -> Change:
    """Replace a part of the policy that must be there."""

    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def table(edit: Callable[[str], str]) -> Change:
    """Edit the table."""

    def change(path: Path) -> None:
        file = path.parent / "people.csv"
        file.write_text(edit(file.read_text()))

    return change


def raw(content: bytes, name: str = "people.csv") -> Change:
    """Replace the table's bytes."""

    def change(path: Path) -> None:
        (path.parent / name).write_bytes(content)

    return change


def truncated_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path.parent / "people.parquet"
    pq.write_table(
        pa.table({"age": [1, 2], "dose": [0.1, 0.2], "ward": ["north", "west"], "sick": ["no", "yes"]}), file
    )
    file.write_bytes(file.read_bytes()[:-20])
    policy("people.csv", "people.parquet")(path)


def column(name: str, value: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        head, *rows = text.splitlines()
        index = head.split(",").index(name)
        cells = [row.split(",") for row in rows]
        return "\n".join([head, *(",".join([*row[:index], value, *row[index + 1 :]]) for row in cells)]) + "\n"

    return edit


SEARCH = "protections:\n  - {kind: search, on: private, grid: {learning_rate: [0.1, 0.5]}}"
SCALING = "protections:\n  - {kind: scaling, fit: data}"
TWICE = "protections:\n  - {kind: dp-sgd, epsilon: 1, delta: 1e-4}"
EXPIRED = 'waivers:\n  - {rule: accuracy, who: "A. P.", why: pilot, until: 2020-01-01}\ngates:'
SHA = "ab" * 32

CASES: list[tuple[str, Change, str, int, str]] = [
    # name, change, code, exit code, what the message or its place must name
    ("unknown key", policy("purpose:", "purpsoe:"), "WL-E201", 2, "policy.yaml:3"),
    ("duplicate key", policy("project: small", "project: small\nproject: other"), "WL-E201", 2, "policy.yaml:3"),
    ("epsilon 0", policy("epsilon: 2", "epsilon: 0"), "WL-E201", 2, "epsilon"),
    ("epsilon negative", policy("epsilon: 2", "epsilon: -1"), "WL-E201", 2, "epsilon"),
    ("epsilon NaN", policy("epsilon: 2", "epsilon: .nan"), "WL-E201", 2, "epsilon"),
    ("epsilon infinite", policy("epsilon: 2", "epsilon: .inf"), "WL-E201", 2, "epsilon"),
    ("delta above 1/n", policy("delta: 1e-4", "delta: 0.01"), "WL-E201", 2, "1/n"),
    ("delta 1", policy("delta: 1e-4", "delta: 1"), "WL-E201", 2, "delta"),
    ("digest mismatch", policy("  target:", f"  sha256: {SHA}\n  target:"), "WL-E301", 3, "sha256"),
    ("contents mismatch", policy("  target:", f"  table_sha256: {SHA}\n  target:"), "WL-E301", 3, "policy.yaml"),
    ("missing column", table(lambda text: text.replace("dose", "doses", 1)), "WL-E211", 2, "dose"),
    ("missing file", policy("people.csv", "nobody.csv"), "WL-E211", 2, "nobody.csv"),
    ("empty table", table(lambda text: text.splitlines()[0] + "\n"), "WL-E211", 2, "empty"),
    ("empty file", raw(b""), "WL-E211", 2, "empty"),
    ("one class only", table(column("sick", "yes")), "WL-E211", 2, "sick"),
    ("constant column", table(column("age", "40")), "WL-E211", 2, "age"),
    ("all-missing column", table(column("age", "")), "WL-E211", 2, "age"),
    ("out of range", table(column("dose", "11")), "WL-E211", 2, "dose"),
    ("unlisted category", table(column("ward", "attic")), "WL-E211", 2, "ward"),
    ("not UTF-8", raw(b"age,dose,ward,sick\n1,2,n\xf6rd,no\n"), "WL-E211", 2, "people.csv:2"),
    ("truncated Parquet", truncated_parquet, "WL-E211", 2, "people.parquet"),
    ("expired waiver", policy("gates:", EXPIRED), "WL-E201", 2, "expired"),
    ("search on private data", policy("protections:", SEARCH), "WL-E202", 2, "policy.yaml"),
    ("scaling by the data", policy("protections:", SCALING), "WL-E202", 2, "policy.yaml"),
    ("protected twice", policy("protections:", TWICE), "WL-E202", 2, "policy.yaml"),
    ("no gates", policy("gates:\n  - {rule: claims-hold}\n  - {rule: accuracy, at_least: 0.6}", "gates: []"), "WL-E201", 2, "gates"),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "exit_code", "named"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_one_error_with_place_and_remedy(
    small_project: Path, tmp_path: Path, change: Change, code: str, exit_code: int, named: str
) -> None:
    change(small_project)
    options = RunOptions(out=tmp_path / "run", ledger=tmp_path / "ledger.sqlite", key=SigningKey.generate())
    with pytest.raises(WardlineError) as caught:
        run(small_project, options=options)
    error = caught.value
    assert (error.code, error.exit_code) == (code, exit_code), error
    assert named in str(error)
    assert error.hint
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ledger.sqlite").exists()


def wardline(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wardline", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_command_line_shows_two_lines_and_no_traceback(small_project: Path, tmp_path: Path) -> None:
    policy("epsilon: 2", "epsilon: 0")(small_project)
    done = wardline("run", str(small_project), "--unsafe-unsigned", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: policy.yaml:")
    assert any(line.startswith("hint: ") for line in lines)
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]


def test_a_missing_key_is_noticed_before_anything_is_trained(small_project: Path, tmp_path: Path) -> None:
    done = wardline("run", str(small_project), cwd=tmp_path)
    assert done.returncode == 2
    assert "wardline keys new" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]


def test_an_unwritable_folder(small_project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = wardline("run", str(small_project), "--unsafe-unsigned", "--out", "file/run", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2].startswith("error: file/run")
    assert not (tmp_path / ".wardline" / "ledger.sqlite").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
from wardline.core import WorkspaceError
from wardline.run import RunOptions, run
import signal
# A limit on file size is what a full disk looks like to a writer: the write fails halfway.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[3])
import wardline.run.release  # noqa: F401  (imports write nothing afterwards)
import wardline.dp.ledger, wardline.dp.training.plain, wardline.dp.training.private  # noqa: F401
import wardline.attacks.auditing.training, pandera.pyarrow, sklearn  # noqa: F401
out = Path(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    outcome = run(Path(sys.argv[1]), options=RunOptions(out=out, ledger=out.parent / "ledger.sqlite", key=None))
except WorkspaceError as error:
    print("workspace error:", error, "|", error.hint)
    sys.exit(2)
print(outcome.gate.verdict.value)
"""


@pytest.mark.slow
def test_a_full_disk_stops_cleanly_and_the_run_goes_on_later(small_project: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def attempt(limit: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-B", "-c", FULL_DISK, str(small_project), str(out), str(limit)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    full = attempt(2000)
    assert full.returncode == 2, full.stderr
    assert full.stdout.startswith("workspace error:")
    assert not (out / "evidence").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") and path.is_file()]
    freed = attempt(0)
    assert freed.returncode == 0, freed.stderr
    assert freed.stdout.strip() == "pass"
