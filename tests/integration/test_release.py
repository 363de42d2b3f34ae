"""`wardline release`: killed at every boundary, repeated, limited, tampered with; and the two examples."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from wardline.cli.app import cli
from wardline.core import BudgetError, IntegrityError, WorkspaceError
from wardline.dp.accounting import compose
from wardline.dp.ledger import Ledger
from wardline.dp.queries import collect
from wardline.dp.releases import read_release
from wardline.dp.releases.files import sealed_digest
from wardline.plan.resolve_release import resolve_release
from wardline.policy.release_loader import load_release

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
schema: 1
name: visits
purpose: How long people wait in each ward.
table: {source: "file:visits.parquet"}
unit: {column: patient, rows: 2}
by:
  - {column: ward, values: [north, south, west]}
aggregates:
  - {kind: count}
  - {kind: mean, column: minutes, lower: 0, upper: 60, label: wait}
epsilon: 1
delta: 1e-6
limit: {epsilon: 3.5, delta: 1e-5}
plot: wait
"""

_KILLED = """
import os, signal, sys
from wardline.dp.ledger import Ledger
from wardline.dp.releases import releasing

boundary = sys.argv[1]

def killing(kind, name):
    original = getattr(kind, name)
    def call(*args, **kwargs):
        if boundary == f"before {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if boundary == f"after {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(kind, name, call)

killing(Ledger, "charge")
killing(Ledger, "seal")
killing(Ledger, "progress")
killing(releasing, "write")
sys.argv = ["wardline", *sys.argv[2:]]
from wardline.cli.app import main
main()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    rows = {
        "patient": np.arange(4000) // 2,
        "ward": rng.choice(["north", "south", "west"], 4000),
        "minutes": rng.integers(0, 60, 4000),
    }
    pq.write_table(pa.table(rows), tmp_path / "visits.parquet")
    (tmp_path / "release.yaml").write_text(SPEC)
    return tmp_path


def words(folder: Path, *more: str) -> list[str]:
    fixed = ["release", str(folder / "release.yaml"), "--out", str(folder / "out"), "--quiet"]
    return [*fixed, "--ledger", str(folder / "ledger.sqlite"), *more]


def run(folder: Path, *more: str) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(cli, words(folder, *more))
    return result.output, result.exception


def entries(folder: Path, kind: str) -> list[str]:
    return [entry.release_id for entry in Ledger(folder / "ledger.sqlite").entries() if entry.kind == kind]


@pytest.mark.parametrize(
    ("boundary", "charged", "form"),
    [
        ("before charge", 1, "parquet"),
        ("after charge", 2, "parquet"),
        ("before progress", 2, "csv"),
        ("before write", 2, "csv"),
        ("after write", 1, "parquet"),
        ("before seal", 1, "csv"),
        ("after seal", 1, "parquet"),
    ],
)
def test_killed_at_every_boundary_then_repeated(folder: Path, boundary: str, charged: int, form: str) -> None:
    """One result for each charge: a lost one is charged anew, a written one is found and sealed, never drawn again."""
    more = ["--csv"] if form == "csv" else []
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, boundary, *words(folder, *more)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    table = folder / "out" / f"visits.{form}"
    before = table.read_bytes() if table.exists() else None
    assert (before is not None) == (boundary in ("after write", "before seal", "after seal"))
    output, error = run(folder, *more)
    assert error is None, output
    ledger = Ledger(folder / "ledger.sqlite")
    assert len(entries(folder, "charge")) == charged
    assert len(entries(folder, "seal")) == 1
    read_release(table, ledger=ledger)
    assert ledger.sealed(entries(folder, "charge")[-1]) == sealed_digest(table)
    if before is not None:
        assert table.read_bytes() == before
        assert "nothing charged" in output
    assert not list((folder / "out").glob("*.tmp"))
    # And once more: nothing changes any more.
    assert run(folder, *more)[1] is None
    assert len(entries(folder, "charge")) == charged


def test_a_result_that_was_lost_or_changed_is_charged_anew(folder: Path) -> None:
    assert run(folder)[1] is None
    table = folder / "out" / "visits.parquet"
    first = table.read_bytes()
    table.unlink()
    assert run(folder)[1] is None
    assert table.read_bytes() != first
    charged = entries(folder, "charge")
    assert charged == [charged[0], f"{charged[0]}#2"]
    table.write_bytes(first)  # an older sealed result under the newest one's name
    assert run(folder)[1] is None
    assert len(entries(folder, "charge")) == 3


def test_another_file_with_the_same_rows_is_the_same_release_and_other_rows_are_not(folder: Path) -> None:
    assert run(folder)[1] is None
    copy = folder / "copy.parquet"
    copy.write_bytes((folder / "visits.parquet").read_bytes())
    assert "nothing charged" in run(folder, "--data", str(copy))[0]
    rows = pq.read_table(copy)
    pq.write_table(rows.slice(1), copy)
    output, error = run(folder, "--data", str(copy))
    assert error is None
    assert "nothing charged" not in output
    assert len(entries(folder, "charge")) == 2


def test_the_limit_holds_over_releases(folder: Path) -> None:
    """Three fit, the fourth does not; it is refused before anything is computed or written."""
    for number in range(4):
        (folder / "release.yaml").write_text(SPEC.replace("upper: 60", f"upper: {60 + number}"))
        out = folder / f"out{number}"
        result = CliRunner().invoke(cli, [*words(folder), "--out", str(out)])
        if number < 2:
            assert result.exception is None, result.output
        elif isinstance(result.exception, BudgetError):
            break
    assert isinstance(result.exception, BudgetError)
    assert not list(out.glob("visits.*"))
    ledger = Ledger(folder / "ledger.sqlite")
    dataset = next(entry.dataset for entry in ledger.entries() if entry.kind == "charge")
    assert ledger.spent(dataset, delta=1e-5).epsilon <= 3.5


def test_processes_that_release_the_same_at_once_are_each_charged(folder: Path) -> None:
    """Three results with three draws of noise are three releases, whoever asks the ledger for a number first."""
    command = [sys.executable, "-m", "wardline", *words(folder)]
    working = [subprocess.Popen([*command, "--out", str(folder / f"o{number}")]) for number in range(3)]
    assert [one.wait() for one in working] == [0, 0, 0]
    charged = entries(folder, "charge")
    assert len(set(charged)) == len(charged) == 3
    ledger = Ledger(folder / "ledger.sqlite")
    files = [folder / f"o{number}" / "visits.parquet" for number in range(3)]
    for path in files:
        read_release(path, ledger=ledger)
    assert {ledger.sealed(one) for one in charged} == {sealed_digest(path) for path in files}


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_nothing_beside_the_figures_depends_on_the_rows(folder: Path, form: str) -> None:
    """An id derived from the rows would let a reader who knows all but one of them test guesses about that one."""
    more = ["--csv"] if form == "csv" else []
    texts = []
    for number in range(2):
        out = folder / f"out{number}"
        assert CliRunner().invoke(cli, [*words(folder, *more), "--out", str(out)]).exception is None
        found = read_release(out / f"visits.{form}", ledger=Ledger(folder / "ledger.sqlite"))
        texts.append((found.claim.to_json(), found.about))
        written = b"".join(path.read_bytes() for path in out.iterdir())
        assert all(one.encode() not in written for one in _derived(folder))
        rows = pq.read_table(folder / "visits.parquet")
        pq.write_table(rows.slice(2), folder / "visits.parquet")  # one patient fewer
    assert texts[0] == texts[1]


def _derived(folder: Path) -> list[str]:
    """What the ledger holds that is derived from the rows: its keys and ids."""
    rows = [entry for entry in Ledger(folder / "ledger.sqlite").entries() if entry.kind == "charge"]
    assert rows
    return [text for entry in rows for text in (entry.dataset, entry.release_id.partition("#")[0])]


def test_planning_needs_no_data_and_charges_nothing(folder: Path) -> None:
    (folder / "visits.parquet").unlink()
    output, error = run(folder, "--plan")
    assert error is None
    assert "epsilon 1" in output
    assert "std" in output
    value = json.loads(run(folder, "--plan", "--format", "json")[0])
    assert value["epsilon"] == 1
    assert [one["label"] for one in value["figures"]] == ["count", "wait"]
    assert not (folder / "ledger.sqlite").exists()
    assert not (folder / "out").exists()


def test_what_is_charged_composes_to_what_was_asked(folder: Path) -> None:
    plan = resolve_release(load_release(folder / "release.yaml")).plan
    spent = compose(plan.events, delta=plan.delta)
    assert 0.98 < spent <= 1.0


def test_text_json_and_picture(folder: Path) -> None:
    output, error = run(folder, "--plot")
    assert error is None
    assert "95 % interval" in output
    assert "epsilon 1, delta 1e-06 for each 'patient'" in output
    value = json.loads(run(folder, "--format", "json")[0])
    assert value["charged"] is False
    assert value["claim"]["quantity"] == "epsilon"
    assert {row["ward"] for row in value["rows"]} == {"north", "south", "west"}
    root = ElementTree.fromstring((folder / "out" / "visits.svg").read_text())
    text = " ".join(root.itertext())
    assert "wait, epsilon 1" in text
    assert "prefers-color-scheme: dark" in text
    assert not [element for element in root.iter() if element.tag.endswith(("script", "image", "use", "a"))]


def test_two_releases_do_not_work_in_one_folder(folder: Path) -> None:
    import fcntl

    (folder / "out").mkdir()
    with (folder / "out" / ".wardline-release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert isinstance(run(folder)[1], WorkspaceError)
    assert run(folder)[1] is None


def test_a_changed_table_or_claim_is_found(folder: Path) -> None:
    assert run(folder)[1] is None
    assert run(folder, "--csv", "--out", str(folder / "csv"))[1] is None
    parquet, csv = folder / "out" / "visits.parquet", folder / "csv" / "visits.csv"
    table = pq.read_table(parquet)
    changed = table.set_column(1, "count", pa.array([1, 2, 3]))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), folder / "changed.parquet")
    with pytest.raises(IntegrityError, match="not the one"):
        read_release(folder / "changed.parquet")
    pq.write_table(table.replace_schema_metadata(None), folder / "bare.parquet")
    with pytest.raises(IntegrityError, match="no claim"):
        read_release(folder / "bare.parquet")
    csv.write_text(csv.read_text().replace("north", "nord"))
    with pytest.raises(IntegrityError, match="not the one"):
        read_release(csv)
    # Somebody who also mends the claim is found out by the ledger alone.
    metadata = json.loads(table.schema.metadata[b"wardline.release"])
    metadata["claim"]["value"] = 0.1
    pq.write_table(table.replace_schema_metadata({b"wardline.release": json.dumps(metadata)}), parquet)
    assert read_release(parquet).claim.value == 0.1
    with pytest.raises(IntegrityError, match="seal"):
        read_release(parquet, ledger=Ledger(folder / "ledger.sqlite"))
    (csv.parent / "visits.claim.json").unlink()
    with pytest.raises(IntegrityError, match="no claim"):
        read_release(csv)


@pytest.mark.data
def test_average_income_per_state_at_epsilon_one_half(data_root: Path, tmp_path: Path) -> None:
    """The example's promise: 20 states, most of them within a few percent of the truth."""
    example = ROOT / "examples" / "acs-income" / "release.yaml"
    source = data_root / "acs_income" / "train.parquet"
    more = ["--data", str(source), "--out", str(tmp_path), "--ledger", str(tmp_path / "l.sqlite"), "--plot", "--quiet"]
    result = CliRunner().invoke(cli, ["release", str(example), *more])
    assert result.exception is None, result.output
    made = read_release(tmp_path / "income-by-state.parquet")
    assert made.claim.value == 0.5
    assert made.claim.parameters["unit"] == "household"
    truth = pq.read_table(source).group_by("stabbr").aggregate([("pincp", "mean")]).to_pydict()
    means = dict(zip(truth["stabbr"], truth["pincp_mean"], strict=True))
    errors = [abs(row["income"] / means[row["stabbr"]] - 1) for row in made.table.to_pylist()]
    assert len(errors) == 20
    assert np.median(errors) < 0.06  # 1.2 % is usual; each release has its own noise
    assert (tmp_path / "income-by-state.svg").exists()


