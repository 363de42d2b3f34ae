"""A picture of pixels as a PNG file: what a chart cannot show. Deflate comes from the standard library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR = 0, 2


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of grey [rows, columns] or coloured [rows, columns, 3] pixels; equal pixels give equal bytes.

    Raises:
        ValueError: for another shape or type, or no pixels.

    References: W3C, Portable Network Graphics (Third Edition), 2025, sections 5.2 and 11.2.
    """
    coloured = pixels.ndim == 3
    if pixels.dtype != np.uint8 or not pixels.size or pixels.ndim not in {2, 3} or (coloured and pixels.shape[2] != 3):
        raise ValueError("pixels are uint8, [rows, columns] or [rows, columns, 3], at least one")
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR if coloured else _GREY, 0, 0, 0)
    # Each line begins with a byte that says how it was filtered: 0, not at all.
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), pixels.reshape(height, -1)], axis=1)
    body = zlib.compress(lines.tobytes(), level=9)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
