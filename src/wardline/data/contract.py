"""The data contract: which columns there are, and within which ranges. A value; nothing is read here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

Kind = Literal["number", "integer", "category", "boolean", "ignore"]
Scale = Literal["linear", "log"]

_KEYS = frozenset({"kind", "low", "high", "values", "scale", "missing"})


def category_text(value: object) -> str:
    """The one text that stands for a category, however a file happened to store it: 1, 1.0 and "1" are "1"."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            raise TypeError(f"a category is text, a number or a truth value, not {type(value).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one column may hold.

    Attributes:
        name: the column's name.
        kind: number, integer, category, boolean, or ignore (may hold anything; never used).
        low, high: the closed range of a number or integer; both finite, low < high.
        values: the categories, at least two, in the order in which they are encoded.
        scale: how a number or integer is spread over its range; log suits amounts over several magnitudes.
        missing: whether values may be missing.

    Raises:
        ValueError: if these disagree.
    """

    name: str
    kind: Kind
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    scale: Scale = "linear"
    missing: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"column {self.name!r}: kind must be one of {', '.join(get_args(Kind))}")
        if self.scale not in get_args(Scale):
            raise ValueError(f"column {self.name!r}: scale must be linear or log")
        ranged = self.kind in ("number", "integer")
        if ranged:
            self._check_range()
        elif self.low is not None or self.high is not None or self.scale != "linear":
            raise ValueError(f"column {self.name!r}: low, high and scale belong to numbers and integers")
        if self.kind == "category":
            if len(self.values) < 2 or len(set(self.values)) != len(self.values):
                raise ValueError(f"column {self.name!r}: a category lists at least two distinct values")
        elif self.values:
            raise ValueError(f"column {self.name!r}: values belong to categories")
        if self.kind == "ignore" and self.missing:
            raise ValueError(f"column {self.name!r}: an ignored column says nothing about missing values")

    def _check_range(self) -> None:
        low, high = self.low, self.high
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"column {self.name!r}: low and high must be finite, low below high")
        if self.kind == "integer" and not (float(low).is_integer() and float(high).is_integer()):
            raise ValueError(f"column {self.name!r}: low and high of an integer must be whole")
        if self.kind == "integer" and max(abs(low), abs(high)) > 2**53:
            raise ValueError(f"column {self.name!r}: whole numbers beyond 2**53 are not exact; use kind number")
        if not math.isfinite(high - low):
            raise ValueError(f"column {self.name!r}: the range from low to high is too wide")

    @classmethod
    def from_policy(cls, name: str, spec: Mapping[str, Any]) -> Self:
        """The column that one entry under `data.columns` of a policy describes.

        Raises:
            ValueError: for an unknown key or values that disagree.
        """
        given = {key: value for key, value in spec.items() if value is not None}
        unknown = sorted(given.keys() - _KEYS)
        if unknown:
            raise ValueError(f"column {name!r}: unknown key {unknown[0]!r}")
        if "kind" not in given:
            raise ValueError(f"column {name!r}: kind is missing")
        values = tuple(category_text(value) for value in given.pop("values", ()))
        return cls(name=name, values=values, **given)

    def to_policy(self) -> dict[str, Any]:
        """The entry under `data.columns`: defaults left out, whole numbers without a point."""
        entry: dict[str, Any] = {"kind": self.kind}
        for key, bound in (("low", self.low), ("high", self.high)):
            if bound is not None:
                entry[key] = int(bound) if float(bound).is_integer() and abs(bound) < 2**53 else float(bound)
        if self.values:
            entry["values"] = list(self.values)
        if self.scale != "linear":
            entry["scale"] = self.scale
        if self.missing:
            entry["missing"] = True
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a table may hold, and whom one row is about.

    The contract is public: the encoder uses it instead of statistics of the data, and the evidence shows it.

    Attributes:
        columns: every column of the table, ignored ones included.
        target: the column to predict: a category, or a boolean, without missing values.
        unit_column: the column that names the person of each row; None if each row is its own unit. It is
            never a feature; if it stands in `columns`, its kind is ignore.
        max_rows_per_unit: the largest number of rows that one unit contributes, at least 1.

    Raises:
        ValueError: if these disagree.
    """

    columns: tuple[Column, ...]
    target: str
    unit_column: str | None = None
    max_rows_per_unit: int = 1

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError("a column stands in the contract twice")
        if self.target not in names:
            raise ValueError(f"the target {self.target!r} is not among the columns")
        target = self.column(self.target)
        if target.kind not in ("category", "boolean") or target.missing:
            raise ValueError(f"the target {self.target!r} must be a category or a boolean without missing values")
        if not self.features:
            raise ValueError("the contract leaves no column to learn from")
        if self.unit_column in names and self.column(str(self.unit_column)).kind != "ignore":
            raise ValueError(f"the unit column {self.unit_column!r} must be of kind ignore: it is never a feature")
        if self.max_rows_per_unit < 1:
            raise ValueError("max_rows_per_unit must be at least 1")
        if self.unit_column is None and self.max_rows_per_unit != 1:
            raise ValueError("max_rows_per_unit needs a unit column: a row is one row")

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises:
            KeyError: if there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns to learn from, in the contract's order."""
        return tuple(column for column in self.columns if column.kind != "ignore" and column.name != self.target)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the contract's order."""
        target = self.column(self.target)
        return target.values if target.kind == "category" else ("false", "true")

    @classmethod
    def from_policy(cls, data: Mapping[str, Any]) -> Self:
        """The contract in a policy's section `data`: its keys `target`, `unit` and `columns` are read.

        Raises:
            ValueError: if they disagree. The policy's loader has checked the shape before.
        """
        unit = data.get("unit", "row")
        person = unit if isinstance(unit, Mapping) else {}
        if not person and unit != "row":
            raise ValueError("unit must be row, or name a column")
        return cls(
            columns=tuple(Column.from_policy(name, spec) for name, spec in data["columns"].items()),
            target=data["target"],
            unit_column=person.get("column"),
            max_rows_per_unit=int(person.get("max_rows", 1)),
        )

    def to_policy(self) -> dict[str, Any]:
        """The keys `target`, `unit` and `columns` of a policy's section `data`."""
        unit: Any = "row"
        if self.unit_column is not None:
            unit = {"column": self.unit_column, "max_rows": self.max_rows_per_unit}
        return {
            "target": self.target,
            "unit": unit,
            "columns": {column.name: column.to_policy() for column in self.columns},
        }
