"""What a scheme computes in: ring, moduli and scheme, never beyond the table that keeps 128 bits of security."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from wardline.core import canonical_json
from wardline.core.errors import IntegrityError

Scheme: TypeAlias = Literal["bfv", "ckks"]
SCHEMES: tuple[Scheme, ...] = ("bfv", "ckks")

MOST_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""The most bits that all moduli of a ring may have together, for 128 bits against classical attackers.

References: Albrecht et al. 2018 (Homomorphic Encryption Standard), table 1, ternary secrets.
"""

LARGEST_PRIME = 1 << 31
"""Every modulus is below, so that a product of two residues and a sum of several fit 64 bits."""

_WITNESSES = (2, 3, 5, 7)  # decide every number below 3,215,031,751 (Jaeschke 1993)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """A ring of polynomials modulo X^degree + 1 and a product of primes, and the scheme that encrypts in it.

    Attributes:
        scheme: ``bfv`` for exact integers, ``ckks`` for real numbers.
        degree: of the ring, a power of two from 1024 to 32768. A ciphertext holds as many coefficients, and half as
            many slots of CKKS.
        moduli: distinct primes below 2^31, each one more than a multiple of twice the degree; the last one is dropped
            first.
        special: one more such prime, in which keys are switched; None where none are.
        plain_modulus: of BFV's integers, from 2, below 2^60 and below the product of the moduli; None for CKKS.

    Raises:
        ValueError: for anything else, or more bits than `MOST_BITS` allows.

    Guarantee: with SEAL's distributions (ternary secrets, errors of standard deviation 3.2) the best attacks that the
    standard knew take at least 2^128 operations. It speaks of secrecy alone: not of who sent a ciphertext, of what a
    reply says about the model, or of CKKS results that are shown unrounded (Li and Micciancio 2021).
    """

    scheme: Scheme
    degree: int
    moduli: tuple[int, ...]
    special: int | None = None
    plain_modulus: int | None = None

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}")
        if self.degree not in MOST_BITS:
            raise ValueError(f"the ring's degree must be one of {', '.join(map(str, MOST_BITS))}")
        if not self.moduli or len(set(self.primes)) != len(self.primes):
            raise ValueError("moduli must be distinct, at least one")
        for prime in self.primes:
            if not (2 * self.degree < prime < LARGEST_PRIME and prime % (2 * self.degree) == 1 and is_prime(prime)):
                raise ValueError(f"{prime} is no prime below 2^31 of the form k * {2 * self.degree} + 1")
        if (self.plain_modulus is not None) is not (self.scheme == "bfv"):
            raise ValueError("bfv needs a plain modulus, and ckks has none")
        if self.plain_modulus is not None and not 2 <= self.plain_modulus < min(1 << 60, math.prod(self.moduli)):
            raise ValueError("the plain modulus must be 2 or more, below 2^60 and below the product of the moduli")
        if self.bits > MOST_BITS[self.degree]:
            raise ValueError(
                f"{self.bits} bits of moduli in a ring of degree {self.degree} fall short of 128 bits of security; "
                f"it bears {MOST_BITS[self.degree]}"
            )

    @property
    def primes(self) -> tuple[int, ...]:
        """All primes, the special one last."""
        return self.moduli if self.special is None else (*self.moduli, self.special)

    @property
    def bits(self) -> int:
        """Bits of the product of all primes."""
        return math.prod(self.primes).bit_length()

    @property
    def slots(self) -> int:
        """Numbers that one plaintext holds: coefficients for BFV, slots for CKKS."""
        return self.degree if self.scheme == "bfv" else self.degree // 2

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal: what keys, models and ciphertexts are bound to."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The parameters as JSON values."""
        return {
            "scheme": self.scheme,
            "degree": self.degree,
            "moduli": list(self.moduli),
            "special": self.special,
            "plain_modulus": self.plain_modulus,
        }

    @classmethod
    def from_json(cls, found: Any) -> Parameters:
        """Read `to_json` back.

        Raises:
            IntegrityError: for anything that it would not have written.
        """
        names = ("scheme", "degree", "moduli", "special", "plain_modulus")
        if not isinstance(found, dict) or set(found) != set(names) or not isinstance(found["moduli"], list):
            raise IntegrityError("these are no encryption parameters")
        integers = [
            found["degree"],
            *found["moduli"],
            *(one for one in (found["special"], found["plain_modulus"]) if one),
        ]
        if any(type(one) is not int for one in integers) or len(integers) > 64:
            raise IntegrityError("encryption parameters must be integers")
        try:
            return cls(**{**found, "moduli": tuple(found["moduli"])})
        except (ValueError, TypeError) as error:
            raise IntegrityError(f"these encryption parameters are refused: {error}") from error


def find_primes(degree: int, bits: tuple[int, ...]) -> tuple[int, ...]:
    """Distinct primes that suit a ring, each the largest left with its number of bits.

    Args:
        degree: of the ring.
        bits: of each prime, at most 31.

    Raises:
        ValueError: if there are not enough.
    """
    step = 2 * degree
    found: list[int] = []
    for size in bits:
        candidate = ((1 << min(size, 31)) - 2) // step * step + 1
        while candidate in found or not is_prime(candidate):
            candidate -= step
            if candidate <= 1 << (size - 1):
                raise ValueError(f"a ring of degree {degree} has too few primes of {size} bits")
        found.append(candidate)
    return tuple(found)


def is_prime(number: int) -> bool:
    """Whether a number below 2^31 is prime, without a doubt.

    References: Jaeschke 1993 (On strong pseudoprimes to several bases).
    """
    if number < 2:
        return False
    for small in _WITNESSES:
        if number % small == 0:
            return number == small
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_strong(pow(base, odd, number), number, twos) for base in _WITNESSES)


def _strong(power: int, number: int, twos: int) -> bool:
    if power in (1, number - 1):
        return True
    return any((power := power * power % number) == number - 1 for _ in range(twos - 1))
