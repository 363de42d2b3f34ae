"""What an engine must be able to do: show one unchanging table, take public values, and run a statement.

An engine never hands out rows of the table. The statements that `wardline.dp.queries` sends return keys and whole
numbers per group only, and a test watches every engine's `fetch` for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from wardline.core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from wardline.dp.queries.query import Table

Kind = Literal["integer", "number", "text", "date", "truth", "other"]
"""What a column holds: 64-bit whole numbers, any other numbers, text, days, truth values, or what no query can use."""

Dialect = Literal["duckdb", "postgres", "spark"]


class Session(Protocol):
    """One table, which stays the same while the session is open."""

    @property
    def dialect(self) -> Dialect:
        """The SQL that the engine understands, by sqlglot's name for it."""

    def columns(self) -> Mapping[str, Kind]:
        """The table's columns by their exact names."""

    def source(self) -> exp.Expr:
        """The table, as something to select from."""

    def values(self, values: Sequence[int] | Sequence[str]) -> exp.Query:
        """A query that gives these values, in a column ``v``; they reach the engine as data, not as text of SQL."""

    def fetch(self, statement: exp.Query) -> pa.Table:
        """Run a statement and return its result."""


class Engine(Protocol):
    """Runs statements where the data lives."""

    def open(self, table: Table, *, columns: Sequence[str]) -> AbstractContextManager[Session]:
        """Begin a session; leaving it checks that the table has not changed meanwhile.

        Args:
            table: where the rows are.
            columns: those that the statements will use; a name that the table lacks does no harm here.

        Raises:
            DataError: if the table is missing or cannot be read; on leaving, if it changed.
        """


@contextmanager
def translated(errors: tuple[type[Exception], ...], *, where: str, hint: str) -> Iterator[None]:
    """Turn what an engine says into an error of ours.

    What engines say may quote values of rows ("could not convert string ..."), so it is neither repeated nor chained:
    only the kind of the error is told.
    """
    try:
        yield
    except errors as error:
        kind = type(error).__name__
        raise DataError(f"the engine refused the table or the query ({kind})", where=where, hint=hint) from None


REFUSED = "check that the columns are of the kinds that the query takes, and that the table can be read"
CHANGED = "copy the table, or stop whoever writes to it, then run the same command again"
