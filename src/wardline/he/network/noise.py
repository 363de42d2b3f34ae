"""What encryption adds to a network's numbers, and how far it travels.

Noise is described by the standard deviation of a coefficient over the scale of the message, so in units of the numbers
themselves. A product with a polynomial whose slots are at most M makes it at most M times as large (Parseval); a slot
is a sum of all coefficients, and sees sqrt(degree / 2) times a coefficient's deviation in its real part.

References: Cheon, Kim, Kim, Song 2017 (CKKS); Costache, Curtis, Hales, Murphy, Ogilvie, Player 2022 (average-case
noise of CKKS, whose independence of rounding errors is assumed here too).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.polynomial import polyder, polyroots, polyval

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
    """By which factors noise grows from where it arises to what a step gives: a linear map, or a first product.

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

    Each limb is a digit that is uniform below its prime, and meets an error of its own. Digits are not centred, as in
    SEAL: in the few slots whose roots stand next to 1 their mean adds up to 1.1 sqrt(degree) times as much. Primes of
    20 bits and more are dropped right behind, so that it stays far below what rounding adds.
    """
    digits = limbs * degree / 3 * FRESH**2
    return math.sqrt(digits + rescaling(degree) ** 2)


def in_slots(deviation: float, degree: int) -> float:
    """Deviation of a slot's real part, of independent coefficients of a deviation."""
    return deviation * math.sqrt(degree / 2)


def gains_of(stages: tuple[Stage, ...], reach: tuple[Floats, ...], rows: Floats) -> tuple[tuple[Gains, ...], ...]:
    """For each step, how noise of the inputs, of the first step's result, and so on arrives at its result.

    Steps are the stages' linear maps in order, each followed by its first product u where its polynomial has two.

    Args:
        stages: as they are computed.
        reach: the largest absolute values of each linear map's results, [outputs] each.
        rows: typical inputs [rows, inputs].

    Returns:
        For step l (from 0) l + 2 gains: of the inputs first, last of what is added to the step's own result.
    """
    bounds: list[Floats] = [np.abs(stages[0].weights)]
    signed: list[Floats] = [stages[0].weights[None]]
    values = stages[0].linear(rows)
    found: list[tuple[Gains, ...]] = []
    for index, stage in enumerate(stages):
        own = np.eye(len(stage.offset))
        bounds.append(own)
        signed.append(own[None])
        found.append(_gains(bounds, signed))
        if index + 1 == len(stages):
            break
        following, slope = stages[index + 1], stage.slope or 0.0
        inner = 2 * reach[index] + allowance(reach[index]) + abs(slope)
        if stage.second is None:
            bounds = [(np.abs(following.weights) * inner) @ bound for bound in bounds]
            slopes = following.weights * (2 * values + slope)[:, None]
            signed = [slopes @ one for one in signed]
        else:
            at = (2 * values + slope)[:, :, None]
            found.append(
                _gains([*(inner[:, None] * one for one in bounds), own], [*(at * one for one in signed), own[None]])
            )
            steepest, of_first = steepness(stage, reach[index])
            bounds = [(np.abs(following.weights) * steepest) @ bound for bound in bounds]
            bounds.append(np.abs(following.weights) * of_first)
            slopes = following.weights * polyval(values, _derivative(stage, 1))[:, None]
            signed = [slopes @ one for one in signed]
            at_first = values if stage.degree == 3 else 2 * values * (values + slope) + stage.second.factor
            signed.append(following.weights * at_first[:, None])
        values = following.linear(stage.bend(values))
    return tuple(found)


def _gains(bounds: list[Floats], signed: list[Floats]) -> tuple[Gains, ...]:
    return tuple(
        Gains(bound=(bound**2).sum(axis=1), typical=(one**2).sum(axis=2).mean(axis=0))
        for bound, one in zip(bounds, signed, strict=True)
    )


def steepness(stage: Stage, reach: Floats) -> tuple[Floats, Floats]:
    """By what noise of numbers y, and noise of the first product u of them, is multiplied at most on its way through.

    With noise e of y and m of u a polynomial of two products becomes p(y + e) + (...) m. The first difference is
    e times p'(y) + e p''(y) / 2 + ..., noise in slots being complex; what m meets is y + e for degree 3, and for degree
    4 twice u(y + e), plus m and the factor of u.

    Args:
        stage: with a second product.
        reach: the largest absolute values of y, [outputs]; e and m are below their `allowance`.

    Returns:
        [outputs] each.
    """
    assert stage.slope is not None and stage.second is not None
    far = allowance(reach)
    steepest = np.zeros(len(reach))
    for order in range(1, stage.degree + 1):
        steepest += far ** (order - 1) * largest_size(_derivative(stage, order), reach) / math.factorial(order)
    if stage.degree == 3:
        return steepest, reach + far
    product = first_reach(stage, reach)
    moved = product + far * (2 * reach + abs(stage.slope) + far)
    return steepest, 2 * moved + allowance(product) + abs(stage.second.factor)


def _derivative(stage: Stage, order: int) -> Floats:
    return np.asarray(polyder(np.array(stage.powers), order), dtype=np.float64)


def first_reach(stage: Stage, reach: Floats) -> Floats:
    """The largest absolute values of the first product y^2 + s y, for y that reach so far."""
    return np.asarray(reach * (reach + abs(stage.slope or 0.0)), dtype=np.float64)


def largest_size(powers: Sequence[float] | Floats, reach: Floats) -> Floats:
    """The largest absolute values of a polynomial between -reach and reach, for each of the reaches.

    Its last coefficient must not be near 0.
    """
    most = np.maximum(np.abs(polyval(reach, powers)), np.abs(polyval(-reach, powers)))
    for root in polyroots(polyder(powers)) if len(powers) > 2 else ():
        # A double root may come out with an imaginary part: its real part is as good. Others are met at the ends.
        here = np.abs(polyval(np.clip(root.real, -reach, reach), powers))
        most = np.maximum(most, here)
    return np.asarray(most, dtype=np.float64)


def allowance(reach: Floats) -> Floats:
    """The largest noise that numbers may have before they are squared, for numbers that reach so far."""
    return np.asarray(HEADROOM * np.maximum(reach, SMALLEST * float(reach.max())), dtype=np.float64)


def total(gains: tuple[Gains, ...], deviations: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Deviations of a coefficient at a step's result, [outputs]: for any row within the ranges, and typical ones."""
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
        largest = reach[index + 1]
        if stage.second is not None:
            moved = np.zeros(len(off))
            for order in range(1, stage.degree + 1):
                moved += off**order * largest_size(_derivative(stage, order), largest) / math.factorial(order)
            off = moved
            limit = largest_size(stage.powers, largest)
        elif stage.slope is not None:
            off = off * (2 * largest + abs(stage.slope) + off)
            limit = largest * (largest + abs(stage.slope))
    return np.asarray(off, dtype=np.float64)
