"""Engines give whole numbers per group and nothing else, from one state of the table."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import exp

from wardline.core import DataError
from wardline.dp.engines import Engine, PostgresEngine
from wardline.dp.engines.postgres import PostgresSession
from wardline.dp.queries import Bound, Count, Histogram, Key, Mean, Persons, Query, Table, TopK, collect
from wardline.dp.queries.plan import Plan, specs_of

DAY = datetime.date(1970, 1, 1)
SECRET = 71234567


class Watched:
    """An engine whose results are seen by a test; before the second statement, something happens."""

    def __init__(self, engine: Engine, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.engine, self.meanwhile = engine, meanwhile
        self.seen: list[pa.Table] = []

    @contextmanager
    def open(self, table: Table, *, columns: Any) -> Iterator[Any]:
        with self.engine.open(table, columns=columns) as session:
            yield WatchedSession(session, self)


class WatchedSession:
    def __init__(self, session: Any, engine: Watched) -> None:
        self.session, self.engine = session, engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def fetch(self, statement: Any) -> pa.Table:
        if len(self.engine.seen) == 1:
            self.engine.meanwhile()
        self.engine.seen.append(self.session.fetch(statement))
        return self.engine.seen[-1]


def leaks(seen: list[pa.Table]) -> list[str]:
    """Where a person's number or value shows, or more lines than groups and bins."""
    found = [f"{one.num_rows} rows" for one in seen if one.num_rows > 6]
    for one in seen:
        found += [name for name in one.column_names if not re.fullmatch(r"n|p|m|k0|c|bin|s[0-9]+", name)]
        found += ["a value" for column in one.to_pydict().values() for value in column if str(SECRET) in str(value)]
    return found


@pytest.mark.parametrize("name", ["duckdb", "postgres", pytest.param("spark", marks=pytest.mark.slow)])
def test_rows_never_leave_the_engine(everywhere, name):
    people = [(SECRET + i, f"{SECRET}{i}", "ab"[i % 2], DAY, True, float(SECRET), SECRET) for i in range(40)]
    table = everywhere.tables(3 * people)[name]
    watched = Watched(everywhere.engines[name])
    figures = (
        Count(),
        Persons(),
        Mean("income", lower=0, upper=1),
        Histogram("age", edges=[0, 1, 1e9]),
        TopK("day", k=1),
    )
    query = Query(table=table, unit="person", bound=Bound(rows=2), by=(Key("area"),), aggregates=figures)
    found = collect(query, watched)
    assert found.groups.statistics["rows"].values.tolist() == [40, 40]
    assert len(watched.seen) == 5
    assert leaks(watched.seen) == []
    # The control: a statement that gives rows would have been noticed.
    with watched.open(table, columns=["person"]) as session:
        session.fetch(exp.select(exp.column("person", quoted=True)).from_(session.source()))
    assert {"120 rows", "person", "a value"} <= set(leaks(watched.seen))


