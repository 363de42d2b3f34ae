"""Residues and the integers that they stand for: mixed-radix digits, and centred values as doubles."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import HALF, ONE_QUOTIENT, PRIME, constants, inlined, njit, rows_of, shoup

_MOST_LIMBS = 32


def to_digits(residues: Residues, *, moduli: tuple[int, ...]) -> Residues:
    """The mixed-radix digits v of x = v0 + q0 (v1 + q1 (v2 + ...)), 0 <= x < q0 q1 q2 ...

    Args:
        residues: [..., limbs, degree] of x, in coefficient form.
        moduli: of the limbs, coprime.

    Returns:
        The same shape; digit i is below modulus i.

    Raises:
        TypeError: for another type.
        ValueError: for shapes that do not fit, moduli that are not coprime, or more than 32 of them.

    References: Garner 1959 (The residue number system).
    """
    flat = rows_of(residues, moduli)
    out = np.empty_like(flat)
    _digits(flat, constants(moduli), _inverses(moduli), out)
    return out.reshape(residues.shape)


def from_digits(digits: Residues, *, moduli: tuple[int, ...]) -> Residues:
    """The residues of integers in mixed radix: the inverse of `to_digits`, with the same arguments and errors.

    Digits must be below their moduli; it does not look.
    """
    flat = rows_of(digits, moduli)
    out = np.empty_like(flat)
    _undigits(flat, constants(moduli), _weights(moduli), out)
    return out.reshape(digits.shape)


def centred(residues: Residues, *, moduli: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The integers between -Q / 2 and Q / 2 that residues stand for, as doubles: [..., limbs, degree] to [..., degree].

    Exact below 2^53; otherwise the relative error is at most (limbs + 1) 2^-53.

    Raises:
        TypeError, ValueError: as `to_digits`.
    """
    flat = rows_of(to_digits(residues, moduli=moduli), moduli)
    out = np.empty((flat.shape[0], flat.shape[2]), dtype=np.float64)
    half, middle = [], 1
    for prime in moduli:
        middle *= prime
    middle = (middle - 1) // 2
    for prime in moduli:
        half.append(middle % prime)
        middle //= prime
    _values(flat, constants(moduli), np.array(half, dtype=np.int64), out)
    return out.reshape(*residues.shape[:-2], residues.shape[-1])


def integers(digits: Residues, *, moduli: tuple[int, ...]) -> npt.NDArray[np.object_]:
    """The integers of mixed-radix digits as Python's, [..., limbs, degree] to [..., degree]: exact, and slow.

    Raises:
        TypeError, ValueError: as `to_digits`.
    """
    flat = rows_of(digits, moduli)
    found = np.zeros((flat.shape[0], flat.shape[2]), dtype=object)
    for limb in reversed(range(len(moduli))):
        found = found * moduli[limb] + flat[:, limb].astype(object)
    return found.reshape(*digits.shape[:-2], digits.shape[-1])


@lru_cache(maxsize=256)
def _inverses(moduli: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """[limbs, limbs, 2]: at (i, j), j < i, the inverse of modulus j modulo modulus i, and its quotient."""
    if len(moduli) > _MOST_LIMBS:
        raise ValueError(f"there are more than {_MOST_LIMBS} moduli")
    found = np.zeros((len(moduli), len(moduli), 2), dtype=np.uint64)
    for i, prime in enumerate(moduli):
        for j in range(i):
            inverse = pow(moduli[j], -1, prime)  # ValueError where there is none
            found[i, j] = inverse, (inverse << 32) // prime
    found.flags.writeable = False
    return found


@lru_cache(maxsize=256)
def _weights(moduli: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """[limbs, limbs, 2]: at (i, j) the product of the moduli before j, modulo modulus i, and its quotient."""
    if len(moduli) > _MOST_LIMBS:
        raise ValueError(f"there are more than {_MOST_LIMBS} moduli")
    found = np.zeros((len(moduli), len(moduli), 2), dtype=np.uint64)
    for i, prime in enumerate(moduli):
        weight = 1
        for j, other in enumerate(moduli):
            found[i, j] = weight, (weight << 32) // prime
            weight = weight * other % prime
    found.flags.writeable = False
    return found


@inlined
def _below(value: Any, one_quotient: Any, prime: Any) -> Any:
    """A number below 2^32 modulo the prime."""
    left = value - ((value * one_quotient) >> HALF) * prime
    return min(left, left - prime)


@njit
def _digits(residues: Any, table: Any, inverses: Any, out: Any) -> None:
    for row in range(residues.shape[0]):
        for i in range(residues.shape[1]):
            prime, one_quotient = table[i, PRIME], table[i, ONE_QUOTIENT]
            a, c = residues[row, i], out[row, i]
            c[:] = a
            for j in range(i):
                inverse, quotient = inverses[i, j, 0], inverses[i, j, 1]
                b = out[row, j]
                for k in range(c.shape[0]):
                    digit = _below(np.uint64(b[k]), one_quotient, prime)
                    difference = np.uint64(c[k]) - digit
                    difference = min(difference, difference + prime)
                    left = shoup(difference, inverse, quotient, prime)
                    c[k] = np.uint32(min(left, left - prime))


@njit
def _undigits(digits: Any, table: Any, weights: Any, out: Any) -> None:
    for row in range(digits.shape[0]):
        for i in range(digits.shape[1]):
            prime, one_quotient = table[i, PRIME], table[i, ONE_QUOTIENT]
            c = out[row, i]
            first = digits[row, 0]
            for k in range(c.shape[0]):
                c[k] = np.uint32(_below(np.uint64(first[k]), one_quotient, prime))
            # Later digits have weights that are 0 modulo this limb's prime.
            for j in range(1, i + 1):
                weight, quotient = weights[i, j, 0], weights[i, j, 1]
                b = digits[row, j]
                for k in range(c.shape[0]):
                    left = shoup(np.uint64(b[k]), weight, quotient, prime)
                    left = min(left, left - prime) + np.uint64(c[k])
                    c[k] = np.uint32(min(left, left - prime))


@njit
def _values(digits: Any, table: Any, half: Any, out: Any) -> None:
    limbs, degree = digits.shape[1], digits.shape[2]
    above = np.empty(degree, dtype=np.bool_)
    for row in range(digits.shape[0]):
        # Above (Q - 1) / 2? The highest digit that differs decides, so it is looked at last.
        above[:] = False
        for limb in range(limbs):
            a, middle = digits[row, limb], half[limb]
            for k in range(degree):
                digit = np.int64(a[k])
                above[k] = (digit > middle) | ((digit == middle) & above[k])
        c = out[row]
        c[:] = 0.0
        for back in range(limbs):
            limb = limbs - 1 - back
            a, prime = digits[row, limb], np.int64(table[limb, PRIME])
            for k in range(degree):
                digit = np.int64(a[k])
                # The digits of Q - 1 - x are q - 1 - v; they do not cancel as a difference of doubles would.
                other = prime - 1 - digit
                c[k] = c[k] * np.float64(prime) + np.float64(other if above[k] else digit)
        for k in range(degree):
            c[k] = -(c[k] + 1.0) if above[k] else c[k]
