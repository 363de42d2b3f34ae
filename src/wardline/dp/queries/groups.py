"""The groups of a result, in an order that does not depend on the engine, and figures put in their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from wardline.core.errors import DataError
from wardline.dp.queries.expressions import from_days
from wardline.dp.queries.plan import encoded

if TYPE_CHECKING:
    from wardline.dp.engines.base import Kind
    from wardline.dp.queries.values import KeyValue

MOST_CELLS = 100_000_000
"""How many groups times bins one statistic may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One key of the groups.

    Attributes:
        code: its name in a result.
        name: its name in a frame.
        kind: what the engine's numbers stand for.
        values: the public values; None if they are found.
    """

    code: str
    name: str
    kind: Kind
    values: Sequence[KeyValue] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Groups in order: public ones as they are listed, the last key fastest; found ones sorted.

    Attributes:
        columns: the keys.
        codes: one row per group, as the engines see keys.
        size: how many groups.
    """

    columns: tuple[Column, ...]
    codes: pa.Table
    size: int

    @classmethod
    def public(cls, columns: Sequence[Column]) -> Groups:
        """Every combination of the listed values."""
        lists = [encoded(column.values or ()) for column in columns]
        size = int(np.prod([len(values) for values in lists], dtype=np.int64)) if lists else 1
        codes, inner = {}, size
        for column, values in zip(columns, lists, strict=True):
            inner //= len(values)
            places = np.tile(np.repeat(np.arange(len(values)), inner), size // (inner * len(values)))
            codes[column.code] = _array(values, column).take(pa.array(places))
        return cls(columns=tuple(columns), codes=pa.table(codes), size=size)

    @classmethod
    def found(cls, columns: Sequence[Column], result: pa.Table) -> Groups:
        """The groups that a result has, with each combination once."""
        codes = pa.table({column.code: _typed(result[column.code], column) for column in columns})
        codes = codes.sort_by([(column.code, "ascending") for column in columns])
        return cls(columns=tuple(columns), codes=codes, size=codes.num_rows)

    def places(self, result: pa.Table) -> npt.NDArray[np.int64]:
        """For each row of a result, the number of its group; -1 if it is none of these."""
        if not self.columns:
            return np.zeros(result.num_rows, dtype=np.int64)
        place = np.zeros(result.num_rows, dtype=np.int64)
        known = np.zeros(self.size, dtype=np.int64)
        missing = np.zeros(result.num_rows, dtype=np.bool_)
        # Mixed radix, made dense after each key, so that no number of keys overflows.
        for column in self.columns:
            own = self.codes[column.code].combine_chunks()
            different = pc.unique(own)
            at = pc.index_in(_typed(result[column.code], column), value_set=different)
            missing |= at.is_null().to_numpy(zero_copy_only=False)
            place = place * len(different) + pc.fill_null(at, 0).to_numpy(zero_copy_only=False)
            known = known * len(different) + pc.index_in(own, value_set=different).to_numpy(zero_copy_only=False)
            dense, known = np.unique(known, return_inverse=True)
            spot = np.searchsorted(dense, place)
            spot[spot == len(dense)] = 0
            missing |= dense[spot] != place if len(dense) else np.ones_like(missing)
            place = spot
        order = np.empty(self.size, dtype=np.int64)
        order[known] = np.arange(self.size)
        return np.where(missing, -1, order[place] if self.size else -1)

    def spread(self, places: npt.NDArray[np.int64], values: pa.ChunkedArray, *, bins: int = 0) -> npt.NDArray[np.int64]:
        """The values in their places, 0 elsewhere. With bins, a place is group * bins + bin.

        Raises:
            DataError: if there are more cells than memory should be asked for.
        """
        if self.size * max(bins, 1) > MOST_CELLS:
            raise DataError(
                f"{self.size:,} groups of {bins:,} bins are more than {MOST_CELLS:,} cells",
                hint="use fewer groups or fewer bins",
            )
        found = np.zeros(self.size * max(bins, 1), dtype=np.int64)
        listed = places >= 0
        found[places[listed]] = values.to_numpy().astype(np.int64)[listed]
        return found.reshape(self.size, bins) if bins else found

    def shown(self) -> pa.Table:
        """The keys with their own names and types."""
        names = [column.name for column in self.columns]
        return pa.Table.from_arrays([_shown(self.codes[column.code], column) for column in self.columns], names=names)


def _array(values: Sequence[int | str], column: Column) -> pa.Array:
    return pa.array(values, type=pa.string() if column.kind == "text" else pa.int64())


def _typed(values: Any, column: Column) -> Any:
    return values.cast(pa.string() if column.kind == "text" else pa.int64())


def _shown(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    if column.kind == "truth":
        return values.cast(pa.bool_())
    if column.kind == "date":
        try:
            return pa.chunked_array([pa.array([from_days(day) for day in values.to_pylist()], type=pa.date32())])
        except OverflowError:
            raise DataError(
                "a date lies beyond the year 9999", where=column.name, hint="leave such rows out with where"
            ) from None
    return values
