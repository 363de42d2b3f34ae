"""Conditions on rows: a small language that means the same on every engine, and looks at one row at a time.

    age >= 18 AND state IN ('CA', 'NY') AND NOT (income IS NULL) AND "first visit" < DATE '2020-01-01'

Allowed are comparisons of a column with a constant, IN a list of constants, BETWEEN, IS NULL, a column of truth values
by itself, AND, OR, NOT and parentheses. Names are matched exactly as written. NaN counts as larger than any number; a
comparison with a missing value is neither true nor false, and such a row is left out.

Anything else is refused, first of all subqueries: a condition that looked at other rows would change how far one person
reaches.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wardline.core.errors import DataError
from wardline.core.extras import need

if TYPE_CHECKING:
    from sqlglot import exp

    from wardline.dp.engines.base import Dialect, Kind

Constant = bool | int | float | str | datetime.date
Operator = Literal["EQ", "NEQ", "LT", "LTE", "GT", "GTE"]

_MOST = 10_000  # characters
_FLIPPED: Mapping[str, Operator] = {"EQ": "EQ", "NEQ": "NEQ", "LT": "GT", "LTE": "GTE", "GT": "LT", "GTE": "LTE"}


@dataclass(frozen=True, slots=True)
class Compare:
    """A column compared with a constant."""

    column: str
    operator: Operator
    value: Constant


@dataclass(frozen=True, slots=True)
class Missing:
    """Whether a column has no value."""

    column: str


@dataclass(frozen=True, slots=True)
class Truth:
    """A column of truth values."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Both:
    """AND."""

    parts: tuple[Condition, Condition]


@dataclass(frozen=True, slots=True)
class Either:
    """OR, and IN."""

    parts: tuple[Condition, ...]


Condition = Compare | Missing | Truth | Not | Both | Either


def parse_where(text: str) -> Condition:
    """Understand a condition.

    Raises:
        ValueError: if it is none, or uses more than what is allowed here.
    """
    sqlglot = need("sqlglot", extra="query")
    if not isinstance(text, str) or not text.strip() or len(text) > _MOST or "\0" in text:
        raise ValueError(f"where must be text of 1 to {_MOST} characters without NUL")
    try:
        found = sqlglot.parse(text)
    except (sqlglot.errors.SqlglotError, RecursionError):
        raise ValueError("where cannot be understood; write for example: age >= 18 AND state = 'CA'") from None
    if len(found) != 1 or found[0] is None:
        raise ValueError("where must be one condition")
    try:
        return _condition(found[0])
    except RecursionError:
        raise ValueError("where is nested too deeply") from None


def _condition(node: object) -> Condition:
    from sqlglot import exp

    match node:
        case exp.Paren():
            return _condition(node.this)
        case exp.And():
            return Both((_condition(node.this), _condition(node.expression)))
        case exp.Or():
            return Either((_condition(node.this), _condition(node.expression)))
        case exp.Not():
            return Not(_condition(node.this))
        case exp.Is() if isinstance(node.expression, exp.Null):
            return Missing(_column(node.this))
        case exp.Between() if not node.args.get("symmetric"):
            column = _column(node.this)
            low, high = _constant(node.args["low"]), _constant(node.args["high"])
            return Both((Compare(column, "GTE", low), Compare(column, "LTE", high)))
        case exp.In() if node.expressions and not any(node.args.get(name) for name in ("query", "unnest", "field")):
            column = _column(node.this)
            return Either(tuple(Compare(column, "EQ", _constant(item)) for item in node.expressions))
        case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            operator = _FLIPPED[_FLIPPED[type(node).__name__]]
            if isinstance(node.this, exp.Column):
                return Compare(_column(node.this), operator, _constant(node.expression))
            return Compare(_column(node.expression), _FLIPPED[operator], _constant(node.this))
        case exp.Column():
            return Truth(_column(node))
        case _:
            raise _refused(node)


def _column(node: object) -> str:
    from sqlglot import exp

    if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier) or len(node.parts) != 1:
        raise _refused(node)
    return str(node.this.this)


def _constant(node: object) -> Constant:
    from sqlglot import exp

    match node:
        case exp.Paren():
            return _constant(node.this)
        case exp.Boolean():
            return bool(node.this)
        case exp.Literal() if node.is_string:
            return str(node.this)
        case exp.Literal():
            return _number(node.this)
        case exp.Neg() if isinstance(node.this, exp.Literal) and not node.this.is_string:
            return -_number(node.this.this)
        case exp.Cast() if type(node) is exp.Cast and node.is_type("date") and isinstance(node.this, exp.Literal):
            try:
                return datetime.date.fromisoformat(node.this.this)
            except ValueError:
                raise ValueError(f"where: {node.this.this!r} is no date such as DATE '2020-01-31'") from None
        case _:
            raise _refused(node)


def _number(text: str) -> int | float:
    try:
        value: int | float = int(text) if text.isdigit() else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (isinstance(value, int) and value >= 2**63):
        raise ValueError(f"where: {text} is no number that a column can hold")
    return value


def _refused(node: object) -> ValueError:
    return ValueError(
        f"where: {type(node).__name__} is not allowed; compare columns with constants, joined by AND, OR and NOT"
    )


def columns_of(condition: Condition) -> Iterator[str]:
    """The columns that a condition looks at, some perhaps several times."""
    match condition:
        case Compare() | Missing() | Truth():
            yield condition.column
        case Not():
            yield from columns_of(condition.part)
        case Both() | Either():
            for part in condition.parts:
                yield from columns_of(part)


def to_sql(condition: Condition, kinds: Mapping[str, Kind], dialect: Dialect) -> exp.Expr:
    """A condition as an expression of sqlglot.

    Raises:
        DataError: if a constant does not fit the kind of its column.
    """
    from sqlglot import exp

    from wardline.dp.queries import expressions as sql

    match condition:
        case Missing(column):
            return exp.Is(this=sql.name(column), expression=exp.Null())
        case Truth(column):
            return to_sql(Compare(column, "EQ", value=True), kinds, dialect)
        case Not(part):
            return exp.Not(this=exp.Paren(this=to_sql(part, kinds, dialect)))
        case Both(parts):
            return sql.both(*(to_sql(part, kinds, dialect) for part in parts))
        case Either(parts):
            return sql.either(*(to_sql(part, kinds, dialect) for part in parts))
        case Compare(column, operator, value):
            make: type[exp.Binary] = getattr(exp, operator)
            match kinds[column], value:
                case ("integer", bool()) | ("number", bool()):
                    pass
                case "integer", int():
                    return make(this=sql.plain(column, "integer", dialect), expression=sql.whole(value))
                case "integer" | "number", int() | float():
                    return make(this=sql.as_double(column), expression=sql.double(float(value)))
                case "text", str() if operator in ("EQ", "NEQ"):
                    return make(this=sql.plain(column, "text", dialect), expression=exp.Literal.string(value))
                case "truth", bool() if operator in ("EQ", "NEQ"):
                    return make(this=sql.plain(column, "truth", dialect), expression=sql.whole(int(value)))
                case "date", datetime.date():
                    return make(this=sql.plain(column, "date", dialect), expression=sql.whole(sql.days(value)))
                case _:
                    pass
            raise DataError(
                f"where compares a column of kind {kinds[column]} with a {type(value).__name__} by {operator}",
                where=column,
                hint="text and truth values know = and <> only; dates are written DATE '2020-01-31'",
            )
