"""Slots of BFV plaintexts, and plaintexts that meet ciphertexts.

A polynomial modulo a prime t, one more than a multiple of twice the degree, is given by its values at the roots of
X^degree + 1. Addition and multiplication of polynomials are those of the values, slot by slot. The order is that of
SEAL's BatchEncoder: two rows of degree / 2 slots, which rotations turn.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels import transform
from wardline.he.kernels.modular import add, multiply, reduce_signed
from wardline.he.parameters import LARGEST_PRIME, Parameters, is_prime

Integers = npt.NDArray[np.int64]


def has_slots(plain_modulus: int, degree: int) -> bool:
    """Whether plaintexts have slots: the modulus is a prime below 2^31 of the form k 2 degree + 1."""
    return plain_modulus < LARGEST_PRIME and plain_modulus % (2 * degree) == 1 and is_prime(plain_modulus)


def to_coefficients(slots: Integers, *, plain_modulus: int) -> Integers:
    """The polynomials whose slots have these values.

    Args:
        slots: integers [..., degree], each modulo the plain modulus.
        plain_modulus: t, as `has_slots` asks for.

    Returns:
        [..., degree], centred: from -t / 2 to t / 2, as `Lattice.encrypt_coefficients` takes them.

    Raises:
        TypeError: for another type.
        ValueError: for a modulus without slots.
    """
    places = _places(slots, plain_modulus)
    ordered = np.empty(slots.shape, dtype=np.uint32)
    ordered[..., places] = slots % plain_modulus
    found = transform.to_coefficients(ordered[..., None, :], moduli=(plain_modulus,))
    return _centred(found[..., 0, :], plain_modulus)


def from_coefficients(coefficients: Integers, *, plain_modulus: int) -> Integers:
    """The values of polynomials in their slots, centred: the inverse of `to_coefficients`, with the same errors."""
    places = _places(coefficients, plain_modulus)
    residues = (coefficients % plain_modulus).astype(np.uint32)
    found = transform.to_evaluations(residues[..., None, :], moduli=(plain_modulus,))
    return _centred(found[..., 0, places], plain_modulus)


def scaled(coefficients: Integers, parameters: Parameters) -> Residues:
    """Plaintexts times Q / t, rounded as SEAL rounds: added to the first part of a ciphertext they add the message.

    Args:
        coefficients: [..., degree], each modulo the plain modulus t.
        parameters: with a plain modulus below 2^31.

    Returns:
        [..., limbs, degree].

    Raises:
        TypeError: for another type.
        ValueError: for parameters without such a modulus.
    """
    plain = _plain_modulus(coefficients, parameters)
    modulus = math.prod(parameters.moduli)
    values = coefficients % plain
    # floor(Q / t) m + floor(((Q mod t) m + floor((t + 1) / 2)) / t); the products stay below 2^62.
    whole = reduce_signed(values, moduli=parameters.moduli)
    factors = np.array([modulus // plain % prime for prime in parameters.moduli], dtype=np.uint32)
    spread = np.repeat(factors[:, None], values.shape[-1], axis=1)
    rest = (values * (modulus % plain) + (plain + 1) // 2) // plain
    return add(
        multiply(whole, spread, moduli=parameters.moduli),
        reduce_signed(rest, moduli=parameters.moduli),
        moduli=parameters.moduli,
    )


def add_plain(ciphertexts: Residues, coefficients: Integers, parameters: Parameters) -> Residues:
    """Ciphertexts with plaintexts added to their messages: no noise beyond a rounding.

    Args:
        ciphertexts: [..., parts, limbs, degree], in coefficient form.
        coefficients: [..., degree], the same leading axes or none.
        parameters: with a plain modulus below 2^31.

    Raises:
        TypeError, ValueError: as `scaled`, or for shapes that do not fit.
    """
    out = ciphertexts.copy()
    first = np.ascontiguousarray(ciphertexts[..., 0, :, :])
    out[..., 0, :, :] = add(first, scaled(coefficients, parameters), moduli=parameters.moduli)
    return out


def _plain_modulus(values: Integers, parameters: Parameters) -> int:
    if values.dtype != np.int64 or values.ndim < 1:
        raise TypeError("plaintexts must be arrays of 64-bit integers")
    plain = parameters.plain_modulus
    if plain is None or plain >= LARGEST_PRIME or values.shape[-1] != parameters.degree:
        raise ValueError(f"plaintexts are [..., {parameters.degree}] modulo less than 2^31")
    return plain


def _places(values: Integers, plain_modulus: int) -> npt.NDArray[np.int64]:
    if values.dtype != np.int64 or values.ndim < 1:
        raise TypeError("slots and coefficients must be arrays of 64-bit integers")
    if not has_slots(plain_modulus, values.shape[-1]):
        raise ValueError(f"a plain modulus of {plain_modulus} gives no slots in degree {values.shape[-1]}")
    return slot_places(values.shape[-1])


@lru_cache(maxsize=8)
def slot_places(degree: int) -> npt.NDArray[np.int64]:
    """Where each slot's value stands among the evaluations of `wardline.he.kernels.transform`; read-only.

    Slot i of the first row is the value at root^(3^i), that of the second row at root^(-3^i).

    References: SEAL 4.1, BatchEncoder; Gentry, Halevi and Smart 2012 (Fully homomorphic encryption with polylog
    overhead), on the group of rotations.
    """
    order, half = 2 * degree, degree // 2
    exponents = np.empty(degree, dtype=np.int64)
    power = 1
    for i in range(half):
        exponents[i], exponents[half + i] = power, order - power
        power = power * 3 % order
    places: npt.NDArray[np.int64] = transform.reversed_bits(degree.bit_length() - 1)[exponents >> 1]
    places.flags.writeable = False
    return places


def _centred(values: npt.NDArray[np.uint32], plain_modulus: int) -> Integers:
    wide = values.astype(np.int64)
    np.subtract(wide, plain_modulus, out=wide, where=wide > plain_modulus // 2)
    return wide
