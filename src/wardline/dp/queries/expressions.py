"""Small pieces of SQL as syntax trees. No text of SQL is ever put together from names or values.

A tree is written out by sqlglot in the engine's own dialect, with every name quoted and every text escaped. The
operations used are those on which DuckDB, PostgreSQL and Spark agree bit by bit:

- doubles: comparison, ``+ - * /`` and floor, rounded as IEEE 754 says. In all three NaN equals itself and is greater
  than infinity, so ``x <= infinity`` tells NaN and NULL apart from everything else. PostgreSQL raises an error where a
  product or quotient underflows to 0, so no such operation is used where that could happen.
- whole numbers: comparison and addition. Casts only from doubles that are whole.
- text: equality, order by bytes (``COLLATE "C"`` on PostgreSQL), ``||`` and md5 of UTF-8.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

from sqlglot import exp

from wardline.dp.engines.base import Dialect, Kind
from wardline.dp.queries.statistics import Binned, Derived, Quantised

_EPOCH = datetime.date(1970, 1, 1)
_LARGEST_CELL = 2.0**52  # cells with larger numbers could not be told apart


def name(value: str, *, table: str | None = None) -> exp.Column:
    """A column by its exact name."""
    return exp.column(exp.to_identifier(value, quoted=True), table=exp.to_identifier(table, quoted=True))


def alias(value: exp.Expression, as_name: str) -> exp.Alias:
    """An expression under a name."""
    return exp.Alias(this=value, alias=exp.to_identifier(as_name, quoted=True))


def whole(value: int) -> exp.Expression:
    """A whole number of 64 bits."""
    return exp.cast(exp.Literal.string(str(value)), "bigint")


def double(value: float) -> exp.Expression:
    """A double, exactly: its shortest decimal form reads back as itself on every engine."""
    text = repr(float(value)) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    return exp.cast(exp.Literal.string(text), "double")


def days(value: datetime.date) -> int:
    """A date as days since 1970-01-01."""
    return (value - _EPOCH).days


def from_days(value: int) -> datetime.date:
    """The date that `days` was given.

    Raises:
        OverflowError: for a day that Python's calendar lacks.
    """
    return _EPOCH + datetime.timedelta(days=value)


def as_double(column: str) -> exp.Expression:
    """A column of numbers as doubles."""
    return exp.cast(name(column), "double")


def plain(column: str, kind: Kind, dialect: Dialect) -> exp.Expression:
    """A column that can be a key, as a 64-bit whole number (days for dates, 0 or 1 for truth values) or as text."""
    found = name(column)
    match kind:
        case "integer":
            return exp.cast(found, "bigint")
        case "truth":
            return exp.Case().when(found.copy(), whole(1)).when(exp.Not(this=found.copy()), whole(0))
        case "date":
            epoch = exp.cast(exp.Literal.string("1970-01-01"), "date")
            if dialect == "postgres":
                return exp.cast(exp.Sub(this=found, expression=epoch), "bigint")
            return exp.cast(exp.DateDiff(this=found, expression=epoch, unit=exp.var("DAY")), "bigint")
        case _:
            text = exp.cast(found, "text")
            if dialect == "postgres":
                return exp.Collate(this=text, expression=exp.to_identifier("C", quoted=True))
            return text


def cell(column: str, width: float) -> exp.Expression:
    """floor(column / width) as a whole number; NULL where there is none of a size below 2**52."""
    x = as_double(column)
    limit = min(width * _LARGEST_CELL, 1.7e308)
    # The two cells at zero are told by comparison, since a small x divided by a large width underflows.
    return (
        exp.Case()
        .when(exp.and_(x >= double(0.0), x < double(width)), whole(0))
        .when(exp.and_(x < double(0.0), x >= double(-width)), whole(-1))
        .when(exp.and_(x > double(-limit), x < double(limit)), exp.cast(_floor(x / double(width)), "bigint"))
    )


def derived(value: Derived) -> exp.Expression:
    """The whole number that a row adds to a statistic, or the bin that it falls into; NULL if there is none."""
    return _quantised(value) if isinstance(value, Quantised) else _binned(value)


def _quantised(value: Quantised) -> exp.Expression:
    x = as_double(value.column)
    steps: exp.Expression
    if value.squared:
        z = _floor((_minus(x, value.centre) + double(value.fine / 2)) / double(value.fine))
        inside = _floor(z * z / double(value.quantum / value.fine**2) + double(0.5))
        steps = exp.cast(inside, "bigint")
        if value.offset:
            steps = exp.Sub(this=steps, expression=whole(value.offset))
    else:
        # Half a quantum is added before the division, and not 1/2 after it, so that nothing can underflow.
        steps = exp.cast(
            _floor((_minus(x, value.centre) + double(value.quantum / 2)) / double(value.quantum)), "bigint"
        )
    return (
        exp.Case()
        .when(x < double(value.lower), whole(value.steps(value.lower)))
        .when(x <= double(value.upper), steps)
        .when(x <= double(math.inf), whole(value.steps(value.upper)))
    )


def _binned(value: Binned) -> exp.Expression:
    x = as_double(value.column)
    if value.even:
        lower, width = value.edges[0], value.width
        inside = _floor(_minus(x, lower) / double(width))
        last = whole(value.even - 1)
        return (
            exp.Case()
            .when(x < double(lower + width), whole(0))
            .when(x < double(lower + width * (value.even - 1)), _least(exp.cast(inside, "bigint"), last))
            .when(x <= double(math.inf), last.copy())
        )
    edges = value.edges
    below = 1 if value.open else 0
    found = _search(x, edges, 0, len(edges), below - 1)
    if value.open:
        return exp.Case().when(x <= double(math.inf), found)
    within = exp.and_(x >= double(edges[0]), x < double(edges[-1]))
    return exp.Case().when(within, found).when(x.eq(double(edges[-1])), whole(value.bins - 1))


def _search(x: exp.Expression, edges: Sequence[float], low: int, high: int, shift: int) -> exp.Expression:
    """The number of edges at or below x, plus `shift`, by halving: among edges[low:high], those before are below."""
    if low == high:
        return whole(low + shift)
    middle = (low + high) // 2
    left, right = _search(x, edges, low, middle, shift), _search(x, edges, middle + 1, high, shift)
    return exp.Case().when(x < double(edges[middle]), left).else_(right)


def _floor(value: exp.Expression) -> exp.Expression:
    return exp.Floor(this=value)


def _minus(x: exp.Expression, centre: float) -> exp.Expression:
    return x if centre == 0 else exp.Paren(this=x - double(centre))


def _least(one: exp.Expression, other: exp.Expression) -> exp.Expression:
    return exp.Least(this=one, expressions=[other])
