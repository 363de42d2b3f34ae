"""What is asked of an encrypted table: what to compute, and a filter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias, get_args

from wardline.core import canonical_json, digest_bytes
from wardline.core.errors import IntegrityError, UsageError

Kind: TypeAlias = Literal["count", "sum", "mean", "histogram"]
Comparison: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is missing", "is not missing"]

MOST_CONDITIONS = 256
MOST_VALUES = 256
MOST_TEXT = 256
MOST_CHARACTERS = 64 * 1024
"""Of all names and values of a query together, so that an answer's header holds it."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<mark><=|>=|!=|=|<|>|\(|\)|,)|(?P<word>[^\s<>=!(),"']+))"""
)
_ESCAPE = re.compile(r"\\(.)")
_COMPARISONS: frozenset[str] = frozenset({"=", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one column must fulfil.

    Attributes:
        column: its name.
        comparison: with what follows.
        values: as they were written: one, or for ``in`` and ``not in`` at least one, or for ``is ...`` none.

    Raises:
        ValueError: for another number of values, or texts that are too long.
    """

    column: str
    comparison: Comparison
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.comparison not in get_args(Comparison):
            raise ValueError("a condition compares with =, !=, <, <=, >, >=, in, not in, is missing or is not missing")
        wanted = 0 if self.comparison.startswith("is") else 1
        several = self.comparison in ("in", "not in") and 1 <= len(self.values) <= MOST_VALUES
        if not several and len(self.values) != wanted:
            raise ValueError(f"a condition with {self.comparison!r} takes {wanted} values, not {len(self.values)}")
        if any(len(one) > MOST_TEXT for one in (self.column, *self.values)):
            raise ValueError(f"a name or value of a condition has more than {MOST_TEXT} characters")

    def __str__(self) -> str:
        values = [_quoted(one) for one in self.values]
        right = (
            f" ({', '.join(values)})" if self.comparison in ("in", "not in") else "".join(f" {one}" for one in values)
        )
        return f"{_quoted(self.column)} {self.comparison}{right}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question; the server learns all of it.

    Attributes:
        kind: what is computed over the rows that fulfil all conditions.
        column: of sum, mean and histogram; None for a count.
        where: the conditions; none for all rows.

    Raises:
        ValueError: for a column where there is to be none, or the other way round, or too many conditions.
    """

    kind: Kind
    column: str | None = None
    where: tuple[Condition, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError("a query is a count, sum, mean or histogram")
        if (self.column is None) is not (self.kind == "count"):
            raise ValueError("a sum, mean or histogram is of a column, and a count of none")
        if len(self.where) > MOST_CONDITIONS or len(self.column or "") > MOST_TEXT:
            raise ValueError(f"a query has at most {MOST_CONDITIONS} conditions, and a name {MOST_TEXT} characters")
        texts = [text for one in self.where for text in (one.column, *one.values)]
        if sum(map(len, texts)) + len(texts) > MOST_CHARACTERS:
            raise ValueError(f"names and values of a query have more than {MOST_CHARACTERS} characters")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the query's name in an answer."""
        return digest_bytes(canonical_json(self.to_json()))

    def __str__(self) -> str:
        what = self.kind if self.column is None else f"{self.kind} of {_quoted(self.column)}"
        return f"{what} where {' and '.join(map(str, self.where))}" if self.where else what

    def to_json(self) -> dict[str, Any]:
        """The query as JSON values."""
        return {
            "kind": self.kind,
            "column": self.column,
            "where": [
                {"column": one.column, "comparison": one.comparison, "values": list(one.values)} for one in self.where
            ],
        }

    @classmethod
    def from_json(cls, value: Any) -> Query:
        """Read `to_json` back.

        Raises:
            IntegrityError: for anything else.
        """
        try:
            if set(value) != {"kind", "column", "where"}:
                raise ValueError("a query has a kind, a column and conditions")
            if not isinstance(value["column"], (str, type(None))) or not isinstance(value["where"], list):
                raise TypeError("a column is a text, and conditions are a list")
            return cls(
                kind=value["kind"], column=value["column"], where=tuple(_condition(one) for one in value["where"])
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IntegrityError(f"this is no query: {error}") from error


def parse_where(text: str) -> tuple[Condition, ...]:
    """Read a filter, for example ``sex = F and age >= 30 and state in (CA, "New York")``.

    Conditions are joined by ``and``. Names and values with blanks or marks stand in quotes, in which a backslash
    keeps the next character as it is.

    Raises:
        UsageError: for anything else, or an empty text.
    """
    tokens = _tokens(text)
    if not tokens:
        raise _refused("the filter is empty", "leave it out to ask about all rows")
    conditions: list[Condition] = []
    at = 0
    while True:
        try:
            condition, at = _read(tokens, at)
        except ValueError as error:
            raise _refused(str(error), 'for example "sex = F and age >= 30"') from error
        conditions.append(condition)
        if at == len(tokens):
            return tuple(conditions)
        if not _is(tokens[at], "and") or at + 1 == len(tokens):
            raise _refused(f"{tokens[at][1]!r} follows a condition", "join conditions by `and`")
        at += 1


def query_from_person(value: Any) -> Query:
    """Read a query that a person wrote as JSON: ``{"sum": "income", "where": "sex = F and age >= 30"}``.

    Instead of a text, `where` may be what `Query.to_json` gives. ``{"count": true}`` asks for a count.

    Raises:
        UsageError: for anything else.
    """
    hint = 'for example {"sum": "income", "where": "sex = F and age >= 30"}'
    kinds = get_args(Kind)
    named = [one for one in kinds if isinstance(value, Mapping) and one in value]
    if len(named) != 1 or set(value) - {named[0], "where"}:
        raise UsageError(f"a query has one of {', '.join(kinds)}, and perhaps where", hint=hint)
    kind, wanted, where = named[0], value[named[0]], value.get("where")
    if (wanted is not True) if kind == "count" else not isinstance(wanted, str):
        raise UsageError(f"a {kind} needs {'true' if kind == 'count' else 'a column'}", hint=hint)
    try:
        if where is None:
            conditions: tuple[Condition, ...] = ()
        elif isinstance(where, str):
            conditions = parse_where(where)
        else:
            conditions = tuple(_condition(one) for one in where)
        return Query(kind=kind, column=None if kind == "count" else wanted, where=conditions)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"the query is refused: {error}", hint=hint) from error


