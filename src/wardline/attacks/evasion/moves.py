"""The columns of a table as its author sees them, and all single changes that one may make to a row.

A one-hot group is one column here, however many features it takes. A change of a column of numbers costs the share of
its range that it is moved by, a change of a category costs 1: the range-normalised L1 distance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.spec import InputSpec
from wardline.core import UsageError

_MOST_COLUMNS = 1000

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name: the feature's name, or what the names of a group have in common.
        features: flat indices: one of a number, several of a category.
        mutable: whether an adversary can change it.
    """

    name: str
    features: tuple[int, ...]
    mutable: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moves:
    """All single changes: the i-th sets `column[i]`.

    Attributes:
        column: which column each change is of, [moves].
        touches: which features it sets, [moves, features].
        values: to what, [moves, features]; 0 elsewhere.
    """

    column: Rows
    touches: npt.NDArray[np.bool_] = field(repr=False)
    values: Floats = field(repr=False)

    def __len__(self) -> int:
        return len(self.column)

    def apply(self, rows: Floats, chosen: Rows) -> Floats:
        """Each row after one change."""
        return np.where(self.touches[chosen], self.values[chosen], rows)


class Columns:
    """The columns that a specification describes.

    Args:
        spec: of a table: inputs of one axis.

    Raises:
        UsageError: for inputs that are no rows of a table.
    """

    def __init__(self, spec: InputSpec) -> None:
        if len(spec.shape) != 1 or spec.features > _MOST_COLUMNS:
            raise UsageError(
                f"inputs of shape {list(spec.shape)} are no rows of a table",
                hint=f"this attack changes single columns of at most {_MOST_COLUMNS}; images have attacks of their own",
            )
        self.spec = spec
        self.all = _columns(spec)
        grouped = {index for group in spec.groups for index in group}
        self._numbers = np.array([f for f in range(spec.features) if f not in grouped], dtype=np.int64)
        self._range = np.asarray(spec.high, dtype=np.float64) - np.asarray(spec.low, dtype=np.float64)
        self._first = np.array([column.features[0] for column in self.all], dtype=np.int64)

    def changed(self, rows: Floats, originals: Floats) -> npt.NDArray[np.bool_]:
        """Which columns differ: [rows, columns]."""
        differs = rows != originals
        result = np.empty((len(rows), len(self.all)), dtype=np.bool_)
        for at, column in enumerate(self.all):
            result[:, at] = differs[:, list(column.features)].any(axis=1)
        return result

    def cost(self, rows: Floats, originals: Floats) -> npt.NDArray[np.float64]:
        """The range-normalised L1 distance: shares of ranges for numbers, 1 for a changed category."""
        moved = np.abs(rows.astype(np.float64) - originals)[:, self._numbers] / self._range[self._numbers]
        categories = sum(
            ((rows != originals)[:, list(group)].any(axis=1).astype(np.float64) for group in self.spec.groups),
            start=np.zeros(len(rows)),
        )
        total: npt.NDArray[np.float64] = moved.sum(axis=1) + categories
        return total

    def moves(self, seen: Floats, *, values: int) -> Moves:
        """Every change of a mutable column: to each category, to so many values of a number.

        Half of the values are spread evenly over the range, ends included; the others are quantiles of `seen`, because
        the thresholds of trees lie where the data lie. All of them are on the column's grid.

        Args:
            seen: rows that the adversary knows, [rows, features], at least one.
            values: of each number, at least 2.
        """
        columns: list[int] = []
        settings: list[tuple[tuple[int, ...], npt.NDArray[np.float32]]] = []
        for at, column in enumerate(self.all):
            if not column.mutable:
                continue
            if len(column.features) > 1:
                choices = np.eye(len(column.features), dtype=np.float32)
            else:
                choices = self._numbers_of(column.features[0], seen, values)[:, None]
            columns += [at] * len(choices)
            settings += [(column.features, choice) for choice in choices]
        touches = np.zeros((len(settings), self.spec.features), dtype=np.bool_)
        table = np.zeros((len(settings), self.spec.features), dtype=np.float32)
        for row, (features, choice) in enumerate(settings):
            touches[row, list(features)] = True
            table[row, list(features)] = choice
        return Moves(column=np.array(columns, dtype=np.int64), touches=touches, values=table)

    def _numbers_of(self, feature: int, seen: Floats, values: int) -> Floats:
        low, high, step = (
            float(np.asarray(part)[feature]) for part in (self.spec.low, self.spec.high, self.spec.steps)
        )
        if step > 0 and (high - low) / step < values:
            return (low + step * np.arange(int((high - low) / step + 1e-3) + 1)).astype(np.float32)
        spread = np.linspace(low, high, max(2, values // 2))
        known = np.quantile(seen[:, feature], np.linspace(0, 1, max(1, values - len(spread))))
        found = np.concatenate([spread, known])
        if step > 0:
            top = int((high - low) / step + 1e-3)
            found = low + step * np.clip(np.round((found - low) / step), 0, top)
        return np.unique(np.clip(found, low, high).astype(np.float32))


def _columns(spec: InputSpec) -> tuple[Column, ...]:
    """Columns in the order of their first features."""
    grouped = {index for group in spec.groups for index in group}
    parts = [tuple(group) for group in spec.groups] + [(f,) for f in range(spec.features) if f not in grouped]
    mutable = np.ones(spec.features, dtype=np.bool_) if spec.mutable is None else spec.mutable
    return tuple(
        Column(name=_name(spec, features), features=features, mutable=bool(mutable[features[0]]))
        for features in sorted(parts)
    )


def _name(spec: InputSpec, features: tuple[int, ...]) -> str:
    if not spec.names:
        return f"column {features[0]}" if len(features) == 1 else f"columns {features[0]} to {features[-1]}"
    names = [spec.names[feature] for feature in features]
    # Encoded categories are called ``column=value``.
    common = {name.partition("=")[0] for name in names}
    return common.pop() if len(common) == 1 else ", ".join(names)
