"""Rows as numbers, by the contract alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never, final

import numpy as np
import numpy.typing as npt

from wardline.core import DataError
from wardline.data._convert import NotConvertibleError, canonical, codes
from wardline.data._extras import module
from wardline.data.contract import Column, Contract
from wardline.data.examples import Examples

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one column contributes: a value for each row and where it goes.

    Attributes:
        at: index of the column's first feature.
        number: the scaled value of each row, for number, integer and boolean; else None.
        hot: which of the column's features is 1 in each row, -1 for none, for a category; else None.
        absent: where the value is missing, if it may be; else None.
        width: how many features the column has, without the one that tells of a missing value.
    """

    at: int
    width: int
    number: npt.NDArray[np.float32] | None = None
    hot: npt.NDArray[np.int64] | None = None
    absent: npt.NDArray[np.bool_] | None = None


@final
class Encoder:
    """Turns a table into examples, using the contract and never a statistic of the data.

    A mean, a maximum or a list of values taken from the data is a release about it, and would have to be
    charged to the privacy budget. The contract is public, so encoding by it costs nothing.

    - number, integer: spread over [-1, 1] by their range; with `scale: log` by log(1 + value - low).
      Values outside of the range are refused, not clipped.
    - category: one feature for each listed value, 1 or 0. boolean: 1 or 0.
    - missing: 0 in the column's features, and 1 in a feature ``NAME is missing`` that the column then has.

    All features lie in [-1, 1], so that no column dominates the gradient norms that DP-SGD clips.

    Guarantee: each row's encoding is a function of that row and the contract; changing one row changes no
    other row's encoding. What is added to the privacy loss by encoding is therefore zero.

    Args:
        contract: what the table may hold.
    """

    __slots__ = ("classes", "contract", "features")

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.classes = contract.classes
        self.features = tuple(name for column in contract.features for name in _feature_names(column))
        if len(set(self.features)) != len(self.features):
            raise ValueError("two columns of the contract lead to features of one name; rename one")

    def encode(self, table: pa.Table) -> Examples:
        """Encode every row of a table.

        Args:
            table: a table that `enforce` returned; columns of other types are converted likewise.

        Raises:
            DataError: if a value is missing, out of range or unlisted where the contract forbids it.
        """
        n = table.num_rows
        parts = []
        at = 0
        for column in self.contract.features:
            part = _part(column, _values(table, column), at)
            parts.append(part)
            at += part.width + (part.absent is not None)
        return Examples(
            x=_assemble(parts, n, len(self.features)),
            y=self._labels(table),
            unit=self._units(table),
            features=self.features,
            classes=self.classes,
        )

    def _labels(self, table: pa.Table) -> npt.NDArray[np.int64]:
        column = self.contract.column(self.contract.target)
        values = _values(table, column).cast(module("pyarrow").string())
        labels = codes(values, self.classes)
        _refuse(labels < 0, column, "hold no class that the contract lists")
        return labels

    def _units(self, table: pa.Table) -> npt.NDArray[np.int64]:
        name = self.contract.unit_column
        if name is None:
            return np.arange(table.num_rows, dtype=np.int64)
        if name not in table.column_names:
            raise DataError(f"column {name!r}: is missing from the data", hint="call enforce first")
        values = table.column(name)
        if module("pyarrow.types").is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if values.null_count:
            raise DataError(f"column {name!r}: rows name no person", hint="call enforce first")
        indices = values.combine_chunks().dictionary_encode().indices
        units: npt.NDArray[np.int64] = indices.to_numpy().astype(np.int64)
        return units


def _feature_names(column: Column) -> list[str]:
    names = [f"{column.name}={value}" for value in column.values] if column.kind == "category" else [column.name]
    return [*names, f"{column.name} is missing"] if column.missing else names


def _values(table: Any, column: Column) -> Any:
    if column.name not in table.column_names:
        raise DataError(f"column {column.name!r}: is missing from the data", hint="call enforce first")
    try:
        return canonical(table.column(column.name), column)
    except NotConvertibleError as error:
        raise DataError(f"column {column.name!r}: {error.breach.problem}", hint=error.breach.remedy) from None


def _refuse(bad: npt.NDArray[np.bool_], column: Column, what: str) -> None:
    count = int(np.count_nonzero(bad))
    if count:
        raise DataError(f"column {column.name!r}: {count:,} of {len(bad):,} rows {what}", hint="call enforce first")


def _part(column: Column, values: Any, at: int) -> _Part:
    pc = module("pyarrow.compute")
    absent: npt.NDArray[np.bool_] | None = None
    if values.null_count or column.missing:
        absent = pc.is_null(values).to_numpy()
        if not column.missing:
            _refuse(absent, column, "have no value")
    match column.kind:
        case "number" | "integer":
            number = _scaled(column, pc.fill_null(values, column.low) if values.null_count else values)
            if absent is not None:
                number[absent] = 0.0
            return _Part(at=at, width=1, number=number, absent=absent)
        case "boolean":
            filled = pc.fill_null(values, fill_value=False)
            return _Part(at=at, width=1, number=filled.to_numpy().astype(np.float32), absent=absent)
        case "category":
            hot = codes(values, column.values)
            unknown = hot < 0 if absent is None else (hot < 0) & ~absent
            _refuse(unknown, column, "hold a category that the contract does not list")
            return _Part(at=at, width=len(column.values), hot=hot, absent=absent)
        case "ignore":
            raise AssertionError("an ignored column is no feature")
        case _:
            assert_never(column.kind)


def _scaled(column: Column, values: Any) -> npt.NDArray[np.float32]:
    low, high = float(column.low or 0.0), float(column.high or 0.0)
    raw = values.to_numpy().astype(np.float64)
    _refuse(~((raw >= low) & (raw <= high)), column, "lie outside the contract's range")
    raw -= low
    if column.scale == "log":
        np.log1p(raw, out=raw)
        raw *= 2.0 / float(np.log1p(high - low))
    else:
        raw *= 2.0 / (high - low)
    raw -= 1.0
    # The last bit of a quotient may round past the end of the range.
    scaled: npt.NDArray[np.float32] = np.clip(raw, -1.0, 1.0, out=raw).astype(np.float32)
    return scaled


def _assemble(parts: list[_Part], n: int, d: int) -> npt.NDArray[np.float32]:
    """Write all columns into one array, block by block so that a block stays in the processor's cache."""
    x = np.zeros((n, d), dtype=np.float32)
    block = max(1, _BLOCK_BYTES // (4 * max(d, 1)))
    rows = np.arange(block)
    for start in range(0, n, block):
        piece = x[start : start + block]
        span = slice(start, start + len(piece))
        for part in parts:
            if part.number is not None:
                piece[:, part.at] = part.number[span]
            if part.hot is not None:
                hot = part.hot[span]
                if part.absent is None:
                    piece[rows[: len(piece)], hot + part.at] = 1.0
                else:
                    there = np.flatnonzero(hot >= 0)
                    piece[there, hot[there] + part.at] = 1.0
            if part.absent is not None:
                piece[:, part.at + part.width] = part.absent[span]
    return x
