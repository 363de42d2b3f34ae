"""What is public of an encrypted table: its columns, their categories, bounds and edges."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction
from typing import Any, TypeAlias

from wardline.core.errors import DataError

MISSING = "(missing)"
"""How a histogram calls the rows without a value."""

MOST_COLUMNS = 256
MOST_LEVELS = 256
MOST_NAME = 256
LARGEST = 1 << 40
"""No number of a column is larger than so many units."""

_EXACT = Context(prec=4096, traps=[Inexact])
"""Products of a unit and a whole number, which 28 digits might round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryColumn:
    """A column of categories.

    Attributes:
        name: of the column.
        categories: all that occur, each once; none is called `MISSING`.
        missing: whether rows may lack a value. They are a level of their own then, and no category matches them.

    Raises:
        ValueError: for other names, or none or more than 256 categories.
    """

    name: str
    categories: tuple[str, ...]
    missing: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not 1 <= len(self.categories) <= MOST_LEVELS or len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name!r} must have 1 to {MOST_LEVELS} categories, each once")
        if MISSING in self.categories or any(len(one) > MOST_NAME for one in self.categories):
            raise ValueError(f"a category of column {self.name!r} is too long, or called {MISSING}")

    @property
    def levels(self) -> tuple[str, ...]:
        """Categories, and what is missing: each row is in exactly one."""
        return (*self.categories, MISSING) if self.missing else self.categories

    @property
    def size(self) -> int:
        """How many levels there are."""
        return len(self.categories) + self.missing

    def to_json(self) -> dict[str, Any]:
        """The column as JSON values."""
        return {"kind": "category", "name": self.name, "categories": list(self.categories), "missing": self.missing}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberColumn:
    """A column of numbers, each a multiple of a unit, within bounds.

    Attributes:
        name: of the column.
        unit: above 0; all other numbers here count in it.
        low, high: the least and the greatest value that may occur, in units.
        edges: rising, above `low` and up to `high`, in units: the ends of ranges that a filter may name. They cut the
            column into buckets, of which a histogram counts the rows.
        sums: whether values are to be added up; their ciphertexts are left out otherwise.
        missing: whether rows may lack a value. They match no range, and count in no sum.

    Raises:
        ValueError: for anything else.
    """

    name: str
    unit: Decimal
    low: int
    high: int
    edges: tuple[int, ...] = ()
    sums: bool = True
    missing: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not (self.unit.is_finite() and self.unit > 0):
            raise ValueError(f"the unit of column {self.name!r} must be above 0")
        if not -LARGEST <= self.low <= self.high <= LARGEST:
            raise ValueError(f"column {self.name!r} needs low <= high, within {LARGEST} units of 0")
        inside = all(self.low < edge <= self.high for edge in self.edges)
        if not inside or any(one >= other for one, other in itertools.pairwise(self.edges)):
            raise ValueError(f"edges of column {self.name!r} must rise, above low and up to high")
        if len(self.edges) >= MOST_LEVELS:
            raise ValueError(f"column {self.name!r} has more than {MOST_LEVELS - 1} edges")

    @property
    def buckets(self) -> tuple[tuple[int, int], ...]:
        """From where to below where each bucket reaches, in units."""
        ends = (self.low, *self.edges, self.high + 1)
        return tuple(itertools.pairwise(ends))

    @property
    def levels(self) -> tuple[str, ...]:
        """Buckets by name, and what is missing: each row is in exactly one."""
        names = [f"{self.text(low)} to below {self.text(below)}" for low, below in self.buckets[:-1]]
        names.append(f"{self.text(self.buckets[-1][0])} to {self.text(self.high)}")
        return (*names, MISSING) if self.missing else tuple(names)

    @property
    def size(self) -> int:
        """How many levels there are."""
        return len(self.edges) + 1 + self.missing

    def text(self, units: int) -> str:
        """A number of units as a decimal."""
        return format(_EXACT.multiply(self.unit, Decimal(units)), "f")

    def to_json(self) -> dict[str, Any]:
        """The column as JSON values; numbers as decimals in text, so that none is rounded."""
        return {
            "kind": "number",
            "name": self.name,
            "unit": format(self.unit, "f"),
            "low": self.text(self.low),
            "high": self.text(self.high),
            "edges": [self.text(edge) for edge in self.edges],
            "sums": self.sums,
            "missing": self.missing,
        }


