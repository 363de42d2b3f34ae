"""DuckDB on files and Arrow tables: what is read, what is refused, and that a table cannot change under way."""

from __future__ import annotations

import datetime
import gzip
import math
import os

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from wardline.core import DataError
from wardline.dp.engines import DuckDbEngine, default_engine, source_digest
from wardline.dp.engines.files import stamps
from wardline.dp.queries import (
    MAGNITUDES,
    Bound,
    Count,
    Histogram,
    Key,
    Magnitudes,
    Mean,
    Persons,
    Quantiles,
    Query,
    Sum,
    Table,
    Variance,
    collect,
)

ENGINE = DuckDbEngine(threads=1)
PEOPLE = pa.table(
    {
        "person": [1, 1, 2, 3, 3, 3],
        "area": ["n", "s", "n", "s", "s", "n"],
        "income": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
    }
)


def query(source=PEOPLE, **parts):
    return Query(
        **{
            "table": Table(source),
            "unit": "person",
            "bound": Bound(rows=8),
            "aggregates": (Count(), Sum("income", lower=0, upper=100, quantum=1.0)),
            **parts,
        }
    )


def figures(found):
    return [one.values.tolist() for one in found.groups.statistics.values()]


@pytest.mark.parametrize("form", ["arrow", "parquet", "csv", "csv.gz", "glob", "dictionary"])
def test_sources_give_the_same(form, tmp_path):
    source = PEOPLE
    match form:
        case "parquet":
            source = tmp_path / "people.parquet"
            pq.write_table(PEOPLE, source)
        case "csv":
            source = str(tmp_path / "people.csv")
            pa.csv.write_csv(PEOPLE, source)
        case "csv.gz":
            source = tmp_path / "people.csv.gz"
            pa.csv.write_csv(PEOPLE, tmp_path / "plain.csv")
            source.write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes()))
        case "glob":
            for number in range(3):
                pq.write_table(PEOPLE.slice(2 * number, 2), tmp_path / f"part{number}.parquet")
            source = str(tmp_path / "part*.parquet")
        case "dictionary":
            source = PEOPLE.set_column(1, "area", PEOPLE["area"].dictionary_encode())
    found = collect(query(source, by=(Key("area"),)), ENGINE)
    assert found.groups.keys.to_pydict() == {"area": ["n", "s"]}
    assert figures(found) == [[3, 3], [100, 110], [3, 2]]


def test_the_default_engine():
    assert isinstance(default_engine(Table("x.csv")), DuckDbEngine)
    assert type(default_engine(Table("postgresql://h/d#t"))).__name__ == "PostgresEngine"
    assert figures(collect(query())) == [[6], [210]]


def test_empty_tables_and_absent_groups():
    empty = PEOPLE.slice(0, 0)
    assert figures(collect(query(empty), ENGINE)) == [[0], [0]]
    assert figures(collect(query(empty, by=(Key("area", ["n", "x"]),)), ENGINE)) == [[0, 0], [0, 0]]
    found = collect(query(empty, by=(Key("area"),), aggregates=(Count(),)), ENGINE)
    assert (found.groups.size, found.groups.keys.num_rows, found.groups.found) == (0, 0, True)
    found = collect(query(by=(Key("area", ["nobody", "s"]),)), ENGINE)
    assert found.groups.keys["area"].to_pylist() == ["nobody", "s"]
    assert figures(found) == [[0, 3], [0, 110]]


def test_rows_of_unlisted_groups_use_up_nobodys_bound():
    found = collect(query(by=(Key("area", ["n"]),), bound=Bound(rows=1)), ENGINE)
    assert figures(found)[0] == [3]


