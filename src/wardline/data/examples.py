"""Encoded rows: what models are trained on and attacks are tried with. Needs NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Examples:
    """Encoded rows, their classes, and the privacy unit that each row belongs to.

    Two objects are never equal unless they are the same one, and printing shows sizes alone: rows are secret.

    Attributes:
        x: the features, float32 [n, d], all finite.
        y: the class index of each row, int64 [n], in 0..len(classes)-1.
        unit: the privacy unit of each row, int64 [n], dense: every index in 0..n_units-1 occurs. For the unit
            "row" this is 0..n-1.
        features: d distinct names.
        classes: the names of the classes, in the contract's order.

    Raises:
        ValueError: if shapes, types or ranges disagree.
    """

    x: npt.NDArray[np.float32] = field(repr=False)
    y: npt.NDArray[np.int64] = field(repr=False)
    unit: npt.NDArray[np.int64] = field(repr=False)
    features: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.x)
        if self.x.dtype != np.float32 or self.x.ndim != 2:
            raise ValueError("x must be a float32 array of two dimensions")
        if self.y.dtype != np.int64 or self.unit.dtype != np.int64 or self.y.shape != (n,) or self.unit.shape != (n,):
            raise ValueError("y and unit must be int64 arrays with one entry for each row of x")
        if self.x.shape[1] != len(self.features) or len(set(self.features)) != len(self.features):
            raise ValueError("features must name each column of x once")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must be distinct names, at least one")
        if n == 0:
            return
        # The extremes tell of NaN and infinity without a copy of x. A row that is not finite would have no
        # gradient norm to clip, and clipping is what the privacy guarantee rests on.
        if self.x.size and not (np.isfinite(self.x.min()) and np.isfinite(self.x.max())):
            raise ValueError("x must be finite")
        if self.y.min() < 0 or self.y.max() >= len(self.classes):
            raise ValueError("y must hold indices into classes")
        # The number of units enters the accounting: an index that no row has would overstate it.
        if self.unit.min() < 0 or self.unit.max() >= n or np.bincount(self.unit).min() == 0:
            raise ValueError("unit must be numbered densely from 0")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_units(self) -> int:
        """How many privacy units there are."""
        return int(self.unit.max()) + 1 if len(self) else 0

    def take(self, rows: npt.NDArray[np.int64]) -> Examples:
        """These rows, in this order; units are numbered anew so that they stay dense.

        Args:
            rows: indices in 0..n-1. A row taken twice keeps its unit, so it counts as one unit's two rows.

        Raises:
            IndexError: if an index lies outside.
        """
        rows = np.asarray(rows, dtype=np.int64)
        _, unit = np.unique(self.unit[rows], return_inverse=True)
        return Examples(
            x=self.x[rows],
            y=self.y[rows],
            unit=unit.astype(np.int64, copy=False),
            features=self.features,
            classes=self.classes,
        )

    def __repr__(self) -> str:
        return (
            f"Examples(rows={len(self)}, units={self.n_units}, "
            f"features={len(self.features)}, classes={len(self.classes)})"
        )
