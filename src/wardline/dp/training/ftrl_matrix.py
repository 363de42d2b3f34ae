"""Correlated noise for steps that cannot be sampled at random: matrix factorisation with banded Toeplitz matrices.

Training publishes sums of gradients g_1, g_1 + g_2, ... (and, with momentum, weighted ones): a matrix A times the
gradients. Noise on every gradient by itself adds up over the steps. Factorised as A = B C, one publishes C g + z with
independent noise z and computes B (C g + z) = A g + B z: the noise of one step takes away part of an earlier one's. The
price is the sensitivity of C: a unit moves C g by more than its gradient.

C is lower triangular, with the same few coefficients in every column ("banded Toeplitz"), so that noise needs memory
for a few steps and not for all. Its coefficients are those of the square root of A.

References:
    Kairouz et al. 2021 (DP-FTRL); Denisov et al. 2022 (matrices for adaptively chosen gradients); Fichtenberger,
    Henzinger and Upadhyay 2023 (square root of the prefix sum); Choquette-Choo et al. 2023 (several epochs, bands);
    Kalinin and Lampert 2024 (banded square root, momentum); McKenna 2024 (banded Toeplitz).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wardline.core.checks import at_least

Coefficients = npt.NDArray[np.float64]


def square_root(bands: int, *, momentum: float = 0.0) -> Coefficients:
    """The first coefficients of the square root of the prefix sum, or of what momentum makes of it.

    The prefix sum is 1 / (1 - z) as a power series, and momentum multiplies it by 1 / (1 - momentum z).

    Args:
        bands: how many, at least 1; 1 gives independent noise.
        momentum: in [0, 1).

    Returns:
        Coefficients from 1 downwards, above 0 and never rising.

    References:
        Fichtenberger et al. 2023, theorem 2; Kalinin and Lampert 2024, section 4.
    """
    at_least("bands", bands, 1)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, not {momentum}")
    index = np.arange(1, bands)
    half = np.concatenate(([1.0], np.cumprod((2.0 * index - 1.0) / (2.0 * index))))
    return np.convolve(half, half * momentum ** np.arange(bands))[:bands]


def sensitivity(coefficients: Sequence[float] | Coefficients, *, steps: int, separation: int) -> float:
    """The most that a unit moves C g by, in Euclidean norm, if it moves each gradient that it joins by at most 1.

    Args:
        coefficients: of C, none below 0 and never rising.
        steps: how many gradients there are, at least 1.
        separation: a unit that joined a step joins none of the next ``separation - 1``; at least 1.

    Raises:
        ValueError: for coefficients that rise or are negative, or a number out of range.

    Guarantee:
        This is the exact maximum. Inner products of columns of C are not negative, so the worst gradients all point
        the same way (Choquette-Choo et al. 2023, section 2), and with coefficients that never rise the worst steps
        are the first and every `separation`-th after it (Kalinin and Lampert 2024, theorem 2).
    """
    at_least("steps", steps, 1)
    at_least("separation", separation, 1)
    found = np.asarray(coefficients, dtype=np.float64)
    if not (len(found) and np.isfinite(found).all() and found[-1] >= 0 and (np.diff(found) <= 0).all()):
        raise ValueError("coefficients must be finite, at least 0 and never rise")
    moved = np.zeros(steps)
    for first in range(0, steps, separation):
        stop = min(steps, first + len(found))
        moved[first:stop] += found[: stop - first]
    return float(np.linalg.norm(moved))


def expected_error(
    coefficients: Sequence[float] | Coefficients, *, steps: int, separation: int, momentum: float = 0.0
) -> float:
    """Root mean square, over the steps, of the noise in a parameter, for a noise multiplier and a clip_norm of 1.

    Args:
        coefficients: of C.
        steps: as for `sensitivity`.
        separation: as for `sensitivity`.
        momentum: of the descent, in [0, 1).
    """
    found = np.asarray(coefficients, dtype=np.float64)
    inverse = np.zeros(steps)
    inverse[0] = 1.0 / found[0]
    for step in range(1, steps):
        reach = min(step, len(found) - 1)
        inverse[step] = -(found[1 : reach + 1] @ inverse[step - reach : step][::-1]) / found[0]
    direction = np.convolve(inverse, momentum ** np.arange(steps))[:steps] if momentum else inverse
    squares = np.cumsum(np.cumsum(direction) ** 2)  # of the rows of B
    return sensitivity(found, steps=steps, separation=separation) * math.sqrt(float(squares.mean()))


def best_bands(*, steps: int, separation: int, momentum: float = 0.0, most: int = 64) -> int:
    """The power of two for which `square_root` leaves the least `expected_error`.

    Args:
        steps: as for `sensitivity`.
        separation: as for `sensitivity`.
        momentum: of the descent, in [0, 1).
        most: bands that memory allows, at least 1: each takes as much as the parameters, twice.
    """
    candidates = [1 << power for power in range(at_least("most", min(most, steps), 1).bit_length())]
    return min(
        candidates,
        key=lambda bands: expected_error(
            square_root(bands, momentum=momentum), steps=steps, separation=separation, momentum=momentum
        ),
    )
