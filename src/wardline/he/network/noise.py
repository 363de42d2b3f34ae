"""What encryption adds to a network's numbers, and how far it travels.

Noise is described by the standard deviation of a coefficient over the scale of the message, so in units of the numbers
themselves. A product with a polynomial whose slots are at most M makes it at most M times as large (Parseval); a slot
is a sum of all coefficients, and sees sqrt(degree / 2) times a coefficient's deviation in its real part.

References: Cheon, Kim, Kim, Song 2017 (CKKS); Costache, Curtis, Hales, Murphy, Ogilvie, Player 2022 (average-case
noise of CKKS, whose independence of rounding errors is assumed here too).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wardline.he.network.stages import Floats, Stage

TAIL = 9.0
"""Noise is taken to stay within so many standard deviations: beyond lies a normal number once in 4e18 draws."""

SLOT_TAIL = 20.0
"""The same for a slot. Rounding noise meets the secret, whose value at a slot is close to a normal number itself, so
that a slot's noise has the tail of Laplace's distribution: beyond lies exp(-20 sqrt(2)), less than 2^-40. A coefficient
is a sum of thousands of bounded terms, and has no such tail.
"""

FRESH = math.sqrt(10.5)
"""Standard deviation of SEAL's errors."""

HEADROOM = 2.0**-6
"""Share of a number's reach that its noise may have, so that squares of noise are covered by the bounds."""

SMALLEST = 1 / 8
"""Numbers that reach less than this share of what the layer's largest one does are taken to reach so far."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gains:
    """By which factors noise grows from where it arises to what a stage's linear map gives.

    Attributes:
        bound: squared, for any row within the ranges, of all noises of one place together: [outputs].
        typical: squared, over rows like the sample's: [outputs].
    """

    bound: Floats
    typical: Floats


def rescaling(degree: int) -> float:
    """Deviation of a coefficient after two parts were divided and rounded, the secret being ternary."""
    return math.sqrt((1 + 2 / 3 * degree) / 12)


def relinearising(degree: int, limbs: int) -> float:
    """Deviation of a coefficient that switching s^2 to s adds, with no prime above the special one.

    Each limb is a digit that is uniform below its prime, and meets an error of its own.
    """
    digits = limbs * degree / 3 * FRESH**2
    return math.sqrt(digits + rescaling(degree) ** 2)


def in_slots(deviation: float, degree: int) -> float:
    """Deviation of a slot's real part, of independent coefficients of a deviation."""
    return deviation * math.sqrt(degree / 2)


def gains_of(stages: tuple[Stage, ...], reach: tuple[Floats, ...], rows: Floats) -> tuple[tuple[Gains, ...], ...]:
    """For each stage, how noise of the inputs, of the first stage's result, and so on arrives at its result.

    Args:
        stages: as they are computed.
        reach: the largest absolute values of each linear map's results, [outputs] each.
        rows: typical inputs [rows, inputs].

    Returns:
        For stage l (from 0) l + 2 gains: of the inputs first, last of what is added to the stage's own result.
    """
    bounds: list[Floats] = [np.abs(stages[0].weights)]
    signed: list[Floats] = [stages[0].weights[None]]
    values = stages[0].linear(rows)
    found: list[tuple[Gains, ...]] = []
    for index, stage in enumerate(stages):
        own = np.eye(len(stage.offset))
        bounds.append(own)
        signed.append(own[None])
        found.append(
            tuple(
                Gains(bound=(bound**2).sum(axis=1), typical=(one**2).sum(axis=2).mean(axis=0))
                for bound, one in zip(bounds, signed, strict=True)
            )
        )
        if index + 1 == len(stages):
            break
        following, slope = stages[index + 1], stage.slope or 0.0
        steepest = 2 * reach[index] + allowance(reach[index]) + abs(slope)
        bounds = [(np.abs(following.weights) * steepest) @ bound for bound in bounds]
        slopes = following.weights * (2 * values + slope)[:, None]
        signed = [slopes @ one for one in signed]
        values = following.linear(stage.bend(values))
    return tuple(found)


def allowance(reach: Floats) -> Floats:
    """The largest noise that numbers may have before they are squared, for numbers that reach so far."""
    return np.asarray(HEADROOM * np.maximum(reach, SMALLEST * float(reach.max())), dtype=np.float64)


def total(gains: tuple[Gains, ...], deviations: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Deviations of a coefficient at a stage's result, [outputs]: for any row within the ranges, and typical ones."""
    bound = sum(one.bound * deviation**2 for one, deviation in zip(gains, deviations, strict=True))
    typical = sum(one.typical * deviation**2 for one, deviation in zip(gains, deviations, strict=True))
    return np.sqrt(np.asarray(bound)), np.sqrt(np.asarray(typical))


def rounding_bounds(exact: tuple[Stage, ...], rounded: tuple[Stage, ...], reach: tuple[Floats, ...]) -> Floats:
    """How far rounded weights can move the last result for rows within the ranges, [outputs].

    Args:
        exact: the stages.
        rounded: the same with weights and offsets as they are computed.
        reach: of inputs, then of every linear map's results.
    """
    off = np.zeros(exact[0].weights.shape[1])
    limit = reach[0]
    for index, (stage, other) in enumerate(zip(exact, rounded, strict=True)):
        changed = np.abs(stage.weights - other.weights) @ limit + np.abs(stage.offset - other.offset)
        off = np.abs(other.weights) @ off + changed
        if stage.slope is not None:
            largest = reach[index + 1]
            off = off * (2 * largest + abs(stage.slope) + off)
            limit = largest * (largest + abs(stage.slope))
    return np.asarray(off, dtype=np.float64)
