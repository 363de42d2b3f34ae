"""How much noise is in an encrypted answer, before anything is computed.

A ciphertext is c(s) = (Q / t) m + v modulo Q, and decrypts as long as |v| < Q / (2 t). Coefficients of v are sums of
thousands of nearly independent terms; what is computed here is their standard deviation s, and the bound is 2^4 s.

References: Costache and Smart 2016; Biasioli, Marcolla, Calderini and Mono 2023 (Improving and automating BFV
parameters selection: an average-case approach), on powers of the secret.
"""

from __future__ import annotations

import math

from wardline.he.parameters import Parameters

FRESH = 3.24
"""Standard deviation of SEAL's errors."""

TAIL_BITS = 4
"""No coefficient is farther from 0 than 2^4 standard deviations: for a Gaussian a chance below 2^-180 each."""

FLOOD_BITS = 40
"""By so many bits added noise is larger than the noise that it hides."""


def depth_of(filters: int) -> int:
    """How many products follow each other where so many filtered columns meet a value: a tree, then the value."""
    return 0 if filters == 0 else (filters - 1).bit_length() + 1


def noise_bits(parameters: Parameters, *, depth: int, terms: int, blocks: int) -> float:
    """Bits of the bound on the noise of a sum over blocks of products of sums, before anything is added to hide it.

    Args:
        parameters: of the encryption, with a plain modulus.
        depth: how many products follow each other.
        terms: the most fresh ciphertexts that are added up to one factor.
        blocks: how many products are added up.
    """
    assert parameters.plain_modulus is not None
    degree, plain = parameters.degree, parameters.plain_modulus
    # c0 + c1 s is Q times a polynomial k and the rest: k has this standard deviation, for a ternary secret.
    quotient = math.sqrt((1 + 2 * degree / 3) / 12)
    variance = FRESH**2 * terms + 1
    for level in range(1, depth + 1):
        # t (v1 k2 + v2 k1), and v1 m2 + v2 m1 for messages spread over all of the plain modulus. Noise of the level
        # before holds powers of the secret, which meet another one in k: s^j is larger than if factors were drawn anew,
        # by j! in its variance.
        variance = 2 * level * variance * degree * plain**2 * (quotient**2 + 1 / 12) + _relinearised(parameters)
    return math.log2(math.sqrt(variance * blocks)) + TAIL_BITS


def switched_bits(parameters: Parameters) -> float:
    """Bits of the bound on the noise that one change to a smaller modulus adds: a rounding, spread by the secret."""
    return math.log2(math.sqrt((1 + 2 * parameters.degree / 3) / 12)) + TAIL_BITS


def zero_bits(parameters: Parameters) -> float:
    """Bits of the bound on the noise of an encryption of zero under the public key."""
    return math.log2(FRESH * math.sqrt(4 * parameters.degree / 3 + 1)) + TAIL_BITS


def _relinearised(parameters: Parameters) -> float:
    """The variance that a product gets beside what its factors give: roundings, met by s^2, and the switched key."""
    assert parameters.special is not None
    degree, largest = parameters.degree, max(parameters.moduli)
    rounding = (1 + 2 * degree / 3 + 4 * degree**2 / 9) / 12
    switched = len(parameters.moduli) * degree * largest**2 / 3 * FRESH**2 / parameters.special**2
    return rounding + switched + (1 + 2 * degree / 3) / 12
