"""Integers below a power of two, without the bits that they do not need.

Integer i takes bits i b to (i + 1) b - 1 of the stream, its lowest first; bit k of the stream is bit k mod 8, counted
from the lowest, of byte k // 8. What is left of the last byte is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core.errors import IntegrityError
from wardline.he.kernels.modular import njit

MOST_BITS = 62
_WHOLE = np.uint64(64)
_SIX, _LOW_SIX = np.uint64(6), np.uint64(63)


def packed_bytes(count: int, bits: int) -> int:
    """The bytes that `count` integers of so many bits take.

    Raises:
        ValueError: for a negative count, or bits not from 1 to 62.
    """
    if count < 0 or not 1 <= bits <= MOST_BITS:
        raise ValueError(f"count must be at least 0, and bits between 1 and {MOST_BITS}")
    return (count * bits + 7) // 8


def pack(values: npt.NDArray[np.uint32] | npt.NDArray[np.uint64], bits: int) -> bytes:
    """The bit stream of all values, in the order of the array.

    Raises:
        TypeError: for values that are no unsigned integers of 32 or 64 bits.
        ValueError: for a value of more bits, or bits not from 1 to 62.
    """
    if values.dtype not in (np.uint32, np.uint64):
        raise TypeError("values must be unsigned integers of 32 or 64 bits")
    size = packed_bytes(values.size, bits)
    flat = np.ascontiguousarray(values).reshape(-1)
    words = np.empty((size + 7) // 8, dtype="<u8")
    if _pack(flat, np.uint64(bits), words) >> np.uint64(bits):
        raise ValueError(f"a value has more than {bits} bits")
    return words.view(np.uint8)[:size].tobytes()


def unpack(
    data: bytes | memoryview, count: int, *, bits: int, bound: int | None = None
) -> npt.NDArray[np.uint32] | npt.NDArray[np.uint64]:
    """Read `pack` back, from bytes that may be hostile.

    Args:
        data: the stream, of exactly the length that it must have.
        count: how many integers.
        bits: of each, from 1 to 62.
        bound: all must be below; None for 2^bits.

    Returns:
        [count], of 32 bits if `bits` is at most 32, else of 64.

    Raises:
        IntegrityError: for another length, bits set after the last integer, or an integer that is not below the
            bound.
        ValueError: for count, bits or bound out of range.
    """
    size = packed_bytes(count, bits)
    highest = 1 << bits if bound is None else bound
    if not 0 < highest <= 1 << bits:
        raise ValueError(f"bound must lie between 1 and 2^{bits}")
    if len(data) != size:
        raise IntegrityError(f"{len(data)} bytes are not the {size} of {count} integers of {bits} bits")
    used = count * bits % 8
    if used and data[-1] >> used:
        raise IntegrityError("bits are set after the last packed integer")
    # One word more, since an integer may be looked for in two words.
    words = np.zeros((size + 7) // 8 + 1, dtype="<u8")
    words.view(np.uint8)[:size] = np.frombuffer(data, dtype=np.uint8)
    out: npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
    out = np.empty(count, dtype=np.uint32) if bits <= 32 else np.empty(count, dtype=np.uint64)
    if count and _unpack(words, np.uint64(bits), out) >= highest:
        raise IntegrityError("a packed integer is not below its bound")
    return out


@njit
def _pack(values: Any, bits: Any, words: Any) -> Any:
    """Fill the words, and tell the union of all bits that occur."""
    union = np.uint64(0)
    for i in range(values.shape[0]):
        union |= np.uint64(values[i])
    word, filled = np.uint64(0), np.uint64(0)
    place = 0
    for i in range(values.shape[0]):
        value = np.uint64(values[i])
        word |= value << filled
        filled += bits
        if filled >= _WHOLE:
            words[place] = word
            place += 1
            filled -= _WHOLE
            # Of the value, all but `filled` bits are written: a shift by less than 64, since bits are at most 62
            word = value >> (bits - filled)
    if filled:
        words[place] = word
    return union


@njit
def _unpack(words: Any, bits: Any, out: Any) -> Any:
    """Fill `out`, and tell the largest integer."""
    mask = (np.uint64(1) << bits) - np.uint64(1)
    largest = np.uint64(0)
    for i in range(out.shape[0]):
        first = np.uint64(i) * bits
        place, shift = first >> _SIX, first & _LOW_SIX
        # Two shifts in place of one by 64 - shift, which 64 would break.
        upper = (words[place + np.uint64(1)] << np.uint64(1)) << (_LOW_SIX - shift)
        value = ((words[place] >> shift) | upper) & mask
        out[i] = value
        largest = max(largest, value)
    return largest
