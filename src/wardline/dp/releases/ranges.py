"""Finding a range for a column privately: from noisy counts of rows by sign and power of two."""

from __future__ import annotations

import math

import numpy as np

from wardline.core.errors import DataError
from wardline.dp.queries.aggregates import MAGNITUDES
from wardline.dp.releases.noise import FloatArray, Noise

_NEAR = 8.0
_FALSE_ALARM = 1e-3  # the probability with which any empty bin at all is taken for one that holds values


def threshold(noise: Noise, bins: int) -> float:
    """The count above which a bin is taken to hold values: noise alone passes it anywhere with probability 0.001."""
    return max(1.0, noise.half_width([1.0], miss=_FALSE_ALARM / bins))


def choose_range(counts: FloatArray, noise: Noise, *, column: str) -> tuple[float, float]:
    """A range of powers of two (or 0) in which all bins with a noisy count above the threshold lie.

    Values beyond it are clipped to its ends, as beyond any range. Those in bins with too few rows may be among them:
    a range found privately follows the bulk of the values and not the most extreme one.

    Args:
        counts: noisy counts of the bins of `Magnitudes`.
        noise: that was added to each.
        column: for the error message.

    Returns:
        Lower and upper end.

    Raises:
        DataError: if no bin stands out, as when there are too few persons for this epsilon.
    """
    held = np.flatnonzero(counts > threshold(noise, len(counts)))
    if len(held) == 0:
        raise DataError(
            "no range could be found privately: too few values stand out from the noise",
            where=column,
            hint="state lower and upper from what is known about the column; the search has been charged",
        )
    # Bin i lies between edge i - 1 and edge i.
    edges = [-math.inf, *MAGNITUDES, math.inf]
    lower, upper = edges[int(held[0])], edges[int(held[-1]) + 1]
    lower, upper = max(lower, MAGNITUDES[0]), min(upper, MAGNITUDES[-1])
    around_zero = len(MAGNITUDES) // 2
    # What is nearer to 0 than 2**-30 may as well be 0, if it is at an end of the range. And a range that lies far to
    # one side of 0, as amounts do, is extended to 0: that widens it by a seventh at most and clips no small ones.
    if around_zero <= int(held[0]) < int(held[-1]) and lower * _NEAR <= upper:
        lower = 0.0
    if around_zero >= int(held[-1]) > int(held[0]) and -upper * _NEAR <= -lower:
        upper = 0.0
    return lower, upper