Column: TypeAlias = CategoryColumn | NumberColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The columns of a table, in order.

    Attributes:
        columns: 1 to 256, each with a name of its own.

    Raises:
        ValueError: for other columns.

    Leakage: all of it is public. Categories, bounds and edges that were taken from the data tell of it: the extremes
    are values of rows, and edges at quantiles tell the distribution. Declare them where that matters.
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.columns) <= MOST_COLUMNS or len({one.name for one in self.columns}) != len(self.columns):
            raise ValueError(f"a table has 1 to {MOST_COLUMNS} columns, each with a name of its own")

    def index(self, name: str) -> int | None:
        """Which column has this name, or None."""
        return next((place for place, one in enumerate(self.columns) if one.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The schema as JSON values."""
        return {"columns": [one.to_json() for one in self.columns]}

    @classmethod
    def from_json(cls, value: Any) -> Schema:
        """Read what `to_json` gave, or what a person wrote: numbers may be JSON numbers, and what is false left out.

        Raises:
            DataError: for anything else.
        """
        if not isinstance(value, dict) or set(value) != {"columns"} or not isinstance(value["columns"], list):
            raise DataError("a schema is an object with a list of columns", hint="write one with `plan --out`")
        try:
            return cls(columns=tuple(_column(one) for one in value["columns"]))
        except (ValueError, TypeError, InvalidOperation, OverflowError) as error:
            raise DataError(f"the schema is refused: {error}", hint="write one with `plan --out`") from error


def _column(value: Any) -> Column:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise TypeError("a column is an object with a name")
    name, kind = value["name"], str(value.get("kind"))
    allowed: Mapping[str, set[str]] = {
        "category": {"kind", "name", "categories", "missing"},
        "number": {"kind", "name", "unit", "low", "high", "edges", "sums", "missing"},
    }
    if kind not in allowed or set(value) - allowed[kind]:
        raise ValueError(f"column {name!r} is of another kind than category and number, or has a field too many")
    missing = _truth(value.get("missing", False))
    if kind == "category":
        categories = value.get("categories")
        if not isinstance(categories, list) or not all(isinstance(one, str) for one in categories):
            raise ValueError(f"categories of column {name!r} must be a list of texts")
        return CategoryColumn(name=name, categories=tuple(categories), missing=missing)
    unit = _decimal(value.get("unit", "1"))
    if not (unit.is_finite() and unit > 0):
        raise ValueError(f"the unit of column {name!r} must be above 0")
    edges = value.get("edges", [])
    if not isinstance(edges, list):
        raise TypeError(f"edges of column {name!r} must be a list")
    return NumberColumn(
        name=name,
        unit=unit,
        low=_whole(value.get("low"), unit, name),
        high=_whole(value.get("high"), unit, name),
        edges=tuple(_whole(edge, unit, name) for edge in edges),
        sums=_truth(value.get("sums", True)),
        missing=missing,
    )


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("sums and missing are true or false")
    return value


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or len(str(value)) > 40:
        raise ValueError("a number is missing")
    number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise ValueError("a number is not finite, or too large or too small")
    return number


def _whole(value: Any, unit: Decimal, name: str) -> int:
    quotient = Fraction(_decimal(value)) / Fraction(unit)
    if quotient.denominator != 1:
        raise ValueError(f"a number of column {name!r} is no multiple of its unit")
    return int(quotient)


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MOST_NAME:
        raise ValueError(f"a column's name has 1 to {MOST_NAME} characters")