def test_values_that_are_missing_or_not_finite():
    values = [None, math.nan, math.inf, -math.inf, 5.0, -0.0]
    table = pa.table({"person": range(6), "x": pa.array(values, from_pandas=False)})
    found = collect(
        query(
            table,
            aggregates=(
                Count(),
                Mean("x", lower=0, upper=10),
                Variance("x", lower=0, upper=10),
                Quantiles("x", lower=0, upper=10, bins=2),
                Histogram("x", edges=[-1, 0, 5]),
                Magnitudes("x"),
            ),
        ),
        ENGINE,
    )
    statistics = found.groups.statistics
    variance = found.names(found.query.aggregates[2])
    assert statistics["rows"].values[0] == 6
    assert statistics[variance["count"]].values[0] == 4
    one, two = statistics[variance["sum"]], statistics[variance["squares"]]
    assert one.values[0] * one.quantum + 4 * one.centre == 15  # 10 + 0 + 5 + 0
    assert two.values[0] * two.quantum + 4 * two.centre == pytest.approx(75, rel=1e-5)  # 3 ends of 25, one middle
    bins = [statistics[found.names(a)["bins"]].values[0] for a in found.query.aggregates[3:]]
    assert bins[0].tolist() == [2, 2]
    assert bins[1].tolist() == [0, 2]  # 5.0 on the last edge counts, infinities do not
    assert (bins[2][0], bins[2][-1], bins[2].sum()) == (1, 1, 4)
    assert bins[2][len(MAGNITUDES) // 2] == 1
    assert bins[2][np.searchsorted(MAGNITUDES, 5.0, side="right")] == 1


def test_cells_and_dates_and_truth():
    table = pa.table(
        {
            "person": range(4),
            "x": [0.0149, -0.001, 0.005, 1e300],
            "day": [datetime.date(1969, 12, 31)] * 2 + [datetime.date(2020, 2, 29)] * 2,
            "yes": [True, False, None, True],
        }
    )
    found = collect(query(table, aggregates=(Count(),), by=(Key("x", [2, -1, 1, 0], cell=0.005),)), ENGINE)
    assert figures(found) == [[1, 1, 1, 0]]
    found = collect(query(table, aggregates=(Count(),), by=(Key("day"),)), ENGINE)
    assert found.groups.keys["day"].to_pylist() == [datetime.date(1969, 12, 31), datetime.date(2020, 2, 29)]
    assert figures(found)[0] == [2, 2]
    found = collect(query(table, aggregates=(Count(),), by=(Key("yes", [True, False]),)), ENGINE)
    assert figures(found) == [[2, 1]]
    with pytest.raises(DataError, match="finite") as caught:  # 1e300 is in no cell
        collect(query(table, aggregates=(Count(),), by=(Key("x", cell=0.005),)), ENGINE)
    assert caught.value.where == "x"


def test_each_row_its_own_person():
    found = collect(
        query(unit=None, bound=None, by=(Key("area"),), aggregates=(Persons(), Mean("income", lower=0, upper=100))),
        ENGINE,
    )
    assert figures(found)[0] == [3, 3]
    assert {one.per_unit.l1 for name, one in found.groups.statistics.items() if not name.startswith("sum")} == {1}


BAD = {
    "null person": (PEOPLE.set_column(0, "person", pa.array([1, None, 2, 3, 3, 3])), {}, "person", "lacks"),
    "no person": (PEOPLE.drop_columns("person"), {}, "person", "no such unit"),
    "no column": (PEOPLE.drop_columns("income"), {}, "income", "no such column"),
    "wrong case": (PEOPLE.rename_columns(["Person", "area", "income"]), {}, "person", "no such"),
    "null key": (
        PEOPLE.set_column(1, "area", pa.array(["n", None, "n", "s", "s", "n"])),
        {"by": (Key("area"),)},
        "area",
        "lacks",
    ),
    "text summed": (PEOPLE.set_column(2, "income", PEOPLE["area"]), {}, "income", "cannot name a number"),
    "number as key": (PEOPLE, {"by": (Key("income"),)}, "income", "cannot name a key"),
    "number as person": (PEOPLE, {"unit": "income", "aggregates": (Count(),)}, "income", "cannot name a person"),
    "text cell": (PEOPLE, {"by": (Key("area", cell=1.0),)}, "area", "cannot name a cell"),
    "values of another kind": (PEOPLE, {"by": (Key("area", [1]),)}, "area", "lists values of another"),
    "constant of another kind": (PEOPLE, {"where": "area = 1"}, "area", "compares"),
    "text in order": (PEOPLE, {"where": "area < 'n'"}, "area", "compares"),
    "where without column": (PEOPLE, {"where": "other = 1"}, "other", "no such column"),
    "lists": (pa.table({"person": [[1]], "income": [1.0]}), {}, "person", "kind other"),
}


@pytest.mark.parametrize("case", BAD)
def test_tables_that_do_not_fit(case):
    table, parts, where, says = BAD[case]
    with pytest.raises(DataError, match=says) as caught:
        collect(query(table, **parts), ENGINE)
    assert caught.value.where == where
    assert caught.value.hint


def test_sums_that_could_overflow_are_refused_and_never_wrap():
    """Three rows of 2**62 steps: 64 bits would wrap to a negative number."""
    table = pa.table({"person": [1, 2, 3], "x": [1.0, 1.0, 1.0]})
    coarse = Sum("x", lower=0, upper=1, quantum=2.0**-53)
    assert figures(collect(query(table, aggregates=(coarse,)), ENGINE)) == [[3 * 2**53]]
    rows = pa.table({"person": range(1100), "x": np.ones(1100)})
    with pytest.raises(DataError, match="exceed 64 bits") as caught:
        collect(query(rows, aggregates=(coarse,)), ENGINE)
    assert "quantum" in caught.value.hint
    with np.errstate(over="ignore"):
        assert np.full(1100, 2**53, dtype=np.int64).sum() < 0  # what a plain sum of 64 bits would have given


def test_ranges_not_found_yet():
    with pytest.raises(ValueError, match="no range"):
        collect(query(aggregates=(Mean("income"),)), ENGINE)


def test_files_that_are_none(tmp_path):
    for name in ["missing.parquet", "mis*.csv", "nul\0.csv"]:
        with pytest.raises(DataError, match="no such file"):
            collect(query(tmp_path / name), ENGINE)
    (tmp_path / "people.txt.bz2").write_bytes(b"x")
    with pytest.raises(DataError, match="neither Parquet nor CSV"):
        collect(query(tmp_path / "people.txt.bz2"), ENGINE)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 secret of Ann PAR1")
    with pytest.raises(DataError, match="refused") as caught:
        collect(query(tmp_path / "broken.parquet"), ENGINE)
    assert "Ann" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_errors_of_the_engine_quote_no_values(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("person,income\n" + "1,1\n" * 30000 + "2,Ann earns 7\n")
    with pytest.raises(DataError) as caught:
        collect(query(path), ENGINE)
    assert "Ann" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


@pytest.mark.parametrize("how", ["replaced", "same size and time", "removed", "added"])
def test_a_file_that_changes_under_way(how, tmp_path):
    path = tmp_path / "part0.parquet"
    pq.write_table(PEOPLE, path, use_dictionary=False)
    asked = query(str(tmp_path / "*.parquet"))
    before = path.stat()
    other = PEOPLE.set_column(2, "income", pa.array(PEOPLE["income"].to_numpy()[::-1].copy() * 1.5))
    with pytest.raises(DataError, match="changed while it was read") as caught:  # noqa: PT012, SIM117
        with ENGINE.open(asked.table, columns=["income"]) as session:
            statement = "SELECT sum(income) AS s FROM source"
            first = session.connection.sql(statement).fetchall()
            match how:
                case "replaced":
                    pq.write_table(other, tmp_path / "new")
                    os.replace(tmp_path / "new", path)  # noqa: PTH105
                case "same size and time":
                    pq.write_table(other, path, use_dictionary=False)
                    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
                case "removed":
                    path.unlink()
                    pq.write_table(PEOPLE, tmp_path / "part1.parquet")
                case "added":
                    pq.write_table(other, tmp_path / "part1.parquet")
            if how in ("replaced", "same size and time"):
                # The control: without the check, two statements of one query would have seen two tables.
                assert session.connection.sql(statement).fetchall() != first
    assert caught.value.hint


def test_stamps_wait_for_the_clock(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"1")
    first = stamps([path])
    path.write_bytes(b"2")  # at once after the look, of the same size
    assert stamps([path]) != first


def test_the_digest_of_a_source(tmp_path):
    path = tmp_path / "people.parquet"
    pq.write_table(PEOPLE, path)
    one = source_digest(Table(path))
    assert one == source_digest(Table(str(path)))
    pq.write_table(PEOPLE.slice(1), path)
    assert source_digest(Table(path)) != one
    assert source_digest(Table(PEOPLE)) == source_digest(Table(pa.table(PEOPLE.to_pydict())))
    assert source_digest(Table("postgresql://h/d#t")) is None


def test_one_engine_serves_many_threads_and_queries():
    from concurrent.futures import ThreadPoolExecutor

    engine = DuckDbEngine(threads=1)
    tables = [PEOPLE.slice(0, n) for n in range(1, 7)] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda t: figures(collect(query(t, by=(Key("area", ["n", "s"]),)), engine)), tables))
    assert [sum(one[0]) for one in found] == [1, 2, 3, 4, 5, 6] * 4


def test_spilling_has_a_limit_and_a_folder_of_its_own_that_goes_away(tmp_path):
    rows = 400_000
    table = pa.table({"person": np.arange(rows), "income": np.ones(rows)})
    engine = DuckDbEngine(threads=1, memory_limit="24MB", spill_folder=tmp_path)
    assert figures(collect(query(table), engine)) == [[rows], [rows]]
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    database = engine._connect()
    limit = database.execute("SELECT current_setting('memory_limit'), current_setting('temp_directory')").fetchone()
    assert limit[0].startswith("22.8")  # MiB
    assert limit[1] == str(folder)
    del database, engine
    assert not list(tmp_path.iterdir())
