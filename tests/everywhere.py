"""The same rows in DuckDB, PostgreSQL and Spark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from wardline.dp.engines import DuckDbEngine, Engine, PostgresEngine, SparkEngine
from wardline.dp.queries import Collected, Query, Table, collect

SCHEMA = pa.schema(
    {
        "person": pa.int64(),
        "name": pa.string(),
        "area": pa.string(),
        "day": pa.date32(),
        "adult": pa.bool_(),
        "income": pa.float64(),
        "age": pa.int64(),
    }
)
POSTGRES_TYPES = {
    "person": "bigint",
    "name": 'text COLLATE "en-x-icu"',
    "area": 'text COLLATE "en-x-icu"',
    "day": "date",
    "adult": "boolean",
    "income": "float8",
    "age": "bigint",
}


class Everywhere:
    """The same rows in all three engines."""

    def __init__(self, postgres: psycopg.Connection[Any], url: str, spark: Any) -> None:
        self.postgres, self.url = postgres, url
        self.engines: dict[str, Engine] = {
            "duckdb": DuckDbEngine(threads=1),
            "postgres": PostgresEngine(),
            "spark": SparkEngine(spark=spark),
        }

    def tables(self, rows: list[tuple[Any, ...]]) -> dict[str, Table]:
        columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
        arrow = pa.table(
            {n: pa.array(v, type=SCHEMA.field(n).type) for n, v in zip(SCHEMA.names, columns, strict=True)}
        )
        with self.postgres.cursor() as cursor:
            cursor.execute("TRUNCATE t")
            cursor.executemany(f"INSERT INTO t VALUES ({', '.join(['%s'] * len(SCHEMA))})", rows)
        self.postgres.commit()
        return {"duckdb": Table(arrow), "postgres": Table(f"{self.url}#public.t"), "spark": Table(arrow)}

    def collect(self, rows: list[tuple[Any, ...]], engines: list[str], **parts: Any) -> dict[str, Collected]:
        tables = self.tables(rows)
        return {name: collect(Query(table=tables[name], **parts), self.engines[name]) for name in engines}


@pytest.fixture(scope="module")
def everywhere(postgres_url: str, spark_session: Any) -> Iterator[Everywhere]:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DROP TABLE IF EXISTS t")
        connection.execute(f"CREATE TABLE t ({', '.join(f'{n} {t}' for n, t in POSTGRES_TYPES.items())})")
        connection.commit()
        yield Everywhere(connection, postgres_url, spark_session)
