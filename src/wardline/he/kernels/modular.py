"""Arithmetic modulo several primes at once: sums, products, and integers made residues.

All functions are exact, take residues [..., limbs, degree] below their primes (they do not look), and release the
interpreter's lock while they work. Moduli lie between 8 and 2^31, so that a product of two residues fits 64 bits and
a quotient needs 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.parameters import LARGEST_PRIME

njit = numba.njit(cache=True, nogil=True, error_model="numpy")
inlined = numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)

HALF = np.uint64(32)
ONE = np.uint64(1)
BITS = np.uint64(63)

PRIME, SHIFT, BARRETT, RECIPROCAL, WORD, WORD_QUOTIENT, ONE_QUOTIENT, TWO_64 = range(8)
"""Columns of `constants`."""


@lru_cache(maxsize=256)
def constants(moduli: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """What the kernels need to know of each modulus.

    Args:
        moduli: from 8 up to, and without, 2^31.

    Returns:
        [limbs, 8], read-only. With b the bits of the modulus q: q; b - 1; floor(2^2b / q); floor(2^(31 + b) / q);
        2^32 mod q and its quotient floor(2^32 (2^32 mod q) / q); floor(2^32 / q); 2^64 mod q.

    Raises:
        ValueError: for no modulus or one out of range.

    References: Barrett 1986; Shoup's quotients as in Harvey 2014 (Faster arithmetic for number-theoretic transforms).
    """
    if not moduli or any(not 8 <= one < LARGEST_PRIME for one in moduli):
        raise ValueError("moduli must lie between 8 and 2^31, at least one")
    table = np.array(
        [
            (
                one,
                one.bit_length() - 1,
                (1 << 2 * one.bit_length()) // one,
                (1 << (31 + one.bit_length())) // one,
                (1 << 32) % one,
                ((1 << 32) % one << 32) // one,
                (1 << 32) // one,
                (1 << 64) % one,
            )
            for one in moduli
        ],
        dtype=np.uint64,
    )
    table.flags.writeable = False
    return table


def add(left: Residues, right: Residues, *, moduli: tuple[int, ...]) -> Residues:
    """The sums; the leading axes of `right` may be missing, and then it is added to each of `left`."""
    return _binary(_add, left, right, moduli)


def subtract(left: Residues, right: Residues, *, moduli: tuple[int, ...]) -> Residues:
    """The differences; the leading axes of `right` may be missing, and then it is taken from each of `left`."""
    return _binary(_subtract, left, right, moduli)


def multiply(left: Residues, right: Residues, *, moduli: tuple[int, ...]) -> Residues:
    """The product of each residue with its counterpart: of polynomials, if they are in NTT form.

    The leading axes of `right` may be missing, and then each of `left` is multiplied by it.
    """
    return _binary(_multiply, left, right, moduli)


def scale(residues: Residues, factors: Sequence[int], *, moduli: tuple[int, ...]) -> Residues:
    """The product of each limb with an integer of its own, of any size and sign.

    Raises:
        ValueError: if there are not as many factors as moduli.
    """
    flat = rows_of(residues, moduli)
    if len(factors) != len(moduli):
        raise ValueError(f"{len(factors)} factors do not fit {len(moduli)} moduli")
    reduced = [factor % prime for factor, prime in zip(factors, moduli, strict=True)]
    quotients = [(factor << 32) // prime for factor, prime in zip(reduced, moduli, strict=True)]
    out = np.empty_like(flat)
    _scale(flat, np.array(reduced, dtype=np.uint64), np.array(quotients, dtype=np.uint64), constants(moduli), out)
    return out.reshape(residues.shape)


def reduce_signed(values: npt.NDArray[np.int64], *, moduli: tuple[int, ...]) -> Residues:
    """Residues of any signed 64-bit integers: [..., degree] to [..., limbs, degree].

    Raises:
        TypeError: for values of another type.
    """
    if values.dtype != np.int64 or values.ndim < 1:
        raise TypeError("values must be an array of 64-bit integers")
    flat = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
    out = np.empty((flat.shape[0], len(moduli), flat.shape[1]), dtype=np.uint32)
    _reduce_signed(flat.view(np.uint64), constants(moduli), out)
    return out.reshape(*values.shape[:-1], *out.shape[1:])


def lift_small(values: npt.NDArray[np.int8], *, moduli: tuple[int, ...]) -> Residues:
    """Residues of integers between -128 and 127: [..., degree] to [..., limbs, degree].

    Raises:
        TypeError: for values of another type.
        ValueError: for a modulus of at most 128.
    """
    if values.dtype != np.int8 or values.ndim < 1:
        raise TypeError("values must be an array of 8-bit integers")
    if min(moduli, default=0) <= 128:
        raise ValueError("moduli must be above 128")
    flat = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
    out = np.empty((flat.shape[0], len(moduli), flat.shape[1]), dtype=np.uint32)
    _lift_small(flat, constants(moduli), out)
    return out.reshape(*values.shape[:-1], *out.shape[1:])


def rows_of(residues: Residues, moduli: tuple[int, ...]) -> Residues:
    """The same residues in one piece, [rows, limbs, degree].

    Raises:
        TypeError: for another type.
        ValueError: for another number of limbs than of moduli.
    """
    if residues.dtype != np.uint32:
        raise TypeError("residues must be 32-bit unsigned integers")
    if residues.ndim < 2 or residues.shape[-2] != len(moduli):
        raise ValueError(f"residues of shape {residues.shape} are not [..., {len(moduli)} limbs, degree]")
    rows = 1
    for size in residues.shape[:-2]:  # not -1, which numpy cannot resolve for an empty batch
        rows *= size
    return np.ascontiguousarray(residues).reshape(rows, *residues.shape[-2:])


def _binary(kernel: Any, left: Residues, right: Residues, moduli: tuple[int, ...]) -> Residues:
    if right.ndim > left.ndim or left.shape[left.ndim - right.ndim :] != right.shape:
        raise ValueError(f"shapes {left.shape} and {right.shape} do not fit")
    one, other = rows_of(left, moduli), rows_of(right, moduli)
    out = np.empty_like(one)
    if out.size:
        kernel(one, other, constants(moduli), out)
    return out.reshape(left.shape)


@inlined
def reduce_word(value: Any, prime: Any, shift: Any, reciprocal: Any, word: Any, word_quotient: Any) -> Any:
    """Any 64-bit number modulo the prime.

    The upper half is multiplied by 2^32 mod q (Shoup, below 2q) and added to the lower one, below 2^33; the quotient
    of that sum is estimated from its upper bits and at most 2 too small.
    """
    upper = value >> HALF
    part = upper * word - ((upper * word_quotient) >> HALF) * prime + (value & np.uint64(0xFFFFFFFF))
    left = part - (((part >> shift) * reciprocal) >> HALF) * prime
    left = min(left, left - prime)  # below 0 wraps to something large
    return min(left, left - prime)


@inlined
def reduce_product(value: Any, prime: Any, shift: Any, barrett: Any) -> Any:
    """A product of two residues modulo the prime: the estimated quotient is at most 2 too small."""
    left = value - (((value >> shift) * barrett) >> (shift + np.uint64(2))) * prime
    left = min(left, left - prime)
    return min(left, left - prime)


@inlined
def shoup(value: Any, factor: Any, quotient: Any, prime: Any) -> Any:
    """A number below 2^32 times a residue with its quotient floor(2^32 factor / q), below 2q."""
    return value * factor - ((value * quotient) >> HALF) * prime


@njit
def _add(left: Any, right: Any, table: Any, out: Any) -> None:
    for row in range(left.shape[0]):
        for limb in range(left.shape[1]):
            prime = np.uint32(table[limb, PRIME])
            a, b, c = left[row, limb], right[row % right.shape[0], limb], out[row, limb]
            for i in range(a.shape[0]):
                total = np.uint32(a[i] + b[i])
                c[i] = min(total, np.uint32(total - prime))


@njit
def _subtract(left: Any, right: Any, table: Any, out: Any) -> None:
    for row in range(left.shape[0]):
        for limb in range(left.shape[1]):
            prime = np.uint32(table[limb, PRIME])
            a, b, c = left[row, limb], right[row % right.shape[0], limb], out[row, limb]
            for i in range(a.shape[0]):
                difference = np.uint32(a[i] - b[i])
                c[i] = min(difference, np.uint32(difference + prime))


@njit
def _multiply(left: Any, right: Any, table: Any, out: Any) -> None:
    for row in range(left.shape[0]):
        for limb in range(left.shape[1]):
            prime, shift, barrett = table[limb, PRIME], table[limb, SHIFT], table[limb, BARRETT]
            a, b, c = left[row, limb], right[row % right.shape[0], limb], out[row, limb]
            for i in range(a.shape[0]):
                c[i] = np.uint32(reduce_product(np.uint64(a[i]) * np.uint64(b[i]), prime, shift, barrett))


@njit
def _scale(residues: Any, factors: Any, quotients: Any, table: Any, out: Any) -> None:
    for row in range(residues.shape[0]):
        for limb in range(residues.shape[1]):
            prime, factor, quotient = table[limb, PRIME], factors[limb], quotients[limb]
            a, c = residues[row, limb], out[row, limb]
            for i in range(a.shape[0]):
                left = shoup(np.uint64(a[i]), factor, quotient, prime)
                c[i] = np.uint32(min(left, left - prime))


@njit
def _reduce_signed(values: Any, table: Any, out: Any) -> None:
    for row in range(values.shape[0]):
        for limb in range(out.shape[1]):
            prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
            word, quotient, wrapped = table[limb, WORD], table[limb, WORD_QUOTIENT], table[limb, TWO_64]
            a, c = values[row], out[row, limb]
            for i in range(a.shape[0]):
                left = reduce_word(a[i], prime, shift, reciprocal, word, quotient)
                left = left - wrapped * (a[i] >> BITS)  # a negative number was read as 2^64 more
                c[i] = np.uint32(min(left, left + prime))


@njit
def _lift_small(values: Any, table: Any, out: Any) -> None:
    for row in range(values.shape[0]):
        for limb in range(out.shape[1]):
            prime = np.int64(table[limb, PRIME])
            a, c = values[row], out[row, limb]
            for i in range(a.shape[0]):
                value = np.int64(a[i])
                c[i] = np.uint32(value + (prime & (value >> np.int64(63))))
