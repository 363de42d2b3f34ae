"""DuckDB, in this process: Parquet and CSV files, globs of them, and Arrow tables in memory. The default."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from wardline.core.errors import DataError
from wardline.dp.engines.base import REFUSED, Dialect, Kind, translated
from wardline.dp.engines.files import check_unchanged, default_spill_folder, files_of, stamps
from wardline.dp.queries.query import Table

_KINDS: Mapping[str, Kind] = {
    "TINYINT": "integer",
    "SMALLINT": "integer",
    "INTEGER": "integer",
    "BIGINT": "integer",
    "UTINYINT": "integer",
    "USMALLINT": "integer",
    "UINTEGER": "integer",
    "UBIGINT": "number",
    "HUGEINT": "number",
    "UHUGEINT": "number",
    "FLOAT": "number",
    "DOUBLE": "number",
    "VARCHAR": "text",
    "UUID": "text",
    "DATE": "date",
    "BOOLEAN": "truth",
}
_CSV = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_PACKED = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, kw_only=True)
class DuckDbEngine:
    """Runs queries in this process, on as many cores as it is given, and out of core if need be.

    Attributes:
        threads: how many; None takes one per core.
        memory_limit: for example ``4GB``; None takes most of the machine's memory. What does not fit goes to disk.
        spill_folder: where to, in a folder of its own that other users cannot open and that goes with the engine; None
            takes ``WARDLINE_SPILL``, or the folder for temporary files. It holds rows in the clear while a query runs,
            and after a crash until somebody removes it.
    """

    threads: int | None = None
    memory_limit: str | None = None
    spill_folder: Path | None = None

    @cached_property
    def _databases(self) -> dict[int, duckdb.DuckDBPyConnection]:
        return {}

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to this engine's empty database: starting one takes longer than a small query."""
        database = self._databases.get(os.getpid())  # one that was started before a fork is of no use after it
        if database is None:
            # A folder of its own, closed to other users: names of spilled files are the same in every process.
            folder = tempfile.mkdtemp(prefix="wardline-spill-", dir=self.spill_folder or default_spill_folder())
            database = self._databases[os.getpid()] = duckdb.connect(":memory:", config=self._config(folder))
            weakref.finalize(self, _close, database, folder, os.getpid())
        return database.cursor()

    @contextmanager
    def open(self, table: Table, *, columns: Sequence[str]) -> Iterator[DuckDbSession]:
        """Begin a session; see `wardline.dp.engines.base.Engine`.

        Raises:
            DataError: if the file is missing, cannot be read, or changed while it was read.
        """
        with self._connect() as connection:
            source = table.source
            if not isinstance(source, str | Path):
                connection.register("source", source)
                yield DuckDbSession(connection=connection, where=table.name or "the table in memory")
                return
            files, where = files_of(source), str(source)
            before = stamps(files)
            with _named(files) as names:
                with translated((duckdb.Error,), where=where, hint=REFUSED):
                    connection.execute(_view(files, names).sql("duckdb"))
                yield DuckDbSession(connection=connection, where=where)
            check_unchanged(source, before)

    def _config(self, folder: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "temp_directory": folder,
            # Rows need not come in any order, and keeping one costs memory.
            "preserve_insertion_order": False,
            # A file that was replaced is read again, also if its clock stood still.
            "enable_external_file_cache": False,
            # Reading a file never fetches code.
            "autoinstall_known_extensions": False,
        }
        if self.threads is not None:
            config["threads"] = self.threads
        if self.memory_limit is not None:
            config["memory_limit"] = self.memory_limit
        return config


def _close(database: duckdb.DuckDBPyConnection, folder: str, process: int) -> None:
    if os.getpid() == process:  # a fork leaves alone what is its parent's
        database.close()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DuckDbSession:
    """One table inside DuckDB, under the name ``source``."""

    connection: duckdb.DuckDBPyConnection
    where: str
    _registered: list[str] = field(default_factory=list)
    dialect: Dialect = "duckdb"

    def columns(self) -> Mapping[str, Kind]:
        """The table's columns by their exact names."""
        with translated((duckdb.Error,), where=self.where, hint=REFUSED):
            rows = self.connection.execute("DESCRIBE source").fetchall()
        return {row[0]: _kind(row[1]) for row in rows}

    def source(self) -> exp.Expr:
        """The table."""
        return exp.table_("source", quoted=True)

    def values(self, values: Sequence[int] | Sequence[str]) -> exp.Query:
        """Public values as an Arrow table that DuckDB reads in place."""
        name = f"values_{len(self._registered)}"
        self._registered.append(name)
        kind = pa.string() if isinstance(values[0], str) else pa.int64()
        self.connection.register(name, pa.table({"v": pa.array(values, type=kind)}))
        return exp.select(exp.column("v", quoted=True)).from_(exp.table_(name, quoted=True))

    def fetch(self, statement: exp.Query) -> pa.Table:
        """Run a statement and return its result."""
        with translated((duckdb.Error,), where=self.where, hint=REFUSED):
            return self.connection.sql(statement.sql("duckdb")).to_arrow_table()


def _kind(type_name: str) -> Kind:
    if type_name.startswith("DECIMAL("):
        return "number"
    if type_name.startswith("ENUM("):
        return "text"
    return _KINDS.get(type_name, "other")


@contextmanager
def _named(files: Sequence[Path]) -> Iterator[list[str]]:
    """Names by which DuckDB reads these files and no others.

    DuckDB takes a name with ``*``, ``?`` or ``[`` for a pattern, and knows no way to say that it is none. Such files
    are opened here and named by their descriptors.
    """
    with ExitStack() as opened:
        names = []
        for path in files:
            name = str(path.absolute())
            if any(sign in name for sign in "*?["):
                name = f"/dev/fd/{opened.enter_context(path.open('rb')).fileno()}"
            names.append(name)
        yield names


def _view(files: Sequence[Path], names: Sequence[str]) -> exp.Create:
    """A view of Parquet files; of CSV files a table, so that their text is read once."""
    suffixes = {_suffix(path) for path in files}
    if len(suffixes) > 1:
        raise DataError("files of different kinds", where=str(files[0].parent), hint="name either Parquet or CSV files")
    kind, packed = suffixes.pop()
    scan = exp.Anonymous(
        this="read_parquet" if kind == "parquet" else "read_csv",
        expressions=[exp.Array(expressions=[exp.Literal.string(name) for name in names])],
    )
    if kind == "csv":
        scan.append("expressions", exp.EQ(this=exp.to_identifier("compression"), expression=exp.Literal.string(packed)))
    return exp.Create(
        this=exp.table_("source", quoted=True),
        kind="VIEW" if kind == "parquet" else "TABLE",
        expression=exp.select(exp.Star()).from_(exp.Table(this=scan)),
        properties=exp.Properties(expressions=[exp.TemporaryProperty()]),  # seen by this connection alone
    )


def _suffix(path: Path) -> tuple[str, str]:
    """Whether a file is Parquet or CSV by its name, and how it is compressed."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = _PACKED.get(suffixes.pop(), "none") if suffixes and suffixes[-1] in _PACKED else "none"
    last = suffixes[-1] if suffixes else ""
    if last in _PARQUET and packed == "none":
        return "parquet", "none"
    if last in _CSV:
        return "csv", packed
    raise DataError(
        "neither Parquet nor CSV by its name", where=str(path), hint="name it .parquet, .csv, .csv.gz or .csv.zst"
    )
