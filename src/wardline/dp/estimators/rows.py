"""From raw features to rows of bounded norm, by rules that no row has a say in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from wardline.core import SecureRandom

_SHRINK = 1.0 - 2.0**-40  # keeps a clipped row below its bound whatever the rounding of its norm


def check_bounds(bounds: Any, columns: int) -> tuple[Float64[np.ndarray, " columns"], Float64[np.ndarray, " columns"]]:
    """The lower and the upper bound of every feature.

    Args:
        bounds: a pair (lower, upper), each one number for all features or one for each.
        columns: how many features there are.

    Raises:
        ValueError: if they are missing, reversed, not finite, or not as many as features.
    """
    if bounds is None:
        raise ValueError(
            "bounds must be given as (lower, upper), each a number or one number for each feature: they are public, "
            "so they must not be read from the data"
        )
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise ValueError("bounds must be a pair (lower, upper)") from None
    ends = []
    for name, end in (("lower", lower), ("upper", upper)):
        value = np.asarray(end, dtype=np.float64)
        if value.shape not in ((), (columns,)):
            raise ValueError(f"the {name} bounds must be one number, or {columns} numbers, one for each feature")
        ends.append(np.broadcast_to(value, (columns,)))
    low, high = ends
    with np.errstate(over="ignore"):
        finite = np.isfinite(low) & np.isfinite(high) & np.isfinite(high - low)
    if not finite.all():
        raise ValueError("bounds must be finite, and so must their differences")
    reversed_at = np.flatnonzero(low >= high)
    if len(reversed_at):
        raise ValueError(f"the lower bound of feature {reversed_at[0]} is not below its upper bound")
    return low.copy(), high.copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScaler:
    """Clips every feature to its bounds, scales it, clips the norm of the row, and appends a feature that is 1.

    A feature with the bounds 0 and 1 stays as it is, so that the many zeros of indicators count for nothing in the
    norm; all others are mapped onto [-1, 1].

    Attributes:
        lower, upper: of each feature.
        clip_norm: the largest norm of a row's scaled features.
    """

    lower: Float64[np.ndarray, " columns"]
    upper: Float64[np.ndarray, " columns"]
    clip_norm: float

    @property
    def row_norm(self) -> float:
        """The largest norm of a row, the feature that is 1 included."""
        return float(np.hypot(self.clip_norm, 1.0)) * (1 + 2.0**-50)

    def transform(self, x: Float64[np.ndarray, "rows columns"]) -> Float64[np.ndarray, "rows scaled"]:
        """The scaled rows; each depends on itself alone."""
        scaled = np.clip(x, self.lower, self.upper)
        scaled -= self.lower
        scaled /= self.upper - self.lower
        wide = (self.lower != 0.0) | (self.upper != 1.0)
        scaled[:, wide] = 2.0 * scaled[:, wide] - 1.0
        norms = np.sqrt(np.square(scaled).sum(axis=1, keepdims=True))
        np.multiply(scaled, np.minimum(1.0, self.clip_norm / np.maximum(norms, 1e-300)) * _SHRINK, out=scaled)
        return np.hstack([scaled, np.ones((len(x), 1))])


def unit_weights(
    groups: Any, rows: int, *, most: int | None, random: SecureRandom
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " kept"]]:
    """Which rows take part, and by how many kept rows of the same unit its weight is to be divided.

    Args:
        groups: the unit of each row; None if each row is its own.
        rows: how many rows there are.
        most: the most rows of a unit that are kept, chosen at random among its own; None keeps all.
        random: where the choice comes from.

    Returns:
        The places of the kept rows in ascending order, and for each the number of kept rows of its unit.

    Raises:
        ValueError: if there is not one group for each row, or one is missing.
    """
    if groups is None:
        return np.arange(rows), np.ones(rows, dtype=np.int64)
    groups = np.asarray(groups)
    if groups.shape != (rows,):
        raise ValueError(f"groups must have {rows} entries, one for each row, not the shape {groups.shape}")
    # A number is missing where it differs from itself; rows without a unit would each be bounded on their own.
    if any(one is None or one != one for one in groups.tolist()):
        raise ValueError("groups must not be missing or NaN")
    _, unit, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if most is None:
        return np.arange(rows), counts[unit]
    order = np.lexsort((random.uint64(rows), unit))
    place = np.empty(rows, dtype=np.int64)
    place[order] = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.flatnonzero(place < most)
    return kept, np.minimum(counts, most)[unit[kept]]
