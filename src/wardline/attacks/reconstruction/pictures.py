"""How near a reconstructed input is to the true one, and how rough a picture is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from wardline.models.predictor import Inputs

MOST_DB = 100.0
"""What an exact reconstruction gets: a finite number, so that means and JSON exist."""


def psnr(found: Inputs, true: Inputs, *, value_range: npt.NDArray[np.float32] | float) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio of each input, in dB, at most `MOST_DB`.

    Args:
        found: [rows, ...].
        true: what it should be, of the same shape.
        value_range: distance between the least and the greatest value, one number or one for each feature.
    """
    apart = ((found.astype(np.float64) - true) / value_range) ** 2
    mean = apart.reshape(len(true), -1).mean(axis=1)
    ratio: npt.NDArray[np.float64] = -10.0 * np.log10(np.maximum(mean, 10.0 ** (-MOST_DB / 10.0)))
    return ratio


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute step between neighbouring pixels of each picture, [rows]; pictures are [rows, channels, h, w]."""
    across = (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3))
    down = (x[..., 1:, :] - x[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down
