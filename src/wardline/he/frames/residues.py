"""Residues as bits: every number in as many bits as its bound needs, and nothing between them.

Of fresh ciphertexts by coefficients the low bits are noise, and need not be sent. In residues no bits are low; in mixed
radix, x = d0 + q0 (d1 + q1 (d2 + ...)), they are the low bits of d0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wardline.core.errors import IntegrityError
from wardline.he.ciphertext import Residues
from wardline.he.kernels import packing, radix


def packed_bytes(rows: int, degree: int, bounds: Sequence[int]) -> int:
    """Bytes of residues [rows, limbs, degree] whose limb i is below `bounds[i]`; a degree of 8 leaves no gaps."""
    return sum(packing.packed_bytes(rows * degree, _width(bound)) for bound in bounds)


def pack(residues: Residues, bounds: Sequence[int]) -> list[bytes]:
    """The bits of residues [rows, limbs, degree]: limb after limb, in each row after row, low bits first."""
    return [packing.pack(residues[:, limb], _width(bound)) for limb, bound in enumerate(bounds)]


def unpack(section: memoryview, *, rows: int, degree: int, bounds: Sequence[int]) -> Residues:
    """Undo `pack`.

    Args:
        section: exactly `packed_bytes` bytes.
        rows: how many polynomials.
        degree: of each.
        bounds: each number must be below its limb's.

    Raises:
        IntegrityError: for another length, or a number that is not below its bound.
    """
    if len(section) != packed_bytes(rows, degree, bounds):
        raise IntegrityError("a section of the frame is longer or shorter than its description says")
    out = np.empty((rows, len(bounds), degree), dtype=np.uint32)
    at = 0
    for limb, bound in enumerate(bounds):
        length = packing.packed_bytes(rows * degree, _width(bound))
        values = packing.unpack(section[at : at + length], rows * degree, bits=_width(bound), bound=bound)
        out[:, limb] = values.reshape(rows, degree)
        at += length
    return out


def digit_bounds(moduli: Sequence[int], dropped_bits: int) -> tuple[int, ...]:
    """Each digit is below its bound: d0 without its low bits, then d1, d2, ..."""
    return (((moduli[0] - 1) >> dropped_bits) + 1, *moduli[1:])


def to_digits(residues: Residues, moduli: tuple[int, ...], *, dropped_bits: int) -> Residues:
    """Digits of the coefficients that residues [rows, limbs, degree] stand for, d0 without its low bits."""
    digits = radix.to_digits(residues, moduli=moduli)
    digits[:, 0] >>= np.uint32(dropped_bits)
    return digits


def from_digits(digits: Residues, moduli: tuple[int, ...], *, dropped_bits: int) -> Residues:
    """Residues [rows, limbs, degree] of the coefficients that digits stand for, which are overwritten.

    Every digit must be below its bound.
    For the bits of d0 that are missing the middle of what they may be is taken, or the largest residue if that is less.
    So d0 is off by at most 2^(dropped_bits - 1), and writing the result again gives the same digits.
    """
    if dropped_bits:
        first = (digits[:, 0] << np.uint32(dropped_bits)) + np.uint32(1 << (dropped_bits - 1))
        digits[:, 0] = np.minimum(first, np.uint32(moduli[0] - 1))
    return radix.from_digits(digits, moduli=moduli)


def _width(bound: int) -> int:
    return (bound - 1).bit_length()
