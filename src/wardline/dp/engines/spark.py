"""Spark: statements run in the user's session, on tables, views, and Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from sqlglot import exp

from wardline.core.errors import DataError
from wardline.dp.engines.base import CHANGED, REFUSED, Dialect, Kind, translated
from wardline.dp.queries.query import Table

_KINDS: Mapping[str, Kind] = {
    "tinyint": "integer",
    "smallint": "integer",
    "int": "integer",
    "bigint": "integer",
    "float": "number",
    "double": "number",
    "string": "text",
    "date": "date",
    "boolean": "truth",
}
_ERRORS = (PySparkException, Py4JError)
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkEngine:
    """Runs queries in Spark, for tables and views by their name, Parquet files, globs of them, and Arrow tables.

    Guarantee: a session sees one state of the table. What comes from files is read from the files listed when the
    session began, and refused if one of them changed by the time it ends. Anything else is first copied, as far as the
    query needs it, to the executors' disks (`DataFrame.localCheckpoint`), and every statement reads that copy.

    Attributes:
        spark: the session to use; None takes the active one, or starts a local one.
    """

    spark: SparkSession | None = None

    @contextmanager
    def open(self, table: Table, *, columns: Sequence[str]) -> Iterator[SparkSession_]:
        """Begin a session; see `wardline.dp.engines.base.Engine`.

        Raises:
            DataError: if there is no such table, or if it changed while it was read.
        """
        spark = self.spark or SparkSession.builder.getOrCreate()
        where = str(table.source) if isinstance(table.source, str | Path) else table.name or "the table in memory"
        session = SparkSession_(spark=spark, where=where)
        with translated(_ERRORS, where=where, hint=REFUSED):
            if spark.conf.get("spark.sql.parser.escapedStringLiterals", "false") != "false":
                raise DataError(
                    "Spark is set to read text in SQL as it was before version 2",
                    where="spark.sql.parser.escapedStringLiterals",
                    hint="set it to false",
                )
            frame = _frame(spark, table)
            files = list(frame.inputFiles())
            before = _stamps(spark, files)
            session.begin(frame, columns, copy=not files)
        try:
            yield session
            with translated(_ERRORS, where=where, hint=CHANGED):
                after = _stamps(spark, files)
            if after != before:
                raise DataError("the table changed while it was read", where=where, hint=CHANGED)
        finally:
            session.end()


@dataclass(slots=True, kw_only=True)
class SparkSession_:  # noqa: N801 (Spark's own class has the name)
    """One table under a temporary view."""

    spark: SparkSession
    where: str
    dialect: Dialect = "spark"
    _view: str = ""
    _views: list[str] = field(default_factory=list)
    _kinds: Mapping[str, Kind] = field(default_factory=dict)
    _copy: DataFrame | None = None

    def begin(self, frame: DataFrame, columns: Sequence[str], *, copy: bool) -> None:
        """Put a table under its view; with `copy`, a copy of some of its columns."""
        self._kinds = {one.name: _kind(one.dataType.simpleString()) for one in frame.schema.fields}
        self._view = self._name(frame)
        if copy:
            wanted: list[exp.Expr] = [
                exp.column(exp.to_identifier(column, quoted=True)) for column in columns if column in self._kinds
            ]
            select = exp.select(*(wanted or [exp.Literal.number(1)])).from_(self.source())
            self._copy = self.spark.sql(select.sql("spark")).localCheckpoint(eager=True)
            self._view = self._name(self._copy)

    def end(self) -> None:
        """Forget the views and the copy."""
        for view in self._views:
            self.spark.catalog.dropTempView(view)
        if self._copy is not None:
            self._copy.unpersist()

    def columns(self) -> Mapping[str, Kind]:
        """The table's columns by their exact names."""
        return self._kinds

    def source(self) -> exp.Expr:
        """The table."""
        return exp.table_(self._view, quoted=True)

    def values(self, values: Sequence[int] | Sequence[str]) -> exp.Query:
        """Public values as a small table that Spark is given."""
        kind = pa.string() if isinstance(values[0], str) else pa.int64()
        with translated(_ERRORS, where=self.where, hint=REFUSED):
            view = self._name(self.spark.createDataFrame(pa.table({"v": pa.array(values, type=kind)})))
        return exp.select(exp.column("v", quoted=True)).from_(exp.table_(view, quoted=True))

    def fetch(self, statement: exp.Query) -> pa.Table:
        """Run a statement and return its result."""
        with translated(_ERRORS, where=self.where, hint=REFUSED):
            return self.spark.sql(statement.sql("spark")).toArrow()

    def _name(self, frame: DataFrame) -> str:
        name = f"wardline_{os.urandom(8).hex()}"
        frame.createTempView(name)
        self._views.append(name)
        return name


def _frame(spark: SparkSession, table: Table) -> DataFrame:
    source = table.source
    if not isinstance(source, str | Path):
        return spark.createDataFrame(source)
    if isinstance(source, Path) or source.lower().endswith(_PARQUET):
        return spark.read.parquet(str(source))
    parts = [exp.to_identifier(part, quoted=True) for part in source.split(".")]
    name = exp.Table(**dict(zip(("this", "db", "catalog"), reversed(parts), strict=False)))
    return spark.table(name.sql("spark"))


def _kind(type_name: str) -> Kind:
    # A text with a collation of its own is none of these: it would be compared by other rules.
    return "number" if type_name.startswith("decimal(") else _KINDS.get(type_name, "other")


def _stamps(spark: SparkSession, files: Sequence[str]) -> list[tuple[Any, ...]]:
    """What changes whenever one of the files does."""
    from wardline.dp.engines.files import stamps

    local, found = [], []
    for file in files:
        parts = urlsplit(file)
        if parts.scheme in ("", "file"):
            local.append(Path(unquote(parts.path)))
        else:
            jvm = spark.sparkContext._jvm  # there is no other way to a file system that Spark knows
            path = jvm.org.apache.hadoop.fs.Path(file)
            status = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()).getFileStatus(path)
            found.append((file, status.getLen(), status.getModificationTime()))
    return [*(stamps(local) if local else []), *found]
