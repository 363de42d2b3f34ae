"""Where queries run: in this process (DuckDB), in PostgreSQL, or in Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.errors import DataError
from wardline.core.extras import need
from wardline.dp.engines.base import Engine, Session

if TYPE_CHECKING:
    from wardline.dp.engines.duckdb import DuckDbEngine
    from wardline.dp.engines.postgres import PostgresEngine
    from wardline.dp.engines.spark import SparkEngine
    from wardline.dp.queries.query import Table

__all__ = ["DuckDbEngine", "Engine", "PostgresEngine", "Session", "SparkEngine", "default_engine", "source_digest"]

MOST_READ_BYTES = 256 << 20
"""The largest file that is known by its values rather than by its bytes."""

_HOMES = {
    "DuckDbEngine": ("duckdb", "query"),
    "PostgresEngine": ("postgres", "postgres"),
    "SparkEngine": ("spark", "spark"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _HOMES[name]
    return getattr(need(f"{__name__}.{module}", extra=extra), name)


def is_postgres(table: Table) -> bool:
    """Whether a table stands in a PostgreSQL server."""
    return isinstance(table.source, str) and table.source.lower().startswith(("postgresql://", "postgres://"))


def default_engine(table: Table) -> Engine:
    """The engine that fits a table's source: PostgreSQL for its URLs, else DuckDB with its defaults."""
    name = "PostgresEngine" if is_postgres(table) else "DuckDbEngine"
    made: Engine = __getattr__(name)()  # type: ignore[operator]
    return made


def source_digest(table: Table) -> str | None:
    """SHA-256 of a table's content, by which a ledger knows it; None for one in a server, which has to be named.

    For an Arrow table, and for a single file of up to 256 MiB, it is the digest of the values in order: the one by
    which training knows the same rows, whatever file they come in. Larger files, several together, and files that no
    training could read go by their bytes; a name is better there.

    Raises:
        DataError: if the file is missing, or an Arrow table has a column of a type that cannot be digested.
    """
    from pathlib import Path

    from wardline.data import read_table, table_digest
    from wardline.dp.engines.files import files_digest, files_of

    if not isinstance(table.source, str | Path):
        return table_digest(table.source)
    if is_postgres(table):
        return None
    files = files_of(table.source)
    if len(files) > 1 or files[0].stat().st_size > MOST_READ_BYTES:
        return files_digest(table.source)
    try:
        return table_digest(read_table(files[0]))
    except DataError:
        # Empty, or with columns that no training reads: then there is no account to share, and bytes do. Whether the
        # query can read it is for the engine to say.
        return files_digest(table.source)
