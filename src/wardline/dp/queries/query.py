"""What is asked of a table: who a person is, how far each may count, and what is computed per group.

A `Query` holds no data and touches none. It is checked when it is made, so that a mistake shows before a budget is
charged, and its canonical JSON has a digest by which a release, a ledger row and a claim can name it.

Rules for values, the same on every engine (`wardline.dp.queries.plan` turns them into SQL):

- a missing value (NULL) or NaN counts in no statistic of its column; the row still counts as a row;
- an infinite value is clipped to the nearer bound like any other value beyond it;
- a missing person is refused; a missing key is refused where keys are found in the data, and left out, like any other
  row whose key is not listed, where they are public;
- text is compared by its bytes in UTF-8: no collation, no normalisation, no case folding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardline.core.canonical import digest_value
from wardline.core.checks import at_least, positive
from wardline.dp.queries.aggregates import Aggregate
from wardline.dp.queries.values import KeyValue, check_name, checked_values

if TYPE_CHECKING:
    import pyarrow as pa

MOST_PUBLIC_GROUPS = 10_000_000
"""How many groups the public keys of one query may span together."""


@dataclass(frozen=True, slots=True)
class Table:
    """Where the rows are.

    Attributes:
        source: a Parquet or CSV file, a glob of several, an Arrow table, ``postgresql://...#schema.table``, or the name
            of a Spark table or view.
        name: what the ledger calls the data set; None takes the digest of the file's bytes. Two names for one data set
            would be two budgets for the same people.
    """

    source: str | Path | pa.Table
    _: KW_ONLY
    name: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.source, str | Path):
            check_name("source", str(self.source), longest=4096)
        elif not (hasattr(self.source, "schema") and hasattr(self.source, "num_rows")):
            raise TypeError(f"source must be a path, a URL, a name or an Arrow table, not {type(self.source).__name__}")
        if self.name is not None:
            check_name("name", self.name)


@dataclass(frozen=True, slots=True)
class Key:
    """One column to group by.

    Attributes:
        column: its name: whole numbers, text, dates or truth values; with `cell`, numbers.
        values: the groups, if they are known without looking at the data: each is then released, also if nobody is in
            it, in this order. None: whatever stands in the data, which needs private partition selection.
        cell: width of a cell in the column's unit, above 0; the key is then the whole number floor(column / cell).
            `values` are then such numbers.
    """

    column: str
    values: Sequence[KeyValue] | None = None
    _: KW_ONLY
    cell: float | None = None

    def __post_init__(self) -> None:
        check_name("column", self.column)
        if self.cell is not None:
            object.__setattr__(self, "cell", float(positive("cell", self.cell)))
        if self.values is None:
            return
        values = checked_values(self.column, self.values)
        if self.cell is not None and type(values[0]) is not int:
            raise TypeError(f"the values of {self.column!r} number cells: they must be whole numbers")
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of one person is used; rows beyond it are left out before anything is computed.

    `rows` alone is the cheap one. For the same total, the other two give less noise where noise is Gaussian (its
    scale grows with the root of `groups`), and to counts of persons.

    Attributes:
        rows: at most so many rows in all.
        groups: at most so many groups with any row.
        rows_per_group: at most so many rows within a group.
    """

    rows: int | None = None
    groups: int | None = None
    rows_per_group: int | None = None

    def __post_init__(self) -> None:
        given = {"rows": self.rows, "groups": self.groups, "rows_per_group": self.rows_per_group}
        for name, value in given.items():
            if value is not None:
                at_least(name, value, 1)
                if value > 2**31 - 1:
                    raise ValueError(f"{name} must be below 2**31, not {value}")
        if all(value is None for value in given.values()):
            raise ValueError("a bound names rows, groups or rows_per_group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question about a table, and who it protects.

    Attributes:
        table: where the rows are.
        unit: the column that names the person; None if each row is a person of its own.
        bound: how much of one person is used; needed exactly if there is a `unit`.
        by: the columns to group by; empty for one figure over the whole table.
        aggregates: what to compute per group, at least one.
        where: which rows to consider at all: comparisons of columns with constants, joined by AND, OR and NOT, such as
            ``age >= 18 AND state = 'CA'``. It looks at one row at a time, so it does not change anybody's influence.

    Raises:
        ValueError: if the parts do not fit together.
    """

    table: Table
    unit: str | None
    bound: Bound | None = None
    by: tuple[Key, ...] = ()
    aggregates: tuple[Aggregate, ...]
    where: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", tuple(self.by))
        object.__setattr__(self, "aggregates", tuple(self.aggregates))
        if self.unit is not None:
            check_name("unit", self.unit)
        if (self.unit is None) != (self.bound is None):
            raise ValueError("a query has a bound exactly if it has a unit: with unit=None, each row is one person")
        if not self.aggregates:
            raise ValueError("a query has at least one aggregate")
        columns = [key.column for key in self.by]
        if len(set(columns)) != len(columns):
            raise ValueError("a query groups by each column once")
        if self.unit in columns:
            raise ValueError("a query cannot group by the person: each group would be one person's")
        labels = [aggregate.label for aggregate in self.aggregates]
        if len(set(labels)) != len(labels):
            raise ValueError("two aggregates have the same label; give one of them another with `label`")
        groups = math.prod(len(key.values) for key in self.by if key.values is not None)
        if groups > MOST_PUBLIC_GROUPS:
            raise ValueError(f"the public keys span {groups} groups, more than {MOST_PUBLIC_GROUPS}")
        if self.where is not None:
            from wardline.dp.queries.where import parse_where

            parse_where(self.where)
        from wardline.dp.queries.sensitivity import check_bounded

        check_bounded(self)

    @property
    def found(self) -> bool:
        """Whether groups are found in the data, so that their presence itself must be protected."""
        return any(key.values is None for key in self.by)

    def to_json(self) -> dict[str, Any]:
        """The query as plain JSON values, without any password that its source may hold."""
        from wardline.dp.queries.json import query_to_json

        return query_to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, tables: Mapping[str, pa.Table] | None = None) -> Query:
        """The query that `to_json` wrote.

        Args:
            value: what it wrote.
            tables: the Arrow tables by the name of their `Table`, for queries that were asked of one.

        Raises:
            PolicyError: if it is no query; the place is the key in question.
        """
        from wardline.dp.queries.json import query_from_json

        return query_from_json(value, tables=tables or {})

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: what a charge, a claim and a result name the query by."""
        return digest_value(self.to_json())

    def __str__(self) -> str:
        what = ", ".join(aggregate.label for aggregate in self.aggregates)
        by = f" by {', '.join(key.column for key in self.by)}" if self.by else ""
        return f"{what}{by} (person: {self.unit or 'each row'})"