@pytest.mark.data
def test_routes_per_cell_at_epsilon_one_half(data_root: Path, tmp_path: Path) -> None:
    """The example's promise: a map of all cells of the window, and districts whose counts say something."""
    folder = ROOT / "examples" / "geolife-routes"
    found = importlib.util.spec_from_file_location("routes", folder / "routes.py")
    assert found is not None
    assert found.loader is not None
    routes = importlib.util.module_from_spec(found)
    found.loader.exec_module(routes)
    routes.main(str(data_root / "geolife" / "train.parquet"), str(tmp_path / "routes.parquet"))
    for name, cells in (("release", 10_800), ("coarse", 108)):
        more = ["--data", str(tmp_path / "routes.parquet"), "--out", str(tmp_path), "--plot", "--quiet"]
        result = CliRunner().invoke(
            cli, ["release", str(folder / f"{name}.yaml"), *more, "--ledger", str(tmp_path / "l.sqlite")]
        )
        assert result.exception is None, result.output
        plan = resolve_release(load_release(folder / f"{name}.yaml"), data=str(tmp_path / "routes.parquet")).plan
        made = read_release(tmp_path / f"{load_release(folder / f'{name}.yaml').spec.name}.parquet")
        assert made.table.num_rows == cells
        assert made.claim.value == 0.5
        assert made.claim.parameters["unit"] == "person"
        exact = collect(plan.query).groups.statistics["rows"].values
        assert exact.sum() <= 4 * 143
        low, high = (made.table.column(f"routes_{end}").to_numpy() for end in ("low", "high"))
        assert ((low <= exact) & (exact <= high)).mean() > 0.9
    busiest = int(exact.argmax())
    # The noise of a district is 11; the busiest has about 200. Seven deviations of Laplace noise: 1 in 20,000.
    assert made.table.column("routes")[busiest].as_py() == pytest.approx(exact[busiest], abs=80)
