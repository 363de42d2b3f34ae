"""The values that a synthetic table can hold, as cells: taken from the contract, never from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wardline.core import DataError, SecureRandom, need
from wardline.core.checks import at_least
from wardline.data import Column, Contract

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CELLS = 1 << 16
"""The most cells that one column can have."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribute:
    """One column as cells 0, 1, 2, ...; a missing value, where the contract allows it, is the last cell.

    Attributes:
        column: its entry in the contract.
        edges: for numbers and integers, the ends of the cells: cell i holds values v with edges[i] <= v < edges[i + 1]
            (the last cell of a number holds its upper end too). Integers have whole edges, the last one high + 1.
            None for categories and booleans, whose cells are their values.
    """

    column: Column
    edges: npt.NDArray[np.float64] | None = field(repr=False)

    @classmethod
    def of(cls, column: Column, *, cells: int) -> Attribute:
        """The cells of a column; a range is cut into at most `cells` of equal width on the column's own scale."""
        return cls(column=column, edges=_edges(column, cells) if column.kind in ("number", "integer") else None)

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name

    @property
    def ordered(self) -> bool:
        """Whether neighbouring cells hold neighbouring values."""
        return self.edges is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """The texts of the cells of a category or boolean, without the one for missing values."""
        return self.column.values if self.column.kind == "category" else ("false", "true")

    @property
    def present(self) -> int:
        """How many cells hold values, the one for missing values aside."""
        return len(self.labels) if self.edges is None else len(self.edges) - 1

    @property
    def size(self) -> int:
        """How many cells there are."""
        return self.present + self.column.missing

    def encode(self, values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """The cell of each value of a column that `enforce` returned.

        Raises:
            DataError: for a value that has no cell.
        """
        pa, pc = need("pyarrow", extra="data"), need("pyarrow.compute", extra="data")
        cells: npt.NDArray[np.int64]
        if self.edges is None:
            labels = pa.array(self.labels, pa.string())
            found = pc.index_in(values.cast(pa.string()), value_set=labels)
            cells = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        else:
            plain = pc.fill_null(pc.cast(values, pa.float64()), np.nan).to_numpy()
            inside = (plain >= float(self.column.low or 0)) & (plain <= float(self.column.high or 0))
            cells = np.where(inside, np.searchsorted(self.edges[1:-1], plain, side="right"), -1)
        absent = pc.is_null(values).to_numpy()
        cells[absent] = self.present if self.column.missing else -1
        outside = int(np.count_nonzero(cells < 0))
        if outside:
            raise DataError(
                f"column {self.name!r}: {outside:,} of {len(cells):,} rows hold what the contract does not allow",
                hint="call enforce first",
            )
        return cells

    def decode(self, cells: npt.NDArray[np.int64], *, random: SecureRandom) -> pa.Array:
        """A value for each cell: the category, or a uniform draw inside of the cell on the column's scale."""
        pa = need("pyarrow", extra="data")
        absent = cells >= self.present
        mask = absent if self.column.missing else None
        inside = np.minimum(cells, self.present - 1)
        if self.edges is None:
            labels = pa.array(self.labels, pa.string()) if self.column.kind == "category" else pa.array([False, True])
            return labels.take(pa.array(inside, pa.int64(), mask=mask))
        low, high = self.edges[inside], self.edges[inside + 1]
        share = random.uniform(len(cells))
        if self.column.kind == "integer":
            # Whole edges below 2**53 are exact, and so is the floor; the minimum guards the rounding of the product.
            drawn = np.minimum(low + np.floor(share * (high - low)), high - 1).astype(np.int64)
            return pa.array(drawn, pa.int64(), mask=mask)
        return pa.array(np.clip(self._between(low, high, share), low, high), pa.float64(), mask=mask)

    def _between(
        self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], share: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        if self.column.scale == "linear":
            return low + share * (high - low)
        base = float(self.column.low or 0)
        start, stop = np.log1p(low - base), np.log1p(high - base)
        between: npt.NDArray[np.float64] = base + np.expm1(start + share * (stop - start))
        return between


def _edges(column: Column, cells: int) -> npt.NDArray[np.float64]:
    low, high = float(column.low or 0), float(column.high or 0)
    whole = column.kind == "integer"
    if whole:
        high += 1
        if high - low <= cells:
            return np.arange(low, high + 1)
    steps = np.linspace(0.0, 1.0, cells + 1)
    edges = low + (steps * (high - low) if column.scale == "linear" else np.expm1(steps * np.log1p(high - low)))
    edges[0], edges[-1] = low, high
    return np.unique(np.rint(edges) if whole else edges)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Domain:
    """All columns of a synthetic table: the contract's features and its target, in the contract's order.

    Attributes:
        attributes: one for each column.
    """

    attributes: tuple[Attribute, ...]

    @classmethod
    def of(cls, contract: Contract, *, cells: int = 256) -> Domain:
        """The domain that a contract states; nothing of the data enters it.

        Args:
            contract: what a table may hold.
            cells: the most cells that a range of numbers is cut into, from 2 to `MOST_CELLS`.

        Raises:
            ValueError: for a number of cells out of range.
        """
        if at_least("cells", cells, 2) > MOST_CELLS:
            raise ValueError(f"cells must be at most {MOST_CELLS}, not {cells}")
        used = [column for column in contract.columns if column.kind != "ignore"]
        return cls(attributes=tuple(Attribute.of(column, cells=cells) for column in used))

    def __len__(self) -> int:
        return len(self.attributes)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(one.name for one in self.attributes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many cells each column has."""
        return tuple(one.size for one in self.attributes)

    def encode(self, table: pa.Table) -> list[npt.NDArray[np.int64]]:
        """The cells of each column of a table that `enforce` returned.

        Guarantee: the cells of a row are a function of that row and the contract.
        """
        return [one.encode(table.column(one.name)) for one in self.attributes]

    def decode(self, cells: Sequence[npt.NDArray[np.int64]], *, random: SecureRandom) -> pa.Table:
        """A table whose rows lie in these cells."""
        pa = need("pyarrow", extra="data")
        columns: list[Any] = [
            one.decode(column, random=random) for one, column in zip(self.attributes, cells, strict=True)
        ]
        return pa.table(dict(zip(self.names, columns, strict=True)))
