"""Grids of examples: as they are, as an attack left them, and what it changed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core.drawing.png import png

_GAP = 2
_PAPER = 128
_LEAST_PIXELS = 56  # of an image's side on the page: smaller ones are magnified by whole factors


def example_grid(examples: Mapping[str, Any], *, most: int) -> str:
    """Three rows of images: clean, adversarial, and their difference magnified about grey; PNG in base64.

    Args:
        examples: as in `AttackResult.examples`; inputs [rows, channels, height, width] in [0, 1].
        most: how many images, at least 1; those that the attack broke, in order.

    Returns:
        The picture; empty if there are no images of one or three channels, or none was broken.
    """
    x, adversarial, found = (examples.get(name) for name in ("x", "adversarial", "found"))
    if x is None or adversarial is None or found is None or x.ndim != 4 or x.shape[1] not in {1, 3} or not found.any():
        return ""
    rows = np.flatnonzero(found)[:most]
    change = adversarial[rows] - x[rows]
    scale = float(np.abs(change).max()) or 1.0
    lines = [_line(x[rows]), _line(adversarial[rows]), _line(0.5 + 0.5 * change / scale)]
    gap = np.full((_GAP, *lines[0].shape[1:]), _PAPER, dtype=np.uint8)
    sheet = np.concatenate([lines[0], gap, lines[1], gap, lines[2]])
    factor = max(1, -(-_LEAST_PIXELS // x.shape[2]))
    sheet = sheet.repeat(factor, axis=0).repeat(factor, axis=1)
    return base64.b64encode(png(sheet[..., 0] if x.shape[1] == 1 else sheet)).decode()


def _line(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Images side by side: [height, columns, channels]."""
    pixels = np.round(np.clip(images, 0.0, 1.0) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    gap = np.full((pixels.shape[1], _GAP, pixels.shape[3]), _PAPER, dtype=np.uint8)
    parts = [part for image in pixels for part in (image, gap)]
    return np.concatenate(parts[:-1], axis=1)