def number(text: str) -> Decimal | None:
    """A value as a number, or None."""
    try:
        found = Decimal(text)
    except ArithmeticError:
        return None
    return found if found.is_finite() and abs(found.adjusted()) <= 30 else None


def _condition(value: Any) -> Condition:
    if set(value) != {"column", "comparison", "values"} or not isinstance(value["values"], list):
        raise ValueError("a condition has a column, a comparison and a list of values")
    if any(not isinstance(one, str) for one in (value["column"], *value["values"])):
        raise TypeError("names and values of a condition are texts")
    return Condition(column=value["column"], comparison=value["comparison"], values=tuple(value["values"]))


Token: TypeAlias = tuple[str, str]


def _tokens(text: str) -> list[Token]:
    if len(text) > MOST_CHARACTERS:
        raise _refused("the filter is too long", "shorten it")
    found: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise _refused(f"character {at + 1} of the filter belongs to nothing", "put texts with marks in quotes")
        kind = str(match.lastgroup)
        word = match[kind]
        found.append((kind, _ESCAPE.sub(r"\1", word[1:-1]) if kind == "quoted" else word))
        at = match.end()
    return found


def _read(tokens: list[Token], at: int) -> tuple[Condition, int]:
    def token(place: int) -> Token:
        if place >= len(tokens):
            raise ValueError("the filter ends too early")
        return tokens[place]

    def value(place: int) -> str:
        kind, word = token(place)
        if kind == "mark":
            raise ValueError(f"{word!r} stands where a name or value is wanted")
        return word

    column = value(at)
    kind, word = token(at + 1)
    if kind == "mark" and word in _COMPARISONS:
        return _made(column, word, (value(at + 2),)), at + 3
    if _is((kind, word), "is"):
        negated = _is(token(at + 2), "not")
        if not _is(token(at + 2 + negated), "missing"):
            raise ValueError("`is` is followed by `missing` or `not missing`")
        return _made(column, "is not missing" if negated else "is missing", ()), at + 3 + negated
    negated = _is((kind, word), "not")
    if not _is(token(at + 1 + negated), "in") or token(at + 2 + negated) != ("mark", "("):
        raise ValueError(f"{column!r} is followed by no comparison")
    at += 3 + negated
    values = [value(at)]
    while token(at + 1) == ("mark", ","):
        values.append(value(at + 2))
        at += 2
    if token(at + 1) != ("mark", ")"):
        raise ValueError("a list of values is not closed")
    return _made(column, "not in" if negated else "in", tuple(values)), at + 2


def _made(column: str, comparison: str, values: tuple[str, ...]) -> Condition:
    return Condition(column=column, comparison=comparison, values=values)  # type: ignore[arg-type]  # it looks itself


def _is(token: Token, word: str) -> bool:
    return token[0] == "word" and token[1].lower() == word


def _quoted(text: str) -> str:
    plain = re.fullmatch(r"""[^\s<>=!(),"'\\]+""", text) and text.lower() not in ("and", "in", "is", "not", "missing")
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _refused(message: str, hint: str) -> UsageError:
    return UsageError(message, hint=hint)
