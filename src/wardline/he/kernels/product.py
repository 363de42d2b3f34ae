"""Products of BFV ciphertexts, with exact rounding.

For polynomials c(s) = (Q / t) m + v the product of two is scaled by t / Q. The tensor product is larger than Q, so it
is computed modulo more primes, a second base, as the integer polynomial that it is. Nothing here is approximate:
operands are the centred representatives, the second base is large enough for every sum that was asked for, and the
quotient is the nearest integer. SEAL rounds another way (Bajard et al. 2016), so its products differ in their residues
and decrypt to the same.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import (
    PRIME,
    RECIPROCAL,
    SHIFT,
    WORD,
    WORD_QUOTIENT,
    constants,
    njit,
    reduce_word,
    rows_of,
    scale,
    shoup,
    subtract,
)
from wardline.he.kernels.radix import to_digits
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.parameters import LARGEST_PRIME, Parameters, is_prime


def multiply_bfv(left: Residues, right: Residues, parameters: Parameters) -> Residues:
    """The products of BFV ciphertexts, pair by pair; `switching.relinearise` brings them back to two parts.

    Args:
        left: [count, 2, limbs, degree], in coefficient form, with all limbs.
        right: the same shape.
        parameters: of both, with a plain modulus.

    Returns:
        [count, 3, limbs, degree], in coefficient form: the integers nearest to t / Q times the tensor product.

    Raises:
        TypeError: for another type.
        ValueError: for shapes that do not fit, or parameters of another scheme.

    Guarantee: exact. The result encrypts the product of the messages modulo t and X^degree + 1 as long as the noise
    stays below Q / (2 t); a product's is about t sqrt(degree) sqrt((1 + 2 degree / 3) / 12) times that of its factors.

    References: Fan and Vercauteren 2012, section 4; Halevi, Polyakov and Shoup 2019 (An improved RNS variant of BFV).
    """
    extended = extend(left, parameters)
    # A ciphertext with itself needs its evaluations only once.
    other = extended if right is left else extend(right, parameters)
    if extended.shape != other.shape:
        raise ValueError(f"shapes {left.shape} and {right.shape} do not fit")
    out = np.zeros((len(extended), 3, *extended.shape[2:]), dtype=np.uint32)
    add_products(out, extended, other, parameters)
    return scale_down(out, parameters)


@lru_cache(maxsize=64)
def second_base(parameters: Parameters, terms: int = 1) -> tuple[int, ...]:
    """The primes in which tensor products are computed beside the moduli.

    Args:
        parameters: of the ciphertexts, with a plain modulus.
        terms: how many products are added up before they are scaled down.

    Returns:
        Primes of 31 bits whose product is above t degree terms Q + 2: twice what the scaled sum can be in size.

    Raises:
        ValueError: for parameters of another scheme, or no terms.
    """
    if parameters.plain_modulus is None or terms < 1:
        raise ValueError("products are of bfv ciphertexts, at least one")
    wanted = parameters.plain_modulus * parameters.degree * terms * math.prod(parameters.moduli) + 2
    found: list[int] = []
    candidate = (LARGEST_PRIME - 2) // (2 * parameters.degree) * (2 * parameters.degree) + 1
    while math.prod(found) <= wanted:
        if candidate not in parameters.moduli and is_prime(candidate):
            found.append(candidate)
        candidate -= 2 * parameters.degree
    return tuple(found)


def extend(ciphertexts: Residues, parameters: Parameters, *, terms: int = 1) -> Residues:
    """Ciphertexts modulo both bases and in NTT form: what `add_products` multiplies.

    Args:
        ciphertexts: [count, 2, limbs, degree], in coefficient form, with all limbs.
        parameters: of them, with a plain modulus.
        terms: as in `second_base`; the same for all that meet.

    Returns:
        [count, 2, limbs + more, degree].

    Raises:
        TypeError: for another type.
        ValueError: for shapes that do not fit.
    """
    if ciphertexts.ndim != 4 or ciphertexts.shape[1] != 2 or ciphertexts.shape[3] != parameters.degree:
        raise ValueError(f"ciphertexts of shape {ciphertexts.shape} are not [count, 2, limbs, {parameters.degree}]")
    more = second_base(parameters, terms)
    flat = rows_of(ciphertexts, parameters.moduli)
    out = np.empty((len(flat), len(parameters.moduli) + len(more), parameters.degree), dtype=np.uint32)
    out[:, : len(parameters.moduli)] = flat
    out[:, len(parameters.moduli) :] = _centred_in(flat, parameters.moduli, more)
    return to_evaluations(out, moduli=parameters.moduli + more).reshape(*ciphertexts.shape[:2], *out.shape[1:])


def add_products(sums: Residues, left: Residues, right: Residues, parameters: Parameters, *, terms: int = 1) -> None:
    """Add the tensor product of each pair to its sum, in place.

    Args:
        sums: [count, 3, limbs + more, degree], in NTT form; zeros to begin with. At most `terms` products are added
            to each before `scale_down`, which nobody counts here.
        left: [count, 2, limbs + more, degree], as `extend` gives it.
        right: the same shape.
        parameters: of both.
        terms: as they were extended for.

    Raises:
        ValueError: for shapes that do not fit.
    """
    moduli = parameters.moduli + second_base(parameters, terms)
    shape = (len(sums), 2, len(moduli), parameters.degree)
    if sums.shape != (shape[0], 3, *shape[2:]) or left.shape != shape or right.shape != shape:
        raise ValueError(f"shapes {sums.shape}, {left.shape} and {right.shape} do not fit")
    _add_products(sums, left, right, constants(moduli))


def scale_down(sums: Residues, parameters: Parameters, *, terms: int = 1) -> Residues:
    """Sums of tensor products times t / Q, rounded to the nearest integers.

    Args:
        sums: [count, 3, limbs + more, degree], in NTT form.
        parameters: of the ciphertexts.
        terms: as they were extended for.

    Returns:
        [count, 3, limbs, degree], in coefficient form.

    Raises:
        TypeError: for another type.
        ValueError: for shapes that do not fit.
    """
    first, more = parameters.moduli, second_base(parameters, terms)
    assert parameters.plain_modulus is not None
    plain, modulus = parameters.plain_modulus, math.prod(first)
    flat = to_coefficients(rows_of(sums, first + more), moduli=first + more)
    # round(t c / Q) = (t c - r) / Q for the centred remainder r of t c modulo Q, which is known in the first base.
    remainders = scale(np.ascontiguousarray(flat[:, : len(first)]), [plain] * len(first), moduli=first)
    inverses = [pow(modulus, -1, prime) for prime in more]
    taken = scale(_centred_in(remainders, first, more), inverses, moduli=more)
    whole = scale(np.ascontiguousarray(flat[:, len(first) :]), [plain * inverse for inverse in inverses], moduli=more)
    quotients = subtract(whole, taken, moduli=more)
    return _centred_in(quotients, more, first).reshape(*sums.shape[:2], len(first), sums.shape[3])


def _centred_in(residues: Residues, moduli: tuple[int, ...], others: tuple[int, ...]) -> Residues:
    """The integers nearest to 0 that residues [rows, limbs, degree] stand for, modulo other primes."""
    digits = to_digits(residues, moduli=moduli)
    out = np.empty((residues.shape[0], len(others), residues.shape[2]), dtype=np.uint32)
    halves, weights, wholes = _conversion(moduli, others)
    _convert(digits, halves, weights, wholes, constants(others), out)
    return out


@lru_cache(maxsize=64)
def _conversion(
    moduli: tuple[int, ...], others: tuple[int, ...]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Digits of (Q - 1) / 2; weights of digits modulo each other prime with quotients [others, limbs, 2]; -Q there."""
    middle = (math.prod(moduli) - 1) // 2
    halves = []
    for prime in moduli:
        halves.append(middle % prime)
        middle //= prime
    weights = np.zeros((len(others), len(moduli), 2), dtype=np.uint64)
    for i, other in enumerate(others):
        weight = 1
        for j, prime in enumerate(moduli):
            weights[i, j] = weight, (weight << 32) // other
            weight = weight * prime % other
    wholes = np.array([-math.prod(moduli) % other for other in others], dtype=np.uint64)
    return np.array(halves, dtype=np.uint32), weights, wholes


