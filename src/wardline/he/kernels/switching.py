"""From one modulus to a smaller one, and from one secret to another.

Both round as SEAL does, so that results are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Form, Residues
from wardline.he.kernels.modular import (
    ONE_QUOTIENT,
    PRIME,
    RECIPROCAL,
    SHIFT,
    WORD,
    WORD_QUOTIENT,
    add,
    constants,
    njit,
    reduce_word,
    rows_of,
    shoup,
)
from wardline.he.kernels.transform import apply_galois, permutation, to_coefficients, to_evaluations
from wardline.he.parameters import Parameters

BLOCK = 1024
"""Coefficients whose accumulators are kept at once, in the first cache."""


def divide_by_last(polynomials: Residues, *, moduli: tuple[int, ...], form: Form) -> Residues:
    """Divide by the last modulus, and round to the nearest integer: one limb less.

    For CKKS that is a rescaling (the scale is divided by that prime), for BFV a change of the modulus.

    Args:
        polynomials: [..., limbs, degree].
        moduli: of the limbs, at least two.
        form: of polynomials and result.

    Returns:
        [..., limbs - 1, degree].

    Raises:
        ValueError: for shapes that do not fit, or a single modulus.
    """
    flat = rows_of(polynomials, moduli)
    if len(moduli) < 2:
        raise ValueError("the last modulus that is left cannot be divided by")
    kept, last = moduli[:-1], moduli[-1]
    tail = flat[:, -1:]
    if form == "evaluations":
        tail = to_coefficients(tail, moduli=(last,))
    out = _divide(np.ascontiguousarray(flat[:, :-1]), tail, kept, last, form)
    return out.reshape(*polynomials.shape[:-2], *out.shape[1:])


def _divide(head: Residues, tail: Residues, kept: tuple[int, ...], last: int, form: Form) -> Residues:
    """(head - [tail]) / last, [tail] being the centred representative of the last limb, in coefficient form."""
    remainders = np.empty_like(head)
    _remainders(tail, np.uint64(last), constants(kept), remainders)
    if form == "evaluations":
        remainders = to_evaluations(remainders, moduli=kept)
    inverses = [pow(last, -1, prime) for prime in kept]
    factors = np.array(
        [(one, (one << 32) // prime) for one, prime in zip(inverses, kept, strict=True)], dtype=np.uint64
    )
    out = np.empty_like(head)
    _quotients(head, remainders, factors, constants(kept), out)
    return out


def switch_key(polynomials: Residues, key: Residues, parameters: Parameters, *, form: Form) -> Residues:
    """Two polynomials (d0, d1) with d0 + d1 s close to p s', for p given and a key from s' to s.

    Each limb of p is taken as an integer polynomial, multiplied by its part of the key with the special prime on
    top, and the sum divided by that prime.

    Args:
        polynomials: [..., limbs, degree]; as many limbs as are left.
        key: [decomposition, 2, moduli + 1, degree] in NTT form, SEAL's: one pair for each of `parameters.moduli`,
            the special prime's limb last.
        parameters: with a special prime.
        form: of polynomials and result.

    Returns:
        [..., 2, limbs, degree].

    Raises:
        ValueError: for parameters without a special prime, or shapes that do not fit.

    References: Bajard et al. 2016; Kim, Polyakov and Zucca 2021, section on hybrid switching with one digit a limb.
    """
    special = _check(polynomials, [key], parameters)
    kept = parameters.moduli[: polynomials.shape[-2]]
    flat = rows_of(polynomials, kept)
    sums = np.empty((len(flat), 2, len(kept) + 1, parameters.degree), dtype=np.uint32)
    for row in range(len(flat)):
        digits = _digits(flat[row], kept, special, form=form, middles=np.zeros(len(kept), dtype=np.uint64))
        multiply_key(digits, key, constants((*kept, special)), sums[row])
    return _without_special(sums, kept, special, form).reshape(*polynomials.shape[:-2], 2, *polynomials.shape[-2:])


def _check(polynomials: Residues, keys: Collection[Residues], parameters: Parameters) -> int:
    """The special prime, if polynomials and keys fit these parameters."""
    if parameters.special is None:
        raise ValueError("keys are switched with a special prime, which these parameters lack")
    every, degree = len(parameters.moduli), parameters.degree
    if any(key.dtype != np.uint32 or key.shape != (every, 2, every + 1, degree) for key in keys):
        raise ValueError(f"a key is [{every}, 2, {every + 1}, {degree}]")
    limbs = polynomials.shape[-2] if polynomials.ndim > 1 else 0
    if not 1 <= limbs <= every or polynomials.shape[-1] != degree:
        raise ValueError(f"polynomials of shape {polynomials.shape} are none of these parameters")
    return parameters.special


def _digits(
    polynomial: Residues, kept: tuple[int, ...], special: int, *, form: Form, middles: npt.NDArray[np.uint64]
) -> Residues:
    """The limbs as integers from -middle on, each modulo all primes and in NTT form: [limbs, limbs + 1, degree]."""
    limbs, degree = polynomial.shape
    plain = to_coefficients(polynomial, moduli=kept) if form == "evaluations" else polynomial
    digits = np.empty((limbs, limbs + 1, degree), dtype=np.uint32)
    whole = (*kept, special)
    _spread(plain, constants(whole), middles, digits)
    if form == "coefficients":
        return to_evaluations(digits, moduli=whole)
    for limb, digit in enumerate(digits):
        # Modulo its own prime a digit is what it came from.
        digit[limb] = polynomial[limb]
        if limb:
            digit[:limb] = to_evaluations(digit[:limb], moduli=whole[:limb])
        digit[limb + 1 :] = to_evaluations(digit[limb + 1 :], moduli=whole[limb + 1 :])
    return digits


def divide_by_special(sums: Residues, moduli: tuple[int, ...], special: int) -> Residues:
    """What products with a switching key gave, in NTT form, divided by the special prime and rounded.

    Args:
        sums: [..., limbs + 1, degree], the special prime's limb last.
        moduli: of the other limbs.
        special: the prime that keys are switched in.

    Returns:
        [..., limbs, degree].
    """
    return _without_special(sums, moduli, special, "evaluations")


def _without_special(sums: Residues, kept: tuple[int, ...], special: int, form: Form) -> Residues:
    """Sums of products with a key, in NTT form, divided by the special prime."""
    tail = to_coefficients(np.ascontiguousarray(sums[..., -1:, :]), moduli=(special,))
    head = np.ascontiguousarray(sums[..., :-1, :])
    if form == "coefficients":
        head = to_coefficients(head, moduli=kept)
    shape = len(kept), sums.shape[-1]
    return _divide(head.reshape(-1, *shape), tail.reshape(-1, 1, shape[1]), kept, special, form).reshape(head.shape)


def relinearise(parts: Residues, key: Residues, parameters: Parameters, *, form: Form) -> Residues:
    """Ciphertexts of three parts to two: c2 s^2 becomes d0 + d1 s.

    Args:
        parts: [..., 3, limbs, degree].
        key: from s^2 to s, as `switch_key`.
        parameters: with a special prime.
        form: of the parts.

    Returns:
        [..., 2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit.
    """
    if parts.ndim < 3 or parts.shape[-3] != 3:
        raise ValueError("a ciphertext to relinearise has three parts")
    switched = switch_key(np.ascontiguousarray(parts[..., 2, :, :]), key, parameters, form=form)
    return add(np.ascontiguousarray(parts[..., :2, :, :]), switched, moduli=parameters.moduli[: parts.shape[-2]])


def rotate(parts: Residues, key: Residues, parameters: Parameters, *, element: int) -> Residues:
    """Ciphertexts whose slots are turned by a Galois element (see `galois_element`), in NTT form.

    Args:
        parts: [..., 2, limbs, degree].
        key: from s(X^element) to s, as `switch_key`.
        parameters: with a special prime.
        element: odd, between 1 and twice the degree.

    Raises:
        ValueError: for shapes that do not fit or another element.
    """
    if parts.ndim < 3 or parts.shape[-3] != 2:
        raise ValueError("a ciphertext to rotate has two parts")
    turned = apply_galois(parts, element)
    switched = switch_key(np.ascontiguousarray(turned[..., 1, :, :]), key, parameters, form="evaluations")
    moduli = parameters.moduli[: parts.shape[-2]]
    first = add(np.ascontiguousarray(turned[..., 0, :, :]), np.ascontiguousarray(switched[..., 0, :, :]), moduli=moduli)
    return np.stack([first, switched[..., 1, :, :]], axis=-3)


def rotate_many(parts: Residues, keys: Mapping[int, Residues], parameters: Parameters) -> dict[int, Residues]:
    """One ciphertext rotated by several Galois elements: what they have in common is computed once.

    Results differ from those of `rotate` in their residues, and have less noise: digits here are centred, where
    SEAL's lie between 0 and the prime. What those have in common, half of the prime, multiplies the errors of the key
    into a smooth polynomial, whose noise meets few slots, and these hard.

    Args:
        parts: [2, limbs, degree], in NTT form.
        keys: by Galois element, each from s(X^element) to s.
        parameters: with a special prime.

    Returns:
        By Galois element, [2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit or an element that is none.

    References: Halevi and Shoup 2018 (Faster homomorphic linear transformations in HElib), on hoisting.
    """
    if parts.ndim != 3 or parts.shape[0] != 2:
        raise ValueError("a ciphertext to rotate has two parts")
    special = _check(parts, keys.values(), parameters)
    kept = parameters.moduli[: parts.shape[1]]
    halves = np.array([prime >> 1 for prime in kept], dtype=np.uint64)
    digits = _digits(np.ascontiguousarray(parts[1]), kept, special, form="evaluations", middles=halves)
    # Made once: to get memory from the system anew takes longer than to fill it.
    moved = np.empty_like(digits)
    sums = np.empty((2, len(kept) + 1, parameters.degree), dtype=np.uint32)
    found = {}
    for element, key in keys.items():
        np.take(digits, permutation(element, parameters.degree), axis=-1, out=moved, mode="clip")
        multiply_key(moved, key, constants((*kept, special)), sums)
        turned = _without_special(sums, kept, special, "evaluations")
        turned[0] = add(turned[0], apply_galois(parts[0], element), moduli=kept)
        found[element] = turned
    return found


@njit
def _remainders(tail: Any, last: Any, table: Any, out: Any) -> None:
    """The last limb, centred, modulo each of the others."""
    half = last >> np.uint64(1)
    for row in range(out.shape[0]):
        a = tail[row, 0]
        for limb in range(out.shape[1]):
            prime, quotient = table[limb, PRIME], table[limb, ONE_QUOTIENT]
            below = prime - half % prime
            c = out[row, limb]
            for i in range(c.shape[0]):
                shifted = np.uint64(a[i]) + half
                shifted = min(shifted, shifted - last)
                left = shoup(shifted, np.uint64(1), quotient, prime)
                left = min(left, left - prime) + below
                c[i] = np.uint32(min(left, left - prime))


@njit
def _quotients(head: Any, remainders: Any, factors: Any, table: Any, out: Any) -> None:
    for row in range(head.shape[0]):
        for limb in range(head.shape[1]):
            prime, factor, quotient = table[limb, PRIME], factors[limb, 0], factors[limb, 1]
            a, b, c = head[row, limb], remainders[row, limb], out[row, limb]
            for i in range(c.shape[0]):
                left = shoup(np.uint64(a[i]) + (prime - np.uint64(b[i])), factor, quotient, prime)
                c[i] = np.uint32(min(left, left - prime))


@njit
def _spread(plain: Any, table: Any, middles: Any, out: Any) -> None:
    """Each limb, read as integers from -middle to q - 1 - middle, modulo all primes.

    [limbs, degree] to [limbs, primes, degree].
    """
    for digit in range(plain.shape[0]):
        a, own, middle = plain[digit], table[digit, PRIME], middles[digit]
        for limb in range(out.shape[1]):
            prime, quotient = table[limb, PRIME], table[limb, ONE_QUOTIENT]
            below = prime - middle % prime
            c = out[digit, limb]
            for i in range(c.shape[0]):
                shifted = np.uint64(a[i]) + middle
                shifted = min(shifted, shifted - own)
                left = shoup(shifted, np.uint64(1), quotient, prime)
                left = min(left, left - prime) + below
                c[i] = np.uint32(min(left, left - prime))


@njit
def multiply_key(digits: Any, key: Any, table: Any, out: Any) -> None:
    """Sums over the digits of their products with the key: [digits, primes, degree] to [2, primes, degree]."""
    count, primes, degree = digits.shape
    whole = count - count % 3
    kept = np.empty(BLOCK, dtype=np.uint64)
    for part in range(2):
        for limb in range(primes):
            # At a lower level the limbs between the last one left and the special one are passed over.
            source = limb if limb + 1 < primes else key.shape[2] - 1
            prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
            word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
            for start in range(0, degree, BLOCK):
                end = min(start + BLOCK, degree)
                c = out[part, limb, start:end]
                kept[:] = 0
                for digit in range(0, whole, 3):
                    # Products are below 2^62: three of them and a residue stay below 2^64.
                    x, u = digits[digit, limb, start:end], key[digit, part, source, start:end]
                    y, v = digits[digit + 1, limb, start:end], key[digit + 1, part, source, start:end]
                    z, w = digits[digit + 2, limb, start:end], key[digit + 2, part, source, start:end]
                    for i in range(end - start):
                        total = np.uint64(x[i]) * np.uint64(u[i]) + np.uint64(y[i]) * np.uint64(v[i])
                        total += np.uint64(z[i]) * np.uint64(w[i]) + kept[i]
                        kept[i] = reduce_word(total, prime, shift, reciprocal, word, quotient)
                for digit in range(whole, count):
                    x, u = digits[digit, limb, start:end], key[digit, part, source, start:end]
                    for i in range(end - start):
                        kept[i] += np.uint64(x[i]) * np.uint64(u[i])
                for i in range(end - start):
                    c[i] = np.uint32(reduce_word(kept[i], prime, shift, reciprocal, word, quotient))
