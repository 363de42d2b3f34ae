"""The calibrated ranges of a model's inputs, whichever model it is: scaling to them, and what lies outside."""

from __future__ import annotations

import math
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.core.errors import DataError

Floats = npt.NDArray[np.float64]

OutOfRange: TypeAlias = Literal["clip", "refuse"]
"""What becomes of a feature outside of the range that the model was compiled for."""


class Ranged(Protocol):
    """A plan that knows its inputs' ranges."""

    @property
    def centre(self) -> Floats:
        """The middle of each range, [features]."""
        ...

    @property
    def half_width(self) -> Floats:
        """Half of each range's width, above 0: [features]."""
        ...


def check_rows(plan: Ranged, rows: Floats, *, out_of_range: OutOfRange) -> None:
    """Refuse rows that cannot be encrypted for a plan, before the first of them is.

    Args:
        plan: of the model.
        rows: [rows, features].
        out_of_range: whether rows with a feature outside of its range are refused.

    Raises:
        DataError: for no rows, another number of features, numbers that are not finite, or rows that are refused.
    """
    if rows.ndim != 2 or not len(rows):
        raise DataError("there are no rows to score", hint="give at least one row")
    if rows.shape[1] != len(plan.centre):
        raise DataError(
            f"rows have {rows.shape[1]} features, the model reads {len(plan.centre)}",
            hint="give the features that the public model names, in its order",
        )
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise DataError("a feature is not a finite number", where=f"row {bad}", hint="fill or drop missing values")
    if out_of_range == "refuse" and (far := outside(plan, rows)):
        raise DataError(
            f"{far} of {len(rows)} rows have a feature outside of the range that the model was compiled for",
            hint="leave these rows out, or let features be clipped",
        )


def scaled_rows(plan: Ranged, rows: Floats) -> Floats:
    """Rows scaled to [-1, 1] over their ranges, and clipped to it: [rows, features].

    Args:
        plan: of the model.
        rows: finite numbers [rows, features].
    """
    return np.clip((rows - plan.centre) / plan.half_width, -1.0, 1.0)


def outside(plan: Ranged, rows: Floats) -> int:
    """How many rows have a feature outside of the plan's ranges.

    Args:
        plan: of the model.
        rows: finite numbers [rows, features].
    """
    # A hair of rounding is within: centre and half width do not give the ends back exactly.
    far = np.abs(rows - plan.centre) > plan.half_width * (1 + 1e-9) + 1e-12 * np.abs(plan.centre)
    return int(far.any(axis=1).sum())


def coarse(value: float) -> float:
    """A number that is public although it follows from weights, rounded up by an eighth at most.

    It still bounds what it bounded. With all of its digits it would be an equation for the weights: of a model with
    few of them, a few such numbers give them away.

    Args:
        value: at least 0.
    """
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.ceil(mantissa * 16) / 16, exponent)
