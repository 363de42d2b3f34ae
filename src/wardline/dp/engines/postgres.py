"""PostgreSQL: statements run in the server, inside one read-only snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import psycopg
import pyarrow as pa
from sqlglot import exp

from wardline.core.errors import DataError
from wardline.dp.engines.base import REFUSED, Dialect, Kind, translated
from wardline.dp.queries.query import Table

_KINDS: Mapping[str, Kind] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "float4": "number",
    "float8": "number",
    "numeric": "number",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "uuid": "text",
    "date": "date",
    "bool": "truth",
}
# A domain is taken for the type below it, and an enumeration for text.
_COLUMNS = b"""
SELECT a.attname, CASE t.typtype WHEN 'e' THEN 'text' WHEN 'd' THEN b.typname ELSE t.typname END
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm')
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_TEXT_OIDS = (25, 1042, 1043)
_SETTINGS = (
    # How a quoted text is read must not hang on the server's settings.
    b"SET LOCAL standard_conforming_strings = on",
    # Compiling these statements takes longer than most of them run.
    b"SET LOCAL jit = off",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresEngine:
    """Runs queries inside a PostgreSQL server, for tables named ``postgresql://USER@HOST/DATABASE#schema.table``.

    Passwords are best left to ``~/.pgpass`` or ``PGPASSWORD``. In the part after ``#``, a dot or another sign that
    belongs to a name is written as in URLs (``%2E``). A role that may read the table is enough.

    Guarantee: all statements of a session run in one transaction, REPEATABLE READ and READ ONLY: they see one state of
    the table, whatever others write meanwhile (PostgreSQL manual, section 13.2.2). Foreign tables, whose servers have
    snapshots of their own, are refused.
    """

    @contextmanager
    def open(self, table: Table, *, columns: Sequence[str]) -> Iterator[PostgresSession]:
        """Begin a session; see `wardline.dp.engines.base.Engine`.

        Raises:
            DataError: if the server cannot be reached or has no such table.
        """
        url, schema, name = _parts(table)
        where = f"{schema}.{name}"
        with translated((psycopg.Error,), where=where, hint="check the URL, the password and that the server runs"):
            connection = psycopg.connect(url, cursor_factory=psycopg.RawCursor, client_encoding="UTF8")
        with connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with translated((psycopg.Error,), where=where, hint=REFUSED):
                for setting in _SETTINGS:
                    connection.execute(setting)
                encoding = connection.execute(b"SHOW server_encoding").fetchone()
                found = connection.execute(_COLUMNS, (schema, name)).fetchall()
            if encoding is None or encoding[0] != "UTF8":
                raise DataError("the database does not hold its text as UTF-8", where=where, hint="use one that does")
            if not found:
                raise DataError(
                    "no such table, or no permission to see it", where=where, hint="name it as #schema.table, exactly"
                )
            kinds = {column: _KINDS.get(kind, "other") for column, kind in found}
            yield PostgresSession(connection=connection, schema=schema, name=name, kinds=kinds)
            connection.rollback()


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSession:
    """One table as one transaction sees it."""

    connection: psycopg.Connection[Any]
    schema: str
    name: str
    kinds: Mapping[str, Kind]
    dialect: Dialect = "postgres"
    _values: list[list[int] | list[str]] = field(default_factory=list)

    def columns(self) -> Mapping[str, Kind]:
        """The table's columns by their exact names."""
        return self.kinds

    def source(self) -> exp.Expr:
        """The table."""
        return exp.table_(
            exp.to_identifier(self.name, quoted=True), db=exp.to_identifier(self.schema, quoted=True), quoted=True
        )

    def values(self, values: Sequence[int] | Sequence[str]) -> exp.Query:
        """Public values as a parameter of the statement. Text with NUL is left out: no text in PostgreSQL has it."""
        known = [value for value in values if not (isinstance(value, str) and "\0" in value)]
        self._values.append(known)  # type: ignore[arg-type]
        kind = "text[]" if isinstance(values[0], str) else "bigint[]"
        mark = exp.Parameter(this=exp.Literal.number(len(self._values)))
        array = exp.Cast(this=mark, to=exp.DataType.build(kind, dialect="postgres"))
        unnest = exp.Anonymous(this="UNNEST", expressions=[array])
        return exp.select(exp.Alias(this=unnest, alias=exp.to_identifier("v", quoted=True)))

    def fetch(self, statement: exp.Query) -> pa.Table:
        """Run a statement and return its result."""
        used = []
        for mark in list(statement.find_all(exp.Parameter)):  # numbered within this statement
            used.append(self._values[int(mark.this.this) - 1])
            mark.set("this", exp.Literal.number(len(used)))
        with translated((psycopg.Error,), where=f"{self.schema}.{self.name}", hint=REFUSED):
            cursor = self.connection.execute(statement.sql("postgres").encode(), used)
            rows = cursor.fetchall()
        columns = zip(*rows, strict=True) if rows else [()] * len(cursor.description or ())
        arrays = [
            pa.array(values, type=pa.string() if about.type_code in _TEXT_OIDS else pa.int64())
            for values, about in zip(columns, cursor.description or (), strict=True)
        ]
        return pa.Table.from_arrays(arrays, names=[about.name for about in cursor.description or ()])


def _parts(table: Table) -> tuple[str, str, str]:
    """The URL of the server, the schema and the name of the table."""
    url, _, fragment = str(table.source).partition("#")
    schema, dot, name = fragment.partition(".")
    if not dot:
        schema, name = "public", fragment
    schema, name = unquote(schema), unquote(name)
    # PostgreSQL knows no name with NUL, and takes the rest of a longer one for nothing.
    if not schema or not name or "\0" in schema + name:
        raise DataError("no table is named", where="source", hint="write postgresql://USER@HOST/DATABASE#schema.table")
    return url, schema, name
