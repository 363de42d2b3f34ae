"""The exponential mechanism: a choice that prefers high scores and betrays little about any one unit."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom
from wardline.core.checks import at_least, positive
from wardline.dp.mechanisms._lazy import CERTAIN_BELOW, ERROR, LazyExponential, check_source, exponentials, revisit

_FAR = 1e9  # a candidate that is behind by so much can only be bounded from above


def exponential(
    scores: npt.NDArray[np.int64],
    *,
    epsilon: float,
    sensitivity: int,
    random: SecureRandom,
    monotonic: bool = False,
) -> int:
    """Choose one candidate, the i-th with probability proportional to exp(epsilon * scores[i] / (2 * sensitivity)).

    Args:
        scores: one whole number for each candidate, at least one candidate.
        epsilon: above 0, taken as the exact binary fraction that it is.
        sensitivity: how far one privacy unit can move any score, at least 1.
        random: where the choice comes from. Nothing that can be seeded is accepted.
        monotonic: whether adding a unit can only raise scores, or can only lower them, as with counts. Then the
            factor of two is not needed and is left out.

    Returns:
        The place of the chosen candidate.

    Raises:
        TypeError: for scores that are not whole numbers, or if `random` is not a `SecureRandom`.
        ValueError: for no scores, or a figure out of range.

    Guarantee:
        epsilon-differential privacy; and, because its privacy loss spans a range of epsilon rather than two,
        epsilon**2 / 8 zero-concentrated (`choice_event` gives either). The probabilities are exact in the sense of
        `discrete_laplace`.

    References:
        McSherry and Talwar 2007; Dong, Durfee and Rogers 2020 (bounded range); Cesar and Rogers 2021, lemma 3.1;
        Gumbel 1954 (the maximum of shifted Gumbel numbers).
    """
    check_source(random)
    positive("epsilon", epsilon)
    at_least("sensitivity", sensitivity, 1)
    scores = np.asarray(scores)
    if not np.issubdtype(scores.dtype, np.integer):
        raise TypeError("scores are whole numbers: rounding of fractions could tell a unit's presence")
    if scores.ndim != 1 or len(scores) == 0:
        raise ValueError("there is one score for each candidate, and at least one candidate")
    rate = Fraction(epsilon) / (sensitivity * (1 if monotonic else 2))
    # Differences modulo 2**64 are right even where signed ones would overflow.
    behind = scores.max().astype(np.uint64) - scores.astype(np.uint64)
    words, values = exponentials(len(scores), random)
    low, high = _key_bounds(values, behind, float(rate))
    contenders = np.flatnonzero(high >= low.max())
    if len(contenders) == 1:
        return int(contenders[0])
    race = [_Contender(int(one), rate * int(behind[one]), revisit(words[one], random)) for one in contenders]
    return _winner(race)


def _key_bounds(
    values: npt.NDArray[np.float64], behind: npt.NDArray[np.uint64], rate: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Between which numbers each candidate's key lies: minus rate * behind, plus a Gumbel number."""
    with np.errstate(over="ignore", divide="ignore"):
        deficit = np.minimum(rate * behind.astype(np.float64), _FAR)
        error = 2.0**-48 * (1.0 + deficit)
        high = -np.log(np.maximum(np.minimum(values, CERTAIN_BELOW) - ERROR, 0.0)) - deficit + error
        low = np.where(values < CERTAIN_BELOW, -np.log(values + ERROR) - deficit - error, -np.inf)
    low[deficit >= _FAR] = -np.inf
    return low, high


class _Contender:
    """A candidate whose key is looked at as closely as the others demand."""

    __slots__ = ("deficit", "number", "place")

    def __init__(self, place: int, deficit: Fraction, number: LazyExponential) -> None:
        self.place = place
        self.deficit = deficit
        self.number = number

    def bounds(self) -> tuple[Fraction, Fraction]:
        """Between which two numbers its key lies."""
        low, high = self.number.bounds()
        while low == 0:
            self.number.refine()
            low, high = self.number.bounds()
        return -_log(high, up=True) - self.deficit, -_log(low, up=False) - self.deficit


def _winner(race: list[_Contender]) -> int:
    """The candidate with the highest key."""
    while True:
        bounds = [one.bounds() for one in race]
        lowest = max(low for low, _ in bounds)
        race = [one for one, (_, high) in zip(race, bounds, strict=True) if high >= lowest]
        if len(race) == 1:
            return race[0].place
        for one in race:
            one.number.refine()


def _log(value: Fraction, *, up: bool) -> Fraction:
    digits = 40 + math.ceil(0.31 * value.denominator.bit_length())
    context = Context(prec=digits, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    # ln is rounded to nearest whatever the context says; two units in the last place cover that.
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    logarithm = Fraction(context.ln(quotient))
    slack = abs(logarithm) * Fraction(2, 10 ** (digits - 1))
    return logarithm + slack if up else logarithm - slack
