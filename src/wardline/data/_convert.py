"""Columns as the contract wants them: one Arrow type for each kind, however a file stored the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from wardline.data._extras import module
from wardline.data._text import is_text, numbers_of, spread, truths_of
from wardline.data.contract import Column, category_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One way in which a table departs from its contract. It tells names and counts, never values of rows.

    Attributes:
        column: the column's name.
        problem: what is wrong, in lower case.
        remedy: what to do about it.
    """

    column: str
    problem: str
    remedy: str


class NotConvertibleError(Exception):
    """A column cannot be brought to the kind that the contract states; holds the breach."""

    def __init__(self, breach: Breach) -> None:
        super().__init__(breach.problem)
        self.breach = breach


def canonical_type(column: Column) -> Any:
    """The Arrow type that a kind is brought to."""
    pa = module("pyarrow")
    match column.kind:
        case "number":
            return pa.float64()
        case "integer":
            return pa.int64()
        case "category":
            return pa.string()
        case "boolean":
            return pa.bool_()
        case "ignore":
            return None
        case _:
            assert_never(column.kind)


def canonical(values: Any, column: Column) -> Any:
    """A chunked array in the canonical type of its kind; NaN becomes null, and so missing.

    Raises:
        NotConvertibleError: with the breach, if the values are not of that kind.
    """
    pa = module("pyarrow")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_null(values.type):
        return values.cast(canonical_type(column))
    match column.kind:
        case "number":
            return _number(values, column)
        case "integer":
            return _integer(values, column)
        case "category":
            return _category(values, column)
        case "boolean":
            return _boolean(values, column)
        case "ignore":
            return values
        case _:
            assert_never(column.kind)


def _wrong_type(values: Any, column: Column) -> NotConvertibleError:
    return NotConvertibleError(
        Breach(
            column=column.name,
            problem=f"is of type {values.type}, where the contract has kind {column.kind}",
            remedy="correct the column, or its kind in the contract",
        )
    )


def _unreadable(column: Column, count: int, of: int, what: str) -> NotConvertibleError:
    return NotConvertibleError(
        Breach(
            column=column.name,
            problem=f"{count:,} of {of:,} rows {what}",
            remedy="correct these rows, or the column's kind in the contract",
        )
    )


def _is_number(kind: Any) -> bool:
    types = module("pyarrow.types")
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _from_text(values: Any, column: Column, kind: Any, what: str) -> Any:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    distinct = pc.unique(values.cast(pa.string()))
    mapped = truths_of(distinct) if pa.types.is_boolean(kind) else numbers_of(distinct, kind)
    result = spread(values.cast(pa.string()), distinct, mapped)
    lost = result.null_count - values.null_count
    if lost:
        raise _unreadable(column, lost, len(values), what)
    return result


def _without_nan(values: Any) -> Any:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    if not pc.any(pc.is_nan(values)).as_py():
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _number(values: Any, column: Column) -> Any:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    if is_text(values.type):
        values = _from_text(values, column, pa.float64(), "hold text that is not a number")
    if not _is_number(values.type):
        raise _wrong_type(values, column)
    return _without_nan(pc.cast(values, pa.float64(), safe=False))


def _integer(values: Any, column: Column) -> Any:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    if is_text(values.type):
        values = _from_text(values, column, pa.int64(), "hold text that is not a whole number")
    if not _is_number(values.type):
        raise _wrong_type(values, column)
    if pa.types.is_integer(values.type):
        if pa.types.is_uint64(values.type):
            _refuse(pc.greater(values, pa.scalar(2**63 - 1, pa.uint64())), column, "hold numbers beyond 64 bits")
        return pc.cast(values, pa.int64())
    values = _without_nan(pc.cast(values, pa.float64(), safe=False))
    _refuse(pc.greater(pc.abs(values), 2.0**53), column, "hold numbers that are infinite or too large to be exact")
    _refuse(pc.not_equal(values, pc.floor(values)), column, "hold numbers that are not whole")
    return pc.cast(values, pa.int64())


def _refuse(bad: Any, column: Column, what: str) -> None:
    count = module("pyarrow.compute").sum(bad).as_py() or 0
    if count:
        raise _unreadable(column, count, len(bad), what)


def _category(values: Any, column: Column) -> Any:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    if is_text(values.type):
        return values.cast(pa.string())
    if pa.types.is_decimal(values.type):
        values = pc.cast(values, pa.float64(), safe=False)
    if not (_is_number(values.type) or pa.types.is_boolean(values.type)):
        raise _wrong_type(values, column)
    if pa.types.is_floating(values.type):
        values = _without_nan(values)
    distinct = pc.unique(values)
    texts = [None if value is None else category_text(value) for value in distinct.to_pylist()]
    return spread(values, distinct, pa.array(texts, pa.string()))


def _boolean(values: Any, column: Column) -> Any:
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    if pa.types.is_boolean(values.type):
        return values
    if is_text(values.type):
        return _from_text(values, column, pa.bool_(), "hold text that is neither true nor false")
    if not _is_number(values.type):
        raise _wrong_type(values, column)
    numbers = _without_nan(pc.cast(values, pa.float64(), safe=False))
    _refuse(pc.invert(pc.is_in(numbers, value_set=pa.array([0.0, 1.0, None]))), column, "hold neither 0 nor 1")
    return pc.equal(numbers, 1.0)


def extremes(values: Any) -> tuple[float, float] | None:
    """The smallest and largest finite number of a column; None if it has none."""
    pc = module("pyarrow.compute")
    if module("pyarrow.types").is_floating(values.type):
        values = values.filter(pc.is_finite(values))
    both = pc.min_max(values)
    low, high = both["min"].as_py(), both["max"].as_py()
    return None if low is None else (low, high)


def count_infinite(values: Any) -> int:
    """How many values are infinite."""
    if not module("pyarrow.types").is_floating(values.type):
        return 0
    return int(module("pyarrow.compute").sum(module("pyarrow.compute").is_inf(values)).as_py() or 0)


def is_varied(values: Any) -> bool:
    """Whether a column holds more than one value, a missing one counted as a value."""
    pc = module("pyarrow.compute")
    if values.null_count and values.null_count < len(values):
        return True
    if is_text(values.type):
        return len(pc.unique(values)) > 1
    both = pc.min_max(values)
    return bool(both["min"].as_py() != both["max"].as_py())


def codes(values: Any, allowed: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The index of each category within `allowed`; -1 where missing or not listed."""
    pa, pc = module("pyarrow"), module("pyarrow.compute")
    found = pc.fill_null(pc.index_in(values, value_set=pa.array(allowed, pa.string())), -1)
    result: np.ndarray[tuple[int], np.dtype[np.int64]] = found.to_numpy().astype(np.int64)
    return result
