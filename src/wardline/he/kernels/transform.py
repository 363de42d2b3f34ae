"""Between coefficients and evaluations: the number-theoretic transform modulo X^degree + 1, in SEAL's order.

Every stage has constant geometry: it reads the two halves of a row and writes pairs side by side (the inverse the
other way round), so that all of them, the last ones too, run over neighbouring numbers. After log2(degree) stages
the places are those of the usual in-place transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import HALF, ONE, inlined, njit, rows_of
from wardline.he.parameters import LARGEST_PRIME, is_prime

PERIOD = 64
"""The early stages have few distinct roots; they are repeated up to this number, for loops of a useful length."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tables:
    """Roots of one prime in the order in which the stages use them, with Shoup's quotients; all read-only.

    Attributes:
        prime: the modulus.
        root: the smallest primitive root of unity of order twice the degree: what SEAL takes.
        forward: [2, entries], roots and quotients; stage s has max(2^s, min(PERIOD, degree / 2)) of them.
        inverse: the same of the inverse roots; those of stage 0 are divided by the degree.
        divisor: the inverse of the degree and its quotient.
    """

    prime: int
    root: int
    forward: npt.NDArray[np.uint32]
    inverse: npt.NDArray[np.uint32]
    divisor: tuple[int, int]


@lru_cache(maxsize=256)
def tables(prime: int, degree: int) -> Tables:
    """The tables of a prime, made once.

    Args:
        prime: below 2^31, one more than a multiple of twice the degree.
        degree: a power of two from 4.

    Raises:
        ValueError: for a prime and degree without a transform.

    References: Longa and Naehrig 2016 (Speeding up the number theoretic transform), section 3.
    """
    if degree < 4 or degree & (degree - 1) or not 0 < prime < LARGEST_PRIME or prime % (2 * degree) != 1:
        raise ValueError(f"there is no transform of degree {degree} modulo {prime}")
    if not is_prime(prime):
        raise ValueError(f"{prime} is no prime")
    root = smallest_root(prime, 2 * degree)
    inverse_root, divisor = pow(root, -1, prime), pow(degree, -1, prime)
    forward, inverse = _by_stage(root, prime, degree), _by_stage(inverse_root, prime, degree)
    first = min(PERIOD, degree // 2)
    inverse[0, :first] = int(inverse[0, 0]) * divisor % prime
    inverse[1] = (inverse[0].astype(np.uint64) << HALF) // np.uint64(prime)
    for table in (forward, inverse):
        table.flags.writeable = False
    return Tables(prime=prime, root=root, forward=forward, inverse=inverse, divisor=(divisor, (divisor << 32) // prime))


def smallest_root(prime: int, order: int) -> int:
    """The smallest primitive root of unity of an order that is a power of two and divides prime - 1."""
    exponent = (prime - 1) // order
    root = next(one for base in range(2, prime) if pow(one := pow(base, exponent, prime), order // 2, prime) != 1)
    square, smallest = root * root % prime, root
    for _ in range(order // 2 - 1):
        root = root * square % prime
        smallest = min(smallest, root)
    return smallest


def _by_stage(root: int, prime: int, degree: int) -> npt.NDArray[np.uint32]:
    stages = degree.bit_length() - 1
    powers = np.ones(degree, dtype=np.uint64)
    for k in range(stages):  # powers 0..2^k - 1 are there: 2^k more at once
        powers[1 << k : 2 << k] = powers[: 1 << k] * np.uint64(pow(root, 1 << k, prime)) % np.uint64(prime)
    ordered = powers[reversed_bits(stages)]
    period = min(PERIOD, degree // 2)
    pieces = [np.resize(ordered[1 << s : 2 << s], max(1 << s, period)) for s in range(stages)]
    roots = np.concatenate(pieces)
    return np.stack([roots, (roots << HALF) // np.uint64(prime)]).astype(np.uint32)


def reversed_bits(bits: int) -> npt.NDArray[np.int64]:
    """For each number below 2^bits the one with its bits in reverse order."""
    found = np.zeros(1, dtype=np.int64)
    for _ in range(bits):
        found = np.concatenate([2 * found, 2 * found + 1])
    return found


def to_evaluations(polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
    """Coefficients to NTT form, for any number of polynomials at once.

    Entry j of a result is the polynomial's value at root^(2 k + 1), k being j with its bits reversed.

    Args:
        polynomials: [..., limbs, degree], coefficients below the primes.
        moduli: of the limbs.

    Returns:
        The same shape, below the primes: what SEAL writes for the same polynomial.

    Raises:
        TypeError: for another type.
        ValueError: for shapes that do not fit or primes without a transform.

    References: Pease 1968 (constant geometry); Longa and Naehrig 2016.
    """
    return _transform(polynomials, moduli, forward=True)


def to_coefficients(polynomials: Residues, *, moduli: tuple[int, ...]) -> Residues:
    """NTT form to coefficients: the inverse of `to_evaluations`, with the same arguments and errors."""
    return _transform(polynomials, moduli, forward=False)


def _transform(polynomials: Residues, moduli: tuple[int, ...], *, forward: bool) -> Residues:
    flat = rows_of(polynomials, moduli)
    out = np.empty_like(flat)
    degree = flat.shape[2]
    spare = np.empty((2, degree), dtype=np.uint32)
    for limb, prime in enumerate(moduli):
        table = tables(prime, degree)
        if forward:
            forward_limb(flat, out, spare, limb, np.uint32(prime), table.forward)
        else:
            divisor = np.array(table.divisor, dtype=np.uint64)
            inverse_limb(flat, out, spare, limb, np.uint32(prime), table.inverse, divisor)
    return out.reshape(polynomials.shape)


def galois_element(steps: int, degree: int) -> int:
    """The power g of X -> X^g that turns the slots of CKKS (or the rows of BFV) left by some steps.

    Steps may be negative, to the right, and lie between -degree / 2 and degree / 2; 0 stands for the conjugation
    (of BFV: the exchange of the rows), as in SEAL.

    Raises:
        ValueError: for more steps.
    """
    if abs(steps) >= degree // 2:
        raise ValueError(f"{steps} steps are too many for {degree // 2} slots")
    return 2 * degree - 1 if steps == 0 else pow(3, steps % (degree // 2), 2 * degree)


def apply_galois(polynomials: Residues, element: int) -> Residues:
    """The polynomials p(X^g), all in NTT form: their evaluations change places.

    Args:
        polynomials: [..., degree].
        element: g, odd, between 1 and twice the degree.

    Raises:
        ValueError: for another element.
    """
    return np.take(polynomials, permutation(element, polynomials.shape[-1]), axis=-1)


@lru_cache(maxsize=256)
def permutation(element: int, degree: int) -> npt.NDArray[np.int64]:
    """From where `apply_galois` takes each evaluation; read-only.

    Raises:
        ValueError: for an element that is even or not between 1 and twice the degree.
    """
    if not (0 < element < 2 * degree and element % 2):
        raise ValueError(f"{element} is no odd number between 1 and {2 * degree}")
    reverse = reversed_bits(degree.bit_length() - 1)
    # Place j holds the value at root^(2 rev(j) + 1); the new polynomial's is the old one's at root^(g (2 rev(j) + 1)).
    found: npt.NDArray[np.int64] = reverse[(element * (2 * reverse + 1) // 2) & (degree - 1)]
    found.flags.writeable = False
    return found


@inlined
def _times(value: Any, factor: Any, quotient: Any, prime: Any) -> Any:
    """A 32-bit number times a residue modulo the prime, below the prime."""
    upper = np.uint32((np.uint64(value) * np.uint64(quotient)) >> HALF)
    # Only the lower 32 bits are needed: the difference is below 2q, hence below 2^32.
    left = np.uint32(np.uint32(value * factor) - np.uint32(upper * prime))
    return min(left, np.uint32(left - prime))


@njit
def _split_stage(source: Any, target: Any, factors: Any, quotients: Any, prime: Any) -> None:
    """One stage forward: the halves of `source` become neighbours in `target`."""
    half = source.shape[0] // 2
    length = factors.shape[0]
    for start in range(0, half, length):
        a, b = source[start : start + length], source[half + start : half + start + length]
        c = target[2 * start : 2 * (start + length)]
        for i in range(length):
            u, v = a[i], _times(b[i], factors[i], quotients[i], prime)
            total, difference = np.uint32(u + v), np.uint32(u - v)
            place = np.uint64(2 * i)  # unsigned, since a possibly negative index would keep the loop from vectors
            c[place] = min(total, np.uint32(total - prime))
            c[place + ONE] = min(difference, np.uint32(difference + prime))


@njit
def _join_stage(source: Any, target: Any, factors: Any, quotients: Any, prime: Any) -> None:
    """One stage back: neighbours in `source` become the halves of `target`."""
    half = source.shape[0] // 2
    length = factors.shape[0]
    for start in range(0, half, length):
        a, b = target[start : start + length], target[half + start : half + start + length]
        c = source[2 * start : 2 * (start + length)]
        for i in range(length):
            place = np.uint64(2 * i)
            u, v = c[place], c[place + ONE]
            total = np.uint32(u + v)
            a[i] = min(total, np.uint32(total - prime))
            # Below 2q, which _times may take.
            b[i] = _times(np.uint32(u + np.uint32(prime - v)), factors[i], quotients[i], prime)


@njit
def forward_limb(polynomials: Any, out: Any, spare: Any, limb: Any, prime: Any, roots: Any) -> None:
    """One limb of [rows, limbs, degree] into evaluations, also in place; `spare` is [2, degree]."""
    half = polynomials.shape[2] // 2
    for row in range(polynomials.shape[0]):
        spare[0, :] = polynomials[row, limb]
        old = 0
        offset = 0
        width = 1
        while width < half:
            end = offset + max(width, min(PERIOD, half))
            _split_stage(spare[old], spare[1 - old], roots[0, offset:end], roots[1, offset:end], prime)
            offset = end
            old = 1 - old
            width *= 2
        _split_stage(spare[old], out[row, limb], roots[0, offset:], roots[1, offset:], prime)


@njit
def inverse_limb(polynomials: Any, out: Any, spare: Any, limb: Any, prime: Any, roots: Any, divisor: Any) -> None:
    """The way back, in the same manner."""
    half = polynomials.shape[2] // 2
    factor, quotient = roots[0, 0], roots[1, 0]
    last, last_quotient = np.uint32(divisor[0]), np.uint32(divisor[1])
    for row in range(polynomials.shape[0]):
        spare[0, :] = polynomials[row, limb]
        old = 0
        end = roots.shape[1]
        width = half
        while width > 1:
            offset = end - max(width, min(PERIOD, half))
            _join_stage(spare[old], spare[1 - old], roots[0, offset:end], roots[1, offset:end], prime)
            end = offset
            old = 1 - old
            width //= 2
        source = spare[old]
        a, b = out[row, limb, :half], out[row, limb, half:]
        for i in range(half):
            place = np.uint64(2 * i)
            u, v = source[place], source[place + ONE]
            a[i] = _times(np.uint32(u + v), last, last_quotient, prime)
            b[i] = _times(np.uint32(u + np.uint32(prime - v)), factor, quotient, prime)