def test_postgres_sees_one_state_while_others_write(everywhere):
    table = everywhere.tables([(i, "x", "a", DAY, True, 1.0, 1) for i in range(5)])["postgres"]

    def write() -> None:
        with psycopg.connect(everywhere.url) as other:  # committed at the end of the block
            other.execute("INSERT INTO t SELECT 0, name, area, day, adult, income, age FROM t")

    query = Query(table=table, unit="person", bound=Bound(rows=8), aggregates=(Count(),))
    watched = Watched(PostgresEngine(), write)
    found = collect(query, watched)
    assert found.groups.statistics["rows"].values.tolist() == [5]
    assert watched.seen[0]["n"].to_pylist() == [5]
    # The control: outside of a snapshot, the same two statements see two states.
    with psycopg.connect(everywhere.url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        session = PostgresSession(connection=connection, schema="public", name="t", kinds={"person": "integer"})
        plan = Plan(query=query, session=session, kinds=session.kinds)
        before = session.fetch(plan.guard())["n"].to_pylist()
        write()
        after = session.fetch(plan.groups(specs_of(query)))["s0"].to_pylist()
    assert (before, after) == ([10], [12])  # of 20 rows, person 0 has 16 and keeps 8


def test_postgres_cannot_be_written_through_a_session(everywhere):
    table, engine = everywhere.tables([])["postgres"], everywhere.engines["postgres"]
    with engine.open(table, columns=[]) as session, pytest.raises(psycopg.Error, match="read-only"):
        session.connection.execute(b"TRUNCATE t")


def test_postgres_kinds_and_places(everywhere):
    for statement in (
        "DROP TABLE IF EXISTS odd CASCADE; DROP DOMAIN IF EXISTS ward; DROP TYPE IF EXISTS mood",
        "CREATE DOMAIN ward AS text; CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE TABLE odd (p uuid, w ward, m mood, c char(4), n numeric, t timestamp)",
        "INSERT INTO odd VALUES (gen_random_uuid(), 'w', 'glad', 'ab', 'NaN', now())",
        "INSERT INTO odd VALUES (gen_random_uuid(), 'w', 'sad', 'ab', 2.5, now())",
    ):
        everywhere.postgres.execute(statement)
    everywhere.postgres.commit()
    table = Table(f"{everywhere.url}#odd")
    keys = (Key("w"), Key("m", ["glad", "sad", "none"]), Key("c", ["ab"]))
    one, figures = Bound(rows=1), (Count(), Mean("n", lower=0, upper=4))
    found = collect(Query(table=table, unit="p", bound=one, by=keys, aggregates=figures))
    assert found.groups.keys.to_pydict() == {"w": ["w", "w"], "m": ["glad", "sad"], "c": ["ab", "ab"]}
    assert [one.values.tolist() for one in found.groups.statistics.values()][:2] == [[1, 1], [0, 1]]
    with pytest.raises(DataError, match="kind other"):
        collect(Query(table=table, unit="t", bound=one, aggregates=(Count(),)))
    with pytest.raises(DataError, match="no such table"):
        collect(Query(table=Table(f"{everywhere.url}#missing"), unit=None, aggregates=(Count(),)))
    with pytest.raises(DataError, match="refused") as caught:
        collect(Query(table=Table("postgresql://nobody:hush@127.0.0.1:1/x#t"), unit=None, aggregates=(Count(),)))
    assert "hush" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.slow
def test_spark_sees_one_state(everywhere, spark_session, tmp_path):
    engine = everywhere.engines["spark"]
    path = tmp_path / "people.parquet"
    pq.write_table(pa.table({"p": [1, 2, 3]}), path)
    query = Query(table=Table(path), unit="p", bound=Bound(rows=8), aggregates=(Count(),))
    assert collect(query, engine).groups.statistics["rows"].values.tolist() == [3]
    with pytest.raises(DataError, match=r"changed|refused"):
        collect(query, Watched(engine, lambda: pq.write_table(pa.table({"p": [1, 2, 3, 4]}), path)))
    # A view that gives other rows each time it is asked is copied first.
    spark_session.sql("SELECT id AS p, rand() < 0.5 AS k FROM range(2000)").createOrReplaceTempView("coins")
    asked = exp.select(exp.Count(this=exp.column("p"))).where(exp.column("k"))
    with engine.open(Table("coins"), columns=["p", "k"]) as session:
        assert len({session.fetch(asked.from_(session.source()))[0][0].as_py() for _ in range(3)}) == 1
    coins = "SELECT count(p) FROM (SELECT id AS p, rand() < 0.5 AS k FROM range(2000)) WHERE k"
    # The control; six equal counts by chance: below 0.018**5, that is 2e-9.
    assert len({spark_session.sql(coins).collect()[0][0] for _ in range(6)}) > 1
    with pytest.raises(DataError):
        collect(Query(table=Table("no.such.table"), unit=None, aggregates=(Count(),)), engine)
    assert not [one for one in spark_session.sql("SHOW VIEWS").collect() if one.viewName.startswith("wardline_")]
