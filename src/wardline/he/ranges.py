"""The calibrated ranges of a model's inputs, whichever model it is: scaling to them, and what lies outside."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

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
