"""Several moduli dropped at once, with the same result as one after the other and fewer transforms.

Dividing by q1, then by q2 and so on rounds each time, so that x = r1 + q1 (r2 + q2 (r3 + ... )) + q1 q2 q3 ... y with
centred remainders r. These are functions of the dropped limbs alone: once they are known by coefficients, what is to be
taken from every limb that is kept is transformed once, however many moduli are dropped.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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
    shoup,
)
from wardline.he.kernels.switching import divide_by_last
from wardline.he.kernels.transform import to_coefficients, to_evaluations


def drop(polynomials: Residues, *, moduli: tuple[int, ...], count: int) -> Residues:
    """Divide by the last modulus and round, `count` times: `divide_by_last` in NTT form.

    Args:
        polynomials: [..., limbs, degree], in NTT form.
        moduli: of the limbs.
        count: from 0 up to, and without, the number of moduli.

    Returns:
        [..., limbs - count, degree].

    Raises:
        TypeError: for residues of another type.
        ValueError: for shapes that do not fit, or no modulus that would be left.
    """
    flat = rows_of(polynomials, moduli)
    if not 0 <= count < len(moduli):
        raise ValueError("the last modulus that is left cannot be divided by")
    if count == 0:
        return polynomials
    if count == 1:
        return divide_by_last(polynomials, moduli=moduli, form="evaluations")
    kept, dropped = moduli[:-count], moduli[: -count - 1 : -1]  # the first to be dropped comes first
    digits = to_coefficients(np.ascontiguousarray(flat[:, -count:]), moduli=moduli[-count:])[:, ::-1]
    digits = np.ascontiguousarray(digits)
    inverses = [[pow(one, -1, other) if one != other else 0 for other in dropped] for one in dropped]
    _digits(digits, constants(dropped), np.array(inverses, dtype=np.uint64))
    taken = np.empty((len(flat), len(kept), flat.shape[2]), dtype=np.uint32)
    weights = [math.prod(dropped[:place]) for place in range(count)]
    halves = sum(weight * (prime >> 1) for weight, prime in zip(weights, dropped, strict=True))
    _together(
        digits,
        np.array([[weight % prime for weight in weights] for prime in kept], dtype=np.uint64),
        np.array([-halves % prime for prime in kept], dtype=np.uint64),
        constants(kept),
        taken,
    )
    taken = to_evaluations(taken, moduli=kept)
    whole = [pow(math.prod(dropped), -1, prime) for prime in kept]
    factors = [(one, (one << 32) // prime) for one, prime in zip(whole, kept, strict=True)]
    _divided(flat, np.array(factors, dtype=np.uint64), constants(kept), taken)
    return taken.reshape(*polynomials.shape[:-2], *taken.shape[1:])


@njit
def _digits(tail: Any, table: Any, inverses: Any) -> None:
    """Centred remainders, each with half of its prime added to it: [rows, count, degree], in place."""
    count = tail.shape[1]
    for row in range(tail.shape[0]):
        for one in range(count):
            own = np.uint32(table[one, PRIME])
            half = np.uint32(own >> np.uint32(1))
            a = tail[row, one]
            for i in range(a.shape[0]):
                shifted = np.uint32(a[i] + half)
                a[i] = min(shifted, np.uint32(shifted - own))
            for other in range(one + 1, count):
                prime, shift, reciprocal = table[other, PRIME], table[other, SHIFT], table[other, RECIPROCAL]
                word, quotient = table[other, WORD], table[other, WORD_QUOTIENT]
                factor = inverses[one, other]
                negative, offset = prime - factor, (np.uint64(half) * factor) % prime
                b = tail[row, other]
                for i in range(b.shape[0]):
                    total = np.uint64(b[i]) * factor + np.uint64(a[i]) * negative + offset
                    b[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))


@njit
def _together(digits: Any, weights: Any, offsets: Any, table: Any, out: Any) -> None:
    """Sums of the digits with the products of primes before them, modulo the primes that are kept."""
    count = digits.shape[1]
    for row in range(out.shape[0]):
        for limb in range(out.shape[1]):
            prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
            word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
            c = out[row, limb]
            c[:] = np.uint32(offsets[limb])
            for place in range(0, count, 3):
                # Three products and a residue stay below 2^64; beyond the last digit it is taken again, times 0.
                x, y = digits[row, place], digits[row, min(place + 1, count - 1)]
                z = digits[row, min(place + 2, count - 1)]
                f = weights[limb, place]
                g = weights[limb, place + 1] if place + 1 < count else np.uint64(0)
                h = weights[limb, place + 2] if place + 2 < count else np.uint64(0)
                for i in range(c.shape[0]):
                    total = np.uint64(x[i]) * f + np.uint64(y[i]) * g + np.uint64(z[i]) * h + np.uint64(c[i])
                    c[i] = np.uint32(reduce_word(total, prime, shift, reciprocal, word, quotient))


@njit
def _divided(head: Any, factors: Any, table: Any, taken: Any) -> None:
    """(head - taken) times the factors, written over what is taken; the head has more limbs."""
    for row in range(taken.shape[0]):
        for limb in range(taken.shape[1]):
            prime, factor, quotient = table[limb, PRIME], factors[limb, 0], factors[limb, 1]
            a, b = head[row, limb], taken[row, limb]
            for i in range(b.shape[0]):
                left = shoup(np.uint64(a[i]) + (prime - np.uint64(b[i])), factor, quotient, prime)
                b[i] = np.uint32(min(left, left - prime))
