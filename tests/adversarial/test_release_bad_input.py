"""Releases from bad input: one clear error each, nothing charged, no file left; hostile names and values do no harm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from wardline.cli.app import cli
from wardline.core import DataError, PolicyError, SecureRandom, WardlineError
from wardline.dp.engines import DuckDbEngine, Session
from wardline.dp.ledger import Ledger
from wardline.dp.queries import Bound, Count, Key, Mean, Query, Sum, Table
from wardline.dp.releases import plan_release, read_release, release
from wardline.dp.releases.noise import Noise
from wardline.plan.resolve_release import resolve_release
from wardline.policy.release_loader import load_release, parse_release

SPEC = """\
schema: 1
name: visits
purpose: How many visits each ward has.
table: {source: "file:visits.parquet"}
unit: {column: patient, rows: 3}
by:
  - {column: ward, values: [north, south]}
aggregates:
  - {kind: count}
  - {kind: mean, column: cost, lower: 0, upper: 100}
epsilon: 1
"""

ROWS = {
    "patient": [1, 1, 2, 3, 4, 5],
    "ward": ["north", "south", "north", "south", "north", "north"],
    "cost": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "release.yaml").write_text(SPEC)
    pq.write_table(pa.table(ROWS), tmp_path / "visits.parquet")
    return tmp_path


def run(folder: Path, *more: str) -> tuple[int, str, WardlineError | None]:
    words = ["release", str(folder / "release.yaml"), "--quiet", "--out", str(folder / "out")]
    result = CliRunner().invoke(cli, [*words, "--ledger", str(folder / "ledger.sqlite"), *more])
    error = result.exception if isinstance(result.exception, WardlineError) else None
    assert result.exception is None or isinstance(result.exception, WardlineError | SystemExit), result.exception
    return (error.exit_code if error else result.exit_code), result.output, error


def charges(folder: Path) -> int:
    path = folder / "ledger.sqlite"
    return sum(entry.kind == "charge" for entry in Ledger(path).entries()) if path.exists() else 0


def nothing_happened(folder: Path) -> bool:
    out = folder / "out"
    files = [path.name for path in out.iterdir()] if out.exists() else []
    return charges(folder) == 0 and not [name for name in files if not name.endswith(".lock")]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("epsilon: 1", "epsilon: 0", 11, "above 0"),
        ("epsilon: 1", "epsilon: -1", 11, "above 0"),
        ("epsilon: 1", "epsilon: .nan", 11, "finite"),
        ("epsilon: 1", "epsilon: .inf", 11, "finite"),
        ("epsilon: 1", "epsilon: 1001", 11, "at most 1000"),
        ("epsilon: 1", "epsilon: 1\ndelta: 1", 12, "below 1"),
        ("epsilon: 1", "epsilon: 1\ndelta: -1e-9", 12, "at least 0"),
        ("epsilon: 1", "epsilon: yes", 11, "number"),
        ("lower: 0, upper: 100", "lower: 100, upper: 0", 10, "not below"),
        ("lower: 0, upper: 100", "lower: 5, upper: 5", 10, "not below"),
        ("lower: 0, upper: 100", "lower: 0", 10, "without the other"),
        ("lower: 0, upper: 100", "lower: 0, upper: .inf", 10, "finite"),
        ("{kind: count}", "{kind: counts}", 9, "counts"),
        ("rows: 3", "rows: 0", 5, "at least 1"),
        (", rows: 3", "", 5, "bounds nothing"),
        ("values: [north, south]", "values: [north, north]", 7, "twice"),
        ("values: [north, south]", "values: [north, 3]", 7, "one type"),
        (", values: [north, south]", "", 11, "delta"),
        ("epsilon: 1", "epsilon: 1\nwhere: cost >", 12, ""),
        ("epsilon: 1", "epsilon: 1\nwhere: 'cost > 1); DROP TABLE visits; --'", 12, ""),
        ("epsilon: 1", "epsilon: 1\nepsilom: 2", 12, "unknown key"),
        ("epsilon: 1", "epsilon: 1\nshare: {nobody: 2}", 11, "nobody"),
        ("epsilon: 1", "epsilon: 1\nplot: nothing", 12, "nothing"),
        ("epsilon: 1", "epsilon: 1\ntotals: true\nlimit: {epsilon: 0, delta: 1e-6}", 13, "above 0"),
        ("file:visits.parquet", "ftp://x/visits", 4, "file:"),
    ],
)
def test_what_the_file_says_wrongly(folder: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in SPEC
    (folder / "release.yaml").write_text(SPEC.replace(old, new))
    code, _, error = run(folder)
    assert code == 2
    assert isinstance(error, PolicyError)
    assert error.where == f"release.yaml:{line}", error
    assert words in str(error)
    assert error.hint
    assert nothing_happened(folder)


BAD_TABLES = {
    "no unit column": ({**ROWS, "patient": None}, "patient"),
    "a missing person": ({**ROWS, "patient": [1, 1, None, 3, 4, 5]}, "patient"),
    "no key column": ({**ROWS, "ward": None}, "ward"),
    "a key of another kind": ({**ROWS, "ward": [1, 2, 1, 2, 1, 2]}, "ward"),
    "no column to average": ({**ROWS, "cost": None}, "cost"),
    "text to average": ({**ROWS, "cost": ["a"] * 6}, "cost"),
    "lists to average": ({**ROWS, "cost": [[1.0]] * 6}, "cost"),
    "truth values as persons": ({**ROWS, "patient": [True] * 6}, "patient"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_what_the_table_lacks_is_found_before_anything_is_charged(folder: Path, name: str) -> None:
    columns, where = BAD_TABLES[name]
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), folder / "visits.parquet")
    code, output, error = run(folder)
    assert code == 2
    assert isinstance(error, DataError), output
    assert where in error.where
    assert error.hint
    assert nothing_happened(folder)


def test_found_keys_that_are_missing_in_a_row_are_refused(folder: Path) -> None:
    (folder / "release.yaml").write_text(SPEC.replace(", values: [north, south]", "") + "delta: 1e-5\n")
    table = pa.table({**ROWS, "ward": ["north", None, "north", "south", "north", "north"]})
    pq.write_table(table, folder / "visits.parquet")
    code, _, error = run(folder)
    assert (code, nothing_happened(folder)) == (2, True)
    assert isinstance(error, DataError)
    assert "ward" in error.where


def test_sums_that_could_overflow_are_refused(folder: Path) -> None:
    """With a quantum so fine that 64 bits do not hold the sum; the same table with a coarser one is released."""
    table = Table(pa.table({"x": [1.0] * 4096}))
    fine = Query(table=table, unit=None, aggregates=(Sum("x", lower=0, upper=1, quantum=2.0**-52),))
    ledger = Ledger(folder / "ledger.sqlite")
    with pytest.raises(DataError, match="64 bits"):
        release(fine, epsilon=1, ledger=ledger)
    assert charges(folder) == 0
    coarse = Query(table=table, unit=None, aggregates=(Sum("x", lower=0, upper=1, quantum=2.0**-20),))
    made = release(coarse, epsilon=1, ledger=ledger)
    assert 4096 - 60 < made.table.column("x_sum")[0].as_py() < 4096 + 60


def test_a_damaged_or_missing_file(folder: Path) -> None:
    (folder / "visits.parquet").write_bytes(b"PAR1 but no more")
    assert isinstance(run(folder)[2], DataError)
    (folder / "visits.parquet").unlink()
    code, _, error = run(folder)
    assert code == 2
    assert isinstance(error, DataError)
    assert "visits.parquet" in error.where
    assert nothing_happened(folder)


def test_a_folder_that_cannot_be_written_is_found_before_the_charge(folder: Path) -> None:
    (folder / "out").write_text("a file stands where the folder should be")
    code, _, error = run(folder)
    assert code == 2
    assert error is not None
    assert "out" in error.where
    assert charges(folder) == 0


def test_not_a_number_is_left_out_and_infinite_values_are_clipped() -> None:
    values = [50.0] * 4000 + [math.nan] * 1000 + [math.inf] * 1000 + [None] * 500
    table = Table(pa.table({"x": values}))
    query = Query(table=table, unit=None, aggregates=(Count(), Mean("x", lower=0, upper=100, label="mean")))
    row = release(query, epsilon=20).table.to_pylist()[0]
    assert abs(row["count"] - 6500) < 20  # a row without a number is a row
    assert row["mean"] == pytest.approx(60, abs=1)  # (4000 * 50 + 1000 * 100) / 5000


def test_an_empty_table_and_empty_groups_are_released_like_others(folder: Path) -> None:
    """Whether anybody is there is itself private, so there is no error to tell it by."""
    schema = pa.schema([("patient", pa.int64()), ("ward", pa.string()), ("cost", pa.float64())])
    pq.write_table(schema.empty_table(), folder / "visits.parquet")
    code, output, _ = run(folder)
    assert code == 0, output
    rows = read_release(folder / "out" / "visits.parquet").table.to_pylist()
    assert [row["ward"] for row in rows] == ["north", "south"]
    assert all(row["count"] < 100 and row["cost_mean_high"] - row["cost_mean_low"] > 0 for row in rows)


def test_an_empty_table_has_no_groups_to_find_and_no_range() -> None:
    table = Table(pa.schema([("g", pa.string()), ("x", pa.float64())]).empty_table())
    found = release(Query(table=table, unit=None, by=(Key("g"),), aggregates=(Count(),)), epsilon=1, delta=1e-6)
    assert found.table.num_rows == 0
    assert "no group was large enough" in str(found)
    with pytest.raises(DataError, match="stand out") as caught:
        release(Query(table=table, unit=None, aggregates=(Mean("x"),)), epsilon=1)
    assert "charged" in caught.value.hint


HOSTILE = [
    '"; DROP TABLE t; --',
    "it's",
    "a\\b",
    "東京 é \u0301",
    "select",
    "\u202edlrow",
    "a\nb",
    "${HOME}",
    "<script>",
    "`x`",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_keys_are_names_and_keys(name: str, tmp_path: Path) -> None:
    values = [name] * 60 + ["other"] * 40
    table = pa.table({name: values, name + "2": [1.0] * 100, name + "3": list(range(100))})
    query = Query(
        table=Table(table),
        unit=name + "3",
        bound=Bound(rows=1),
        by=(Key(name, [name, "other"]),),
        aggregates=(Count(), Mean(name + "2", lower=0, upper=2)),
    )
    made = release(query, epsilon=20, out=tmp_path / "a.csv")
    rows = made.table.to_pylist()
    assert [row[name] for row in rows] == [name, "other"]
    assert abs(rows[0]["count"] - 60) < 10
    made.save(tmp_path / "a.parquet")
    made.plot(tmp_path / "a.svg")
    picture = (tmp_path / "a.svg").read_text()
    assert "<script" not in picture
    assert "\u202e" not in picture
    assert "<script" not in made._repr_html_()
    assert "\u202e" not in str(made)
    if "\n" not in name:  # a line break in a heading is no heading of CSV that all readers agree on
        assert read_release(tmp_path / "a.csv").table.equals(made.table)
    assert read_release(tmp_path / "a.parquet").table.equals(made.table)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, 1e6])
def test_the_library_refuses_a_bad_epsilon(epsilon: float) -> None:
    query = Query(table=Table(pa.table({"x": [1]})), unit=None, aggregates=(Count(),))
    with pytest.raises(ValueError, match="epsilon"):
        plan_release(query, epsilon=epsilon)


@pytest.mark.parametrize("delta", [-1e-9, 1.0, 2.0, math.nan])
def test_the_library_refuses_a_bad_delta(delta: float) -> None:
    query = Query(table=Table(pa.table({"x": [1]})), unit=None, aggregates=(Count(),))
    with pytest.raises(ValueError, match="delta"):
        plan_release(query, epsilon=1.0, delta=delta)


def test_columns_of_one_name_are_refused() -> None:
    table = Table(pa.table({"count": [1], "x": [1.0]}))
    keys = (Key("count", [1]),)
    with pytest.raises(ValueError, match="two columns called 'count'"):
        plan_release(Query(table=table, unit=None, by=keys, aggregates=(Count(),)), epsilon=1)
    aggregates = (Count(label="a"), Sum("x", lower=0, upper=1, label="a_low"))
    with pytest.raises(ValueError, match="two columns called 'a_low'"):
        plan_release(Query(table=table, unit=None, aggregates=aggregates), epsilon=1)


@pytest.mark.parametrize(
    "text",
    ["", "- a list", "schema: 2\nanything: goes", "schema: 1", "a: !!python/object/apply:os.system [ls]", "a: &x [*x]"],
)
def test_hostile_files_give_one_error_with_a_line(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_release(text.encode())
    assert caught.value.where.startswith("release.yaml")


def test_the_good_file_is_good(folder: Path) -> None:
    """The control of all tests above: nothing but what they change is wrong with it."""
    resolved = resolve_release(load_release(folder / "release.yaml"))
    assert resolved.plan.epsilon == 1
    code, output, _ = run(folder, "--plot")
    assert code == 0, output
    assert charges(folder) == 1


class _Meddling:
    """An engine whose table is written to by somebody else right after it was read."""

    def __init__(self, path: Path, times: int) -> None:
        self._engine, self._path, self._left = DuckDbEngine(), path, times

    @contextmanager
    def open(self, table: Table, *, columns: Sequence[str]) -> Iterator[Session]:
        with self._engine.open(table, columns=columns) as session:
            yield session
        self._left -= 1
        if self._left == 0:
            rows = pq.read_table(self._path)
            pq.write_table(pa.concat_tables([rows, rows]), self._path)


def test_a_table_that_changes_under_way_gives_no_release(folder: Path) -> None:
    """Whether it changes before the charge or after: no file, and the charge, if there was one, stays."""
    query = resolve_release(load_release(folder / "release.yaml")).plan.query
    for looks, charged in ((1, 0), (2, 1)):
        pq.write_table(pa.table(ROWS), folder / "visits.parquet")
        ledger = Ledger(folder / f"{looks}.sqlite")
        out = folder / f"{looks}.parquet"
        engine = _Meddling(folder / "visits.parquet", looks)
        with pytest.raises(DataError, match="changed"):
            release(query, epsilon=1, ledger=ledger, engine=engine, out=out)
        assert not out.exists()
        assert sum(entry.kind == "charge" for entry in ledger.entries()) == charged
    undisturbed = _Meddling(folder / "visits.parquet", 100)
    pq.write_table(pa.table(ROWS), folder / "visits.parquet")
    release(query, epsilon=1, engine=undisturbed, out=folder / "good.parquet")
    assert (folder / "good.parquet").exists()


def test_noise_never_wraps_around() -> None:
    """Numbers at the ends of 64 bits: the noisy sum is the nearest one within; plain addition would wrap."""
    limits = np.iinfo(np.int64)
    exact = np.array([limits.max, limits.min] * 500)
    noisy = Noise(kind="laplace", scale=1e6).added_to(exact, SecureRandom())
    assert (np.sign(noisy) == np.sign(exact)).all()
    assert (np.abs(noisy) > 9e18).all()
    with np.errstate(over="ignore"):
        assert (exact[0] + np.arange(3) < 0).any()


def test_noise_beyond_what_is_exact_is_refused_before_the_charge() -> None:
    aggregates = (Sum("x", lower=0, upper=1, quantum=2.0**-53),)
    query = Query(table=Table(pa.table({"x": [1.0]})), unit=None, aggregates=aggregates)
    with pytest.raises(ValueError, match="larger quantum"):
        plan_release(query, epsilon=0.01)
