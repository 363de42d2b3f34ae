"""What noise costs and how much a budget buys: the one place where sensitivity becomes an accounting event.

All roundings go the safe way: an event says no less than the truth, a scale is no smaller than the budget demands.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

from wardline.core.checks import at_least, positive, probability
from wardline.dp.accounting.events import ApproximateDp, DiscreteLaplace, DpEvent, PureDp, ZeroConcentrated


def laplace_event(*, scale: float, linf: int, numbers: int = 1, l1: int | None = None) -> DpEvent:
    """The cost of `discrete_laplace` noise on whole numbers.

    Args:
        scale: of the noise.
        linf: how far one privacy unit can move any one number, at least 1.
        numbers: how many of them it can move, at least 1.
        l1: how far it can move all of them together, if that is less than `linf * numbers`.

    Returns:
        One event. Independent noise on k numbers composes like k releases of one number, which for a positive delta
        costs less than one release with the sum of all movements; where the sum is known to be smaller than k
        times the largest, the pure guarantee that follows from it is given.

    Raises:
        ValueError: for a figure out of range.

    References: Ghosh, Roughgarden and Sundararajan 2012; Dwork and Roth 2014, theorem 3.6.
    """
    positive("scale", scale)
    at_least("linf", linf, 1)
    at_least("numbers", numbers, 1)
    if l1 is not None and at_least("l1", l1, linf) < linf * numbers:
        return PureDp(epsilon=_up(Fraction(l1) / Fraction(scale)))
    return DiscreteLaplace(scale=scale, sensitivity=linf, steps=numbers)


def gaussian_event(*, sigma: float, l2_squared: float) -> DpEvent:
    """The cost of `discrete_gaussian` noise on a vector of whole numbers.

    Args:
        sigma: of the noise.
        l2_squared: how far one privacy unit can move the vector, in squared Euclidean norm; above 0. (The square is
            a whole number, its root is not.)

    Raises:
        ValueError: for a figure out of range.

    References: Canonne, Kamath and Steinke 2020, theorem 4.
    """
    positive("sigma", sigma)
    positive("l2_squared", l2_squared)
    return ZeroConcentrated(rho=_up(Fraction(l2_squared) / (2 * Fraction(sigma) ** 2)))


def choice_event(*, epsilon: float, as_: Literal["pure", "zero-concentrated"] = "pure") -> DpEvent:
    """The cost of one `exponential` choice.

    Args:
        epsilon: its parameter.
        as_: in which form. A choice has both guarantees; many choices cost less as ``zero-concentrated``.

    Raises:
        ValueError: for a figure out of range or an unknown form.

    References: McSherry and Talwar 2007; Cesar and Rogers 2021, lemma 3.1.
    """
    positive("epsilon", epsilon)
    if as_ == "pure":
        return PureDp(epsilon=epsilon)
    if as_ != "zero-concentrated":
        raise ValueError("a choice is accounted for as pure or as zero-concentrated")
    return ZeroConcentrated(rho=_up(Fraction(epsilon) ** 2 / 8))


def geometric_partition_event(*, epsilon: float, delta: float, groups: int = 1) -> DpEvent:
    """The cost of `geometric_partitions`, noisy counts included.

    Args:
        epsilon: its parameter, for each key of a unit.
        delta: likewise.
        groups: how many keys a unit has at most, at least 1.

    Raises:
        ValueError: for a figure out of range.

    References: Desfontaines, Voss, Gipson and Mandayam 2022, theorem 1 and section 4.
    """
    positive("epsilon", epsilon)
    probability("delta", delta)
    return ApproximateDp(epsilon=epsilon, delta=delta, steps=at_least("groups", groups, 1))


def gaussian_partition_events(*, sigma: float, delta: float, groups: int = 1) -> tuple[DpEvent, DpEvent]:
    """The cost of `gaussian_partitions`, noisy counts included.

    Args:
        sigma: its parameter.
        delta: likewise.
        groups: how many keys a unit has at most, at least 1.

    Raises:
        ValueError: for a figure out of range.

    References: Desfontaines, Voss, Gipson and Mandayam 2022, section 4; Swanberg, Desfontaines and Haney 2023.
    """
    probability("delta", delta)
    at_least("groups", groups, 1)
    return gaussian_event(sigma=sigma, l2_squared=groups), ApproximateDp(epsilon=0.0, delta=delta)


def scale_for(*, epsilon: float, l1: int) -> float:
    """The least scale of `discrete_laplace` noise with l1 / scale <= epsilon.

    Args:
        epsilon: above 0.
        l1: how far one privacy unit can move all numbers together, at least 1.

    Raises:
        ValueError: for a figure out of range.
    """
    positive("epsilon", epsilon)
    at_least("l1", l1, 1)
    return _up(Fraction(l1) / Fraction(epsilon))


def sigma_for(*, rho: float, l2_squared: float) -> float:
    """The least sigma of `discrete_gaussian` noise with l2_squared / (2 sigma**2) <= rho, up to rounding.

    Args:
        rho: above 0.
        l2_squared: how far one privacy unit can move the vector, in squared Euclidean norm; above 0.

    Raises:
        ValueError: for a figure out of range.
    """
    positive("rho", rho)
    positive("l2_squared", l2_squared)
    square = Fraction(l2_squared) / (2 * Fraction(rho))
    sigma = math.sqrt(square)
    while Fraction(sigma) ** 2 < square:
        sigma = math.nextafter(sigma, math.inf)
    return sigma


def _up(value: Fraction) -> float:
    """The least double that is not below `value`."""
    try:
        nearest = float(value)
    except OverflowError:
        raise ValueError("a figure beyond the range of numbers came out") from None
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)
