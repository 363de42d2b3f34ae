"""Rows of bytes as integers of some bits each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.kernels.modular import njit

MOST_BITS = 56
"""So that a byte fits into 64 bits on top of what is left of an integer."""


def split_bits(rows: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.int64]:
    """The bits of each row, low ones first, so many to an integer; what the last one lacks is 0.

    `wardline.he.kernels.packing.pack` of a row's integers gives its bytes back, and zeros behind them.

    Args:
        rows: [count, bytes].
        bits: of each integer, from 8 to 56.

    Returns:
        [count, ceil(8 bytes / bits)].

    Raises:
        TypeError: for rows of another type.
        ValueError: for another shape, or bits out of range.
    """
    if rows.dtype != np.uint8:
        raise TypeError("rows must be bytes")
    if rows.ndim != 2 or not 8 <= bits <= MOST_BITS:
        raise ValueError(f"rows must be [count, bytes], and bits between 8 and {MOST_BITS}")
    out = np.zeros((len(rows), -(-8 * rows.shape[1] // bits)), dtype=np.int64)
    _split(np.ascontiguousarray(rows), np.uint64(bits), out)
    return out


@njit
def _split(records: Any, bits: Any, out: Any) -> None:
    """Bits of each record, low ones first, `bits` to a coefficient; at most 56, so that a byte fits on top."""
    mask = (np.uint64(1) << bits) - np.uint64(1)
    for row in range(records.shape[0]):
        word, filled, place = np.uint64(0), np.uint64(0), 0
        for index in range(records.shape[1]):
            word |= np.uint64(records[row, index]) << filled
            filled += np.uint64(8)
            if filled >= bits:
                out[row, place] = np.int64(word & mask)
                word >>= bits
                filled -= bits
                place += 1
        if filled:
            out[row, place] = np.int64(word)
