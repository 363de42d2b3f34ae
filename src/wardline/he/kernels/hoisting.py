"""Sums of rotations of one ciphertext, with what they have in common computed once.

Three things make them cheap. Several limbs are one digit of the decomposition: their part of a switching key is the sum
of the limbs' parts, so that SEAL's keys serve. Rotations are done behind the product with the key, which was rotated
back once and for all. And what is summed is divided by the special prime once, not for every rotation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import (
    PRIME,
    RECIPROCAL,
    SHIFT,
    WORD,
    WORD_QUOTIENT,
    add,
    constants,
    njit,
    reduce_word,
)
from wardline.he.kernels.radix import to_digits
from wardline.he.kernels.switching import divide_by_special, multiply_key
from wardline.he.kernels.transform import apply_galois, permutation, to_coefficients, to_evaluations
from wardline.he.parameters import Parameters

Each: TypeAlias = Callable[[Callable[[int], None], int], None]
"""Does some work for 0, 1, ... up to, and without, a number: one after the other, or on several threads."""


def serially(work: Callable[[int], None], count: int) -> None:
    """One after the other."""
    for one in range(count):
        work(one)


def gathered_key(key: Residues, parameters: Parameters, *, limbs: int, group: int, element: int = 1) -> Residues:
    """A switching key for a lower level and digits of several limbs, rotated back.

    Args:
        key: [moduli, 2, moduli + 1, degree], SEAL's: from s(X^element) to s, or from s^2 to s.
        parameters: with a special prime.
        limbs: of the ciphertexts that it will switch.
        group: limbs of a digit; the last digit may have fewer.
        element: the Galois element of the rotation; 1 for a key that relinearises.

    Returns:
        [digits, 2, limbs + 1, degree], `digits` being limbs / group rounded up.

    Raises:
        ValueError: for a key of another shape, or numbers out of range.

    References: Han and Ki 2020 (Better bootstrapping for approximate homomorphic encryption), section 3, on digits of
    several primes; Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux 2021, section 4, on rotations behind the products.
    """
    every = len(parameters.moduli)
    if parameters.special is None or key.shape != (every, 2, every + 1, parameters.degree):
        raise ValueError(f"a key is [{every}, 2, {every + 1}, {parameters.degree}], with a special prime")
    if not 1 <= limbs <= every or group < 1:
        raise ValueError(f"limbs must lie between 1 and {every}, and a digit has at least one")
    back = permutation(pow(element, -1, 2 * parameters.degree), parameters.degree)
    moduli = (*parameters.moduli[:limbs], parameters.special)
    found = np.empty((-(-limbs // group), 2, limbs + 1, parameters.degree), dtype=np.uint32)
    for place, first in enumerate(range(0, limbs, group)):
        total = key[first]
        total = np.concatenate([total[:, :limbs], total[:, -1:]], axis=1)
        for other in key[first + 1 : min(first + group, limbs)]:
            total = add(total, np.concatenate([other[:, :limbs], other[:, -1:]], axis=1), moduli=moduli)
        np.take(total, back, axis=-1, out=found[place], mode="clip")
    return found


def lifted(
    polynomial: Residues, *, moduli: tuple[int, ...], special: int, group: int, each: Each = serially
) -> Residues:
    """The digits of a polynomial, centred, modulo all primes: what its rotations and products have in common.

    Args:
        polynomial: [limbs, degree], in NTT form.
        moduli: of the limbs.
        special: the prime that keys are switched in.
        group: limbs of a digit.
        each: how digits are shared out.

    Returns:
        [digits, limbs + 1, degree] in NTT form.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if polynomial.ndim != 2 or polynomial.shape[0] != len(moduli) or group < 1:
        raise ValueError("a polynomial is [limbs, degree], and a digit has at least one limb")
    onto = (*moduli, special)
    out = np.empty((-(-len(moduli) // group), len(onto), polynomial.shape[1]), dtype=np.uint32)

    def digit(place: int) -> None:
        first, past = place * group, min((place + 1) * group, len(moduli))
        own = moduli[first:past]
        half = math.prod(own) // 2
        plain = to_coefficients(polynomial[first:past], moduli=own)
        _shift(plain, np.array([half % prime for prime in own], dtype=np.uint32), constants(own), plain)
        others = onto[:first] + onto[past:]
        spread = np.empty((len(others), polynomial.shape[1]), dtype=np.uint32)
        _carry_over(to_digits(plain, moduli=own), constants(others), *_radices(own, others), spread)
        spread = to_evaluations(spread, moduli=others)
        # Modulo its own primes a digit is the polynomial, whose evaluations are there.
        out[place, :first], out[place, past:] = spread[:first], spread[first:]
        out[place, first:past] = polynomial[first:past]

    each(digit, len(out))
    return out


@lru_cache(maxsize=256)
def _radices(own: tuple[int, ...], others: tuple[int, ...]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """For each other prime the group's primes modulo it, and what undoes the shift."""
    radices = [[one % prime for one in own] for prime in others]
    half = math.prod(own) // 2
    return np.array(radices, dtype=np.uint64), np.array([prime - half % prime for prime in others], dtype=np.uint64)


def switched(digits: Residues, key: Residues, *, moduli: tuple[int, ...], special: int) -> Residues:
    """The products of digits with a key, summed, not yet rotated, times the special prime: [2, limbs + 1, degree].

    Args:
        digits: of `lifted`.
        key: of `gathered_key`, of the same limbs and group.
        moduli: of the limbs.
        special: the prime that keys are switched in.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if digits.shape[1] != len(moduli) + 1 or key.shape != (len(digits), 2, *digits.shape[1:]):
        raise ValueError(f"a key of shape {key.shape} does not fit digits of shape {digits.shape}")
    sums = np.empty((2, *digits.shape[1:]), dtype=np.uint32)
    multiply_key(digits, key, constants((*moduli, special)), sums)
    return sums


def relinearised(
    parts: Residues, key: Residues, *, moduli: tuple[int, ...], special: int, group: int, each: Each = serially
) -> Residues:
    """A ciphertext of three parts to two: [3, limbs, degree] to [2, limbs, degree].

    Args:
        parts: in NTT form.
        key: of `gathered_key`.
        moduli: of the limbs.
        special: the prime that keys are switched in.
        group: limbs of a digit.
        each: how the work is shared out.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if parts.ndim != 3 or parts.shape[0] != 3:
        raise ValueError("a ciphertext to relinearise has three parts")
    digits = lifted(parts[2], moduli=moduli, special=special, group=group, each=each)
    sums = switched(digits, key, moduli=moduli, special=special)
    return add(_divided(sums, moduli, special, each), np.ascontiguousarray(parts[:2]), moduli=moduli)


def _divided(sums: Residues, moduli: tuple[int, ...], special: int, each: Each) -> Residues:
    """[..., limbs + 1, degree] to [..., limbs, degree]."""
    flat = sums.reshape(-1, *sums.shape[-2:])
    out = np.empty((len(flat), len(moduli), sums.shape[-1]), dtype=np.uint32)

    def row(place: int) -> None:
        out[place] = divide_by_special(flat[place], moduli, special)

    each(row, len(flat))
    return out.reshape(*sums.shape[:-2], *out.shape[1:])


def rotations_sum(
    parts: Residues,
    keys: Mapping[int, Residues],
    *,
    moduli: tuple[int, ...],
    special: int,
    group: int,
    itself: bool = True,
    each: Each = serially,
) -> Residues:
    """A ciphertext and its rotations by all given Galois elements, added up.

    Args:
        parts: [2, limbs, degree], in NTT form.
        keys: by Galois element, of `gathered_key`.
        moduli: of the limbs.
        special: the prime that keys are switched in.
        group: limbs of a digit.
        itself: whether the ciphertext is one of the terms; without it there must be a key.
        each: how the work is shared out; results do not depend on it.

    Returns:
        [2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit, or nothing to add up.
    """
    if parts.ndim != 3 or parts.shape[0] != 2 or not (keys or itself):
        raise ValueError("a ciphertext to rotate has two parts, and there must be something to add up")
    if not keys:
        return parts
    digits = lifted(parts[1], moduli=moduli, special=special, group=group, each=each)
    whole = (*moduli, special)
    total = np.zeros((2, len(whole), parts.shape[2]), dtype=np.uint32)
    base = parts.copy() if itself else np.zeros_like(parts)
    terms, lock = list(keys.items()), Lock()

    def term(place: int) -> None:
        element, key = terms[place]
        turn = permutation(element, parts.shape[2])
        one = switched(digits, key, moduli=moduli, special=special)
        with lock:
            _add_turned(one, turn, constants(whole), total)
            _add_turned(parts[:1], turn, constants(moduli), base)

    each(term, len(terms))
    return add(_divided(total, moduli, special, each), base, moduli=moduli)


def weighted_rotations(
    parts: Residues,
    factors: Residues,
    keys: Mapping[int, Residues],
    *,
    moduli: tuple[int, ...],
    special: int,
    group: int,
    each: Each = serially,
) -> Residues:
    """Sums of a ciphertext and its rotations, each times a plaintext; several such sums of the same rotations.

    Args:
        parts: [2, limbs, degree], in NTT form.
        factors: plaintexts [sums, 1 + rotations, limbs + 1, degree] in NTT form, modulo the special prime too; the
            first of each sum is for the ciphertext as it is.
        keys: by Galois element, of `gathered_key`, in the order of the factors.
        moduli: of the limbs.
        special: the prime that keys are switched in.
        group: limbs of a digit.
        each: how the work is shared out; results do not depend on it.

    Returns:
        [sums, 2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit.

    References: Halevi and Shoup 2018 (Faster homomorphic linear transformations in HElib); Bossuat and others 2021,
    section 4 (one division by the special prime for all rotations).
    """
    limbs, degree = parts.shape[1:]
    if factors.ndim != 4 or factors.shape[1:] != (1 + len(keys), limbs + 1, degree) or parts.shape[0] != 2:
        raise ValueError(f"factors of shape {factors.shape} do not fit {len(keys)} rotations of {limbs} limbs")
    whole = constants((*moduli, special))
    out = np.zeros((len(factors), 2, limbs, degree), dtype=np.uint32)
    for which, factor in enumerate(factors):
        _add_product(parts, factor[0, :limbs], whole, out[which])
    if not keys:
        return out
    digits = lifted(parts[1], moduli=moduli, special=special, group=group, each=each)
    raised = np.zeros((len(factors), 2, limbs + 1, degree), dtype=np.uint32)
    terms, lock = list(keys.items()), Lock()

    def term(place: int) -> None:
        element, key = terms[place]
        one = apply_galois(switched(digits, key, moduli=moduli, special=special), element)
        first = apply_galois(parts[:1], element)
        with lock:
            for which, factor in enumerate(factors):
                _add_product(one, factor[1 + place], whole, raised[which])
                _add_product(first, factor[1 + place, :limbs], whole, out[which, :1])

    each(term, len(terms))
    return add(_divided(raised, moduli, special, each), out, moduli=moduli)


@njit
def _shift(plain: Any, halves: Any, table: Any, out: Any) -> None:
    for limb in range(plain.shape[0]):
        prime, half = np.uint32(table[limb, PRIME]), halves[limb]
        a, c = plain[limb], out[limb]
        for i in range(a.shape[0]):
            total = np.uint32(a[i] + half)
            c[i] = min(total, np.uint32(total - prime))


@njit
def _carry_over(digits: Any, table: Any, radices: Any, middles: Any, out: Any) -> None:
    """Integers in mixed radix, less the shift, modulo other primes."""
    count, degree = digits.shape
    for limb in range(out.shape[0]):
        prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
        word, quotient, middle = table[limb, WORD], table[limb, WORD_QUOTIENT], middles[limb]
        c, top, low = out[limb], digits[count - 1], digits[0]
        if count == 1:
            for i in range(degree):
                c[i] = np.uint32(reduce_word(np.uint64(low[i]) + middle, prime, shift, reciprocal, word, quotient))
            continue
        c[:] = top
        for back in range(1, count):
            digit = count - 1 - back
            # Below 2^31 each, so that the product and both sums are below 2^63.
            radix, a = radices[limb, digit], digits[digit]
            added = middle if digit == 0 else np.uint64(0)
            for i in range(degree):
                total = np.uint64(c[i]) * radix + (np.uint64(a[i]) + added)
                c[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))


@njit
def _add_turned(polynomials: Any, places: Any, table: Any, out: Any) -> None:
    """Add polynomials whose evaluations change places."""
    for row in range(polynomials.shape[0]):
        for limb in range(polynomials.shape[1]):
            prime = np.uint32(table[limb, PRIME])
            a, c = polynomials[row, limb], out[row, limb]
            for i in range(places.shape[0]):
                total = np.uint32(c[i] + a[np.uint64(places[i])])
                c[i] = min(total, np.uint32(total - prime))


@njit
def _add_product(left: Any, right: Any, table: Any, out: Any) -> None:
    """Add to `out` the product of each of `left` with `right`, limb by limb; tables may have more limbs."""
    for row in range(left.shape[0]):
        for limb in range(left.shape[1]):
            prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
            word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
            a, b, c = left[row, limb], right[limb], out[row, limb]
            for i in range(a.shape[0]):
                # Below 2^62 and 2^31.
                total = np.uint64(a[i]) * np.uint64(b[i]) + np.uint64(c[i])
                c[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))