@njit
def _convert(digits: Any, halves: Any, weights: Any, wholes: Any, table: Any, out: Any) -> None:
    limbs, degree = digits.shape[1], digits.shape[2]
    above = np.empty(degree, dtype=np.uint64)
    kept = np.empty(degree, dtype=np.uint64)
    for row in range(digits.shape[0]):
        # Above (Q - 1) / 2? The highest digit that differs decides, so it is looked at last.
        above[:] = 0
        for limb in range(limbs):
            a, middle = digits[row, limb], halves[limb]
            for k in range(degree):
                larger = np.uint64(a[k] > middle)
                above[k] = larger | (np.uint64(a[k] == middle) & above[k])
        for other in range(out.shape[1]):
            prime, shift, reciprocal = table[other, PRIME], table[other, SHIFT], table[other, RECIPROCAL]
            word, word_quotient, whole = table[other, WORD], table[other, WORD_QUOTIENT], wholes[other]
            for k in range(degree):
                kept[k] = above[k] * whole
            for limb in range(limbs):
                a, weight, quotient = digits[row, limb], weights[other, limb, 0], weights[other, limb, 1]
                for k in range(degree):
                    kept[k] += shoup(np.uint64(a[k]), weight, quotient, prime)  # each below 2^32
            c = out[row, other]
            for k in range(degree):
                c[k] = np.uint32(reduce_word(kept[k], prime, shift, reciprocal, word, word_quotient))


@njit
def _add_products(sums: Any, left: Any, right: Any, table: Any) -> None:
    for row in range(sums.shape[0]):
        for limb in range(sums.shape[2]):
            prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
            word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
            a, b = left[row, 0, limb], left[row, 1, limb]
            x, y = right[row, 0, limb], right[row, 1, limb]
            c, d, e = sums[row, 0, limb], sums[row, 1, limb], sums[row, 2, limb]
            for i in range(a.shape[0]):
                # Products are below 2^62: two of them and a residue stay below 2^64.
                first = np.uint64(c[i]) + np.uint64(a[i]) * np.uint64(x[i])
                middle = np.uint64(d[i]) + np.uint64(a[i]) * np.uint64(y[i]) + np.uint64(b[i]) * np.uint64(x[i])
                last = np.uint64(e[i]) + np.uint64(b[i]) * np.uint64(y[i])
                c[i] = np.uint32(reduce_word(first, prime, shift, reciprocal, word, quotient))
                d[i] = np.uint32(reduce_word(middle, prime, shift, reciprocal, word, quotient))
                e[i] = np.uint32(reduce_word(last, prime, shift, reciprocal, word, quotient))
