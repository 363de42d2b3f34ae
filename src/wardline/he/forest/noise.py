"""What products of bits add to the noise of a forest's ciphertexts.

Noise is v in c(s) = (Q / t) m + v. A product's is about t (k1(s) v2 + k2(s) v1), with c_i = Q k_i and coefficients of
k_i uniform in [-1/2, 1/2): t^2 degree (1 + 2 degree / 3) / 12 times the sum of both variances. Powers of the secret
have heavier coefficients than products of independent polynomials: s^l meets noise l! times as hard, which level l of
products multiplies by l. Noises of different products are uncorrelated: each meets uniform polynomials of its own.

References: Fan and Vercauteren 2012, lemma 2; Biasioli, Marcolla, Calderini, Mono 2023 (Improving and automating BFV
parameters selection: an average-case approach).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardline.he.forest.circuit import Circuit, Sum
from wardline.he.kernels.sampling import ERROR_BOUND
from wardline.he.parameters import MOST_BITS, Parameters

TAIL = 12.0
"""Noise is taken to stay within so many predicted standard deviations. Nine would do for 2^-40 a coefficient of normal
numbers; what is left is for the secret's powers, whose sizes differ from key to key.
"""

FRESH = math.sqrt(10.5)
"""Standard deviation of SEAL's errors."""

LEAST_LEFT = 0.1
"""Bits of room that a plan leaves at least, for what is not counted: a product of two noises, and roundings."""

FLOOD_BITS = 40
"""By so many bits the noise that a server adds is larger than the noise that tells of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much room noise takes.

    Attributes:
        bound: of an output's noise before it is switched down and flooded, the noisiest output's.
        flood_limbs: moduli that are left when the server's noise is added.
        flood_bits: that noise is uniform in [-2^flood_bits, 2^flood_bits).
        reply_limbs: moduli that are left in a reply.
        left_bits: room that is left in a reply: what is allowed over what there is, in bits, above 0.
    """

    bound: float
    flood_limbs: int
    flood_bits: int
    reply_limbs: int
    left_bits: float


def budget(parameters: Parameters, deviation: float) -> Budget | None:
    """The room that a circuit's noise takes, or None where the moduli are too small for it.

    An output is switched down before it is flooded, as far as it goes: noise shrinks with the modulus until rounding is
    all of it, and so does the noise that has to be added.

    Args:
        parameters: with a plain modulus.
        deviation: of the circuit's outputs, as `output_deviation` predicts it.
    """
    assert parameters.plain_modulus is not None
    degree, plain, moduli = parameters.degree, parameters.plain_modulus, parameters.moduli
    bound, every = TAIL * deviation, len(moduli)
    masked = 9 * FRESH * math.sqrt(4 * degree / 3 + 1) + 2 * ERROR_BOUND
    rounding = _rounding(degree)
    # In float64: bits of these products are far from its limits.
    products = [1.0] + [float(math.prod(moduli[: count + 1])) for count in range(every)]
    for flooded in range(1, every + 1):
        covered = _covered(parameters, bound, flooded)
        flood_bits = FLOOD_BITS + math.ceil(math.log2(covered))
        noise = 2.0**flood_bits + covered + masked
        for limbs in range(1, flooded + 1):
            total = noise * (products[limbs] / products[flooded]) + (rounding if limbs < flooded else 0.0)
            left = math.log2(products[limbs] / (2 * plain)) - math.log2(total)
            if left >= LEAST_LEFT:
                return Budget(
                    bound=bound, flood_limbs=flooded, flood_bits=flood_bits, reply_limbs=limbs, left_bits=left
                )
    return None


def least_flood_bits(parameters: Parameters, deviation: float, *, limbs: int) -> int:
    """Bits of the least noise that hides what tells of the model where so many moduli are left.

    Args:
        parameters: with a plain modulus.
        deviation: as of `budget`.
        limbs: from 1 to all of the moduli.
    """
    return FLOOD_BITS + math.ceil(math.log2(_covered(parameters, TAIL * deviation, limbs)))


def _covered(parameters: Parameters, bound: float, limbs: int) -> float:
    """The bound of an output's noise once it is switched down to so many moduli."""
    if limbs == len(parameters.moduli):
        return bound
    return bound / math.prod(map(float, parameters.moduli[limbs:])) + _rounding(parameters.degree)


def _rounding(degree: int) -> float:
    """Every modulus that is dropped adds a rounding, which the later ones divide: less than twice the last."""
    return 2 * (9 * math.sqrt((1 + 2 / 3 * degree) / 12) + 1)


def output_deviation(circuit: Circuit, *, degree: int, plain: int) -> float:
    """Predicted standard deviation of a coefficient's noise, of the noisiest output before it is flooded.

    Args:
        circuit: of the forest.
        degree: of the ring.
        plain: the plain modulus.
    """
    growth = float(plain) ** 2 * degree * (1 + 2 / 3 * degree) / 12
    rounded = (1 + 2 / 3 * degree + 8 / 9 * degree**2) / 12
    switched = relinearising(degree)
    fresh = FRESH**2 + 1 / 12
    total = [0.0] * len(circuit.constant)
    for block in circuit.blocks:
        variances = [fresh] * circuit.bits
        levels = [0] * circuit.bits
        for level, pairs in enumerate(block.products, start=1):
            new = [
                growth * level * (_of(left, variances) + _of(right, variances)) + rounded + switched
                for left, right in pairs
            ]
            variances += new
            levels += [level] * len(new)
        for output, linear in enumerate(block.linear):
            total[output] += _of(linear, variances)
            crossed = 0.0
            for wire, sums in block.last:
                right = sums[output]
                if len(right):
                    level = 1 + max(levels[wire], *(levels[one] for one in right.wires.tolist()))
                    crossed += growth * level * (variances[wire] + _of(right, variances))
            total[output] += crossed + (rounded + switched if crossed else 0.0)
    return math.sqrt(max(*total, fresh))


def relinearising(degree: int) -> float:
    """Variance that switching s^2 to s adds, with as many moduli as a ring bears and none above the special prime.

    A digit below each modulus meets an error of the key, and their sum is divided by the special prime.
    """
    return MOST_BITS[degree] / 24 * degree / 3 * FRESH**2 + (1 + 2 / 3 * degree) / 12


def _of(found: Sum, variances: list[float]) -> float:
    wires, weights = found.wires.tolist(), found.weights.tolist()
    return math.fsum(float(weight) ** 2 * variances[wire] for wire, weight in zip(wires, weights, strict=True))
