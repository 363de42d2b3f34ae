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


def alias(value: exp.Expr, as_name: str) -> exp.Alias:
    """An expression under a name."""
    return exp.Alias(this=value, alias=exp.to_identifier(as_name, quoted=True))


def cast(value: exp.Expr, kind: str) -> exp.Cast:
    """A value as ``bigint``, ``double``, ``text`` or ``date``."""
    # Nodes are made directly: sqlglot's builders copy what they are given, which takes longer than small queries do.
    return exp.Cast(this=value, to=exp.DataType(this=exp.DType[kind.upper()]))


def whole(value: int) -> exp.Expr:
    """A whole number of 64 bits."""
    return cast(exp.Literal.string(str(value)), "bigint")


def double(value: float) -> exp.Expr:
    """A double, exactly: its shortest decimal form reads back as itself on every engine."""
    text = repr(float(value)) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    return cast(exp.Literal.string(text), "double")


def both(*parts: exp.Expr) -> exp.Expr:
    """AND."""
    found, *others = parts
    for part in others:
        found = exp.And(this=exp.Paren(this=found), expression=exp.Paren(this=part))
    return found


def either(*parts: exp.Expr) -> exp.Expr:
    """OR."""
    found, *others = parts
    for part in others:
        found = exp.Or(this=exp.Paren(this=found), expression=exp.Paren(this=part))
    return found


def case(*branches: tuple[exp.Expr, exp.Expr], default: exp.Expr | None = None) -> exp.Case:
    """The value of the first branch whose condition is true; else the default, or NULL."""
    return exp.Case(ifs=[exp.If(this=condition, true=value) for condition, value in branches], default=default)


def binary(operator: type[exp.Binary], one: exp.Expr, other: exp.Expr) -> exp.Expr:
    """An operator between two values, in parentheses."""
    return exp.Paren(this=operator(this=one, expression=other))


def days(value: datetime.date) -> int:
    """A date as days since 1970-01-01."""
    return (value - _EPOCH).days


def from_days(value: int) -> datetime.date:
    """The date that `days` was given.

    Raises:
        OverflowError: for a day that Python's calendar lacks.
    """
    return _EPOCH + datetime.timedelta(days=value)


def as_double(column: str) -> exp.Expr:
    """A column of numbers as doubles."""
    return cast(name(column), "double")


def plain(column: str, kind: Kind, dialect: Dialect) -> exp.Expr:
    """A column that can be a key, as a 64-bit whole number (days for dates, 0 or 1 for truth values) or as text."""
    match kind:
        case "integer":
            return cast(name(column), "bigint")
        case "truth":
            return case((name(column), whole(1)), (exp.Not(this=name(column)), whole(0)))
        case "date":
            epoch = cast(exp.Literal.string("1970-01-01"), "date")
            if dialect == "postgres":
                return cast(binary(exp.Sub, name(column), epoch), "bigint")
            return cast(exp.DateDiff(this=name(column), expression=epoch, unit=exp.var("DAY")), "bigint")
        case _:
            text = cast(name(column), "text")
            if dialect == "postgres":
                return exp.Collate(this=text, expression=exp.to_identifier("C", quoted=True))
            return text


def cell(column: str, width: float) -> exp.Expr:
    """floor(column / width) as a whole number; NULL where there is none of a size below 2**52."""

    def x(operator: type[exp.Binary], value: float) -> exp.Expr:
        return operator(this=as_double(column), expression=double(value))

    limit = min(width * _LARGEST_CELL, 1.7e308)
    # The two cells at zero are told by comparison, since a small x divided by a large width underflows.
    return case(
        (both(x(exp.GTE, 0.0), x(exp.LT, width)), whole(0)),
        (both(x(exp.LT, 0.0), x(exp.GTE, -width)), whole(-1)),
        (both(x(exp.GT, -limit), x(exp.LT, limit)), cast(exp.Floor(this=x(exp.Div, width)), "bigint")),
    )


def derived(value: Derived) -> exp.Expr:
    """The whole number that a row adds to a statistic, or the bin that it falls into; NULL if there is none."""
    return _quantised(value) if isinstance(value, Quantised) else _binned(value)


def _quantised(value: Quantised) -> exp.Expr:
    if value.squared:
        scale = value.quantum / value.fine**2
        square = binary(exp.Mul, _steps(value, value.fine), _steps(value, value.fine))
        rounded = exp.Floor(this=binary(exp.Add, binary(exp.Div, square, double(scale)), double(0.5)))
        steps: exp.Expr = exp.Sub(this=cast(rounded, "bigint"), expression=whole(value.offset))
    else:
        steps = cast(_steps(value, value.quantum), "bigint")
    return case(
        (exp.LT(this=as_double(value.column), expression=double(value.lower)), whole(value.steps(value.lower))),
        (exp.LTE(this=as_double(value.column), expression=double(value.upper)), steps),
        (exp.LTE(this=as_double(value.column), expression=double(math.inf)), whole(value.steps(value.upper))),
    )


def _steps(value: Quantised, quantum: float) -> exp.Expr:
    # Half a quantum is added before the division, and not 1/2 after it, so that nothing can underflow.
    shifted = binary(exp.Add, _minus(as_double(value.column), value.centre), double(quantum / 2))
    return exp.Floor(this=binary(exp.Div, shifted, double(quantum)))


def _binned(value: Binned) -> exp.Expr:
    def x(operator: type[exp.Binary], edge: float) -> exp.Expr:
        return operator(this=as_double(value.column), expression=double(edge))

    edges, last = value.edges, value.bins - 1
    if value.even:
        lower, width = edges[0], value.width
        inside = exp.Floor(this=binary(exp.Div, _minus(as_double(value.column), lower), double(width)))
        return case(
            (x(exp.LT, lower + width), whole(0)),
            (x(exp.LT, lower + width * last), exp.Least(this=cast(inside, "bigint"), expressions=[whole(last)])),
            (x(exp.LTE, math.inf), whole(last)),
        )
    if value.open:
        return case((x(exp.LTE, math.inf), _search(value.column, edges, 0, len(edges), 0)))
    found = _search(value.column, edges, 0, len(edges), -1)
    return case((both(x(exp.GTE, edges[0]), x(exp.LT, edges[-1])), found), (x(exp.EQ, edges[-1]), whole(last)))


def _search(column: str, edges: Sequence[float], low: int, high: int, shift: int) -> exp.Expr:
    """The number of edges at or below x, plus `shift`, by halving: among edges[low:high], those before are below."""
    if low == high:
        return whole(low + shift)
    middle = (low + high) // 2
    left = _search(column, edges, low, middle, shift)
    right = _search(column, edges, middle + 1, high, shift)
    return case((exp.LT(this=as_double(column), expression=double(edges[middle])), left), default=right)


def _minus(x: exp.Expr, centre: float) -> exp.Expr:
    return x if centre == 0 else binary(exp.Sub, x, double(centre))
