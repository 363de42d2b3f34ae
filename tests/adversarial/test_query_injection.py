"""Names and values that are SQL themselves: inert on every engine, in every place where a query takes one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from wardline.core import DataError
from wardline.dp.engines import DuckDbEngine, PostgresEngine, SparkEngine
from wardline.dp.queries import Bound, Count, Key, Persons, Query, Sum, Table, TopK, collect

EVIL = [
    '"; DROP TABLE canary; --',
    "'; DROP TABLE canary; --",
    "`; DROP TABLE canary; --",
    "x' OR '1'='1",
    "a\\' OR 1=1 --",
    'a""\'b``c',
    "100% %s %(a)s {0} $1 ? :a",
    "/* */ -- \n ; \t",
    "😀\u202edesrever\u202c e\u0301",
    "a.b.c",
    "suspects",
    "CAST(1/0 AS INT)",
    "*",
    " ",
]
NUL = "a\0b"


def rows(person: str, key: str, value: str, word: str) -> pa.Table:
    return pa.table({person: [1, 1, 2, 3], key: [word, "plain", word, "plain"], value: [1.0, 2.0, 3.0, 4.0]})


def asked(table: Table, engine: Any, person: str, key: str, value: str, word: str) -> list[Any]:
    """Every place of a query at once; what comes out must be what stands in `rows`."""
    query = Query(
        table=table,
        unit=person,
        bound=Bound(rows=8),
        by=(Key(key, [word, "plain"]),),
        aggregates=(
            Count(label=word),
            Persons(),
            Sum(value, lower=0, upper=10, quantum=1.0),
            TopK(key, k=1, values=[word]),
        ),
        where=None
        if "\0" in word
        else f"\"{key.replace(chr(34), chr(34) * 2)}\" <> '{word.replace(chr(39), chr(39) * 2)}x'",
    )
    found = collect(query, engine)
    figures = [one.values.tolist() for one in found.groups.statistics.values()]
    return [found.groups.keys[key].to_pylist(), *figures, found.candidates[3].statistics["rows"].values.tolist()]


def expected(word: str) -> list[Any]:
    return [[word, "plain"], [2, 2], [2, 2], [4, 6], [2, 0]]


def names(evil: str) -> tuple[str, str, str]:
    return f"p{evil}", f"k{evil}", f"{evil}v"


@pytest.mark.parametrize("number", range(len(EVIL)))
def test_duckdb(number, tmp_path):
    evil = EVIL[number]
    person, key, value = names(evil)
    table = rows(person, key, value, evil)
    folder = tmp_path / evil.replace("/", "|")
    folder.mkdir()
    path = folder / f"{evil.replace('/', '|')}[0]*?.parquet"  # a pattern, too
    pq.write_table(table, path)
    decoy = folder / f"{evil.replace('/', '|')}0xy.parquet"
    pq.write_table(table.slice(0, 1), decoy)
    engine = DuckDbEngine(threads=1)
    for source in (table, path):
        assert asked(Table(source), engine, person, key, value, evil) == expected(evil)


def test_duckdb_nul():
    table = rows("p", "k", "v", NUL)
    assert asked(Table(table), DuckDbEngine(threads=1), "p", "k", "v", NUL) == expected(NUL)


def test_duckdb_pasted_names_would_have_been_run():
    """The control: put together as text, the same name does its work."""
    database = duckdb.connect()
    database.execute("CREATE TABLE canary (a INT)")
    database.execute('SELECT 1 AS "x' + EVIL[0])  # the quote in the name closes the one before it
    with pytest.raises(duckdb.CatalogException):
        database.execute("SELECT * FROM canary")


@pytest.fixture
def server(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS canary (a int)")
        yield connection
        connection.execute("DROP TABLE IF EXISTS canary")


@pytest.mark.parametrize("number", range(len(EVIL)))
def test_postgres(number, server, postgres_url):
    evil = EVIL[number]
    person, key, value = names(evil)
    schema, name = f"s{evil}", f"{evil}t"
    table = rows(person, key, value, evil)
    where = sql.Identifier(schema, name)
    server.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    try:
        columns = [
            sql.SQL("{} " + kind).format(sql.Identifier(n))
            for n, kind in zip(table.column_names, ("int", "text", "float8"), strict=True)
        ]
        server.execute(sql.SQL("CREATE TABLE {} ({})").format(where, sql.SQL(", ").join(columns)))
        psycopg.RawCursor(server).executemany(
            sql.SQL("INSERT INTO {} VALUES ($1, $2, $3)").format(where),
            list(zip(*table.to_pydict().values(), strict=True)),
        )
        # A dot in a schema's name is written %2E, which `quote` leaves alone.
        source = f"{postgres_url}#{quote(schema, safe='').replace('.', '%2E')}.{quote(name, safe='')}"
        assert asked(Table(source), PostgresEngine(), person, key, value, evil) == expected(evil)
        assert server.execute("SELECT count(*) FROM canary").fetchone() == (0,)
    finally:
        server.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def test_postgres_nul_and_names_that_do_not_exist(server, postgres_url):
    server.execute("CREATE TABLE IF NOT EXISTS plain AS SELECT 1 AS p, 'plain' AS k, 1.0 AS v")
    source = Table(f"{postgres_url}#public.plain")
    found = asked(source, PostgresEngine(), "p", "k", "v", NUL)  # a value that PostgreSQL cannot even hold
    assert found == [[NUL, "plain"], [0, 1], [0, 1], [0, 1], [0, 0]]
    for evil in [*EVIL, NUL]:
        with pytest.raises(DataError):
            asked(source, PostgresEngine(), "p", "k", evil, "word")
        with pytest.raises(DataError):
            asked(Table(f"{postgres_url}#public.{quote(evil)}"), PostgresEngine(), "p", "k", "v", "word")
    assert server.execute("SELECT count(*) FROM canary").fetchone() == (0,)


def test_postgres_pasted_values_would_have_been_run(server):
    """The control."""
    server.execute(f"SELECT '{EVIL[1]}".encode())
    with pytest.raises(psycopg.errors.UndefinedTable):
        server.execute("SELECT count(*) FROM canary")


@pytest.mark.slow
def test_spark(spark_session):
    engine = SparkEngine(spark=spark_session)
    for evil in [EVIL[1], EVIL[2], EVIL[4], EVIL[8], NUL]:
        person, key, value = names(evil) if "\0" not in evil else ("p", "k", "v")
        table = rows(person, key, value, evil)
        assert asked(Table(table), engine, person, key, value, evil) == expected(evil)
        with pytest.raises(DataError):
            asked(Table(evil), engine, person, key, value, evil)
    # The control: pasted, the value makes the condition true for every row.
    spark_session.createDataFrame(rows("p", "k", "v", "w")).createOrReplaceTempView("pasted")
    assert spark_session.sql(f"SELECT * FROM pasted WHERE k = '{EVIL[3]}'").count() == 4
    assert spark_session.sql("SELECT * FROM pasted WHERE k = :k", args={"k": EVIL[3]}).count() == 0
