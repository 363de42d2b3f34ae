"""Which mechanism to take: the one of least variance for the size of the domain and epsilon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from wardline.core.checks import at_least
from wardline.dp.local.hadamard import HadamardResponse
from wardline.dp.local.numeric import Method, NumericResponse
from wardline.dp.local.responses import RandomisedResponse
from wardline.dp.local.unary import MOST_BITS, UnaryEncoding

Frequency: TypeAlias = RandomisedResponse | UnaryEncoding | HadamardResponse
"""The mechanisms for one of several values and a single report."""

ALIKE = 1.01
"""Variances within one per cent of each other count as equal; then the shorter report decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A mechanism, and what it would do.

    Attributes:
        name: in words.
        mechanism: itself.
        rmse: the standard error of a count, on average over the values, in persons.
        report_bytes: the length of one report.
    """

    name: str
    mechanism: Frequency
    rmse: float
    report_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The mechanism of least variance, and why.

    Attributes:
        mechanism: the chosen one.
        reason: in a sentence or two.
        candidates: all that were considered, the best first.
    """

    mechanism: Frequency
    reason: str
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        return self.reason


def candidates(*, size: int, epsilon: float, people: int) -> tuple[Candidate, ...]:
    """All mechanisms for one of `size` values, the one of least variance first.

    Raises:
        ValueError: for a figure out of range.
    """
    at_least("people", people, 1)
    made: dict[str, Frequency] = {
        "randomised response": RandomisedResponse(size=size, epsilon=epsilon),
        "Hadamard response": HadamardResponse(size=size, epsilon=epsilon),
    }
    if size <= MOST_BITS:
        made["optimised unary encoding"] = UnaryEncoding(size=size, epsilon=epsilon)
        made["symmetric unary encoding"] = UnaryEncoding(size=size, epsilon=epsilon, flips="symmetric")
    found = [
        Candidate(
            name=name,
            mechanism=one,
            rmse=math.sqrt(one.mean_variance(people)),
            report_bytes=one.report_bytes,
        )
        for name, one in made.items()
    ]
    return tuple(sorted(found, key=lambda one: (one.rmse, one.report_bytes)))


def choose(*, size: int, epsilon: float, people: int) -> Choice:
    """The mechanism of least variance for counting how many persons have each of `size` values.

    Nothing here depends on data. Variances are averages over the values, so that they do not depend on who has which.

    Args:
        size: how many values there are, from 2 to 2**24.
        epsilon: what one report may tell, from 2**-20 to 64.
        people: how many persons are expected to report, at least 1; it scales all errors alike and decides nothing.

    Raises:
        ValueError: for a figure out of range.
    """
    found = candidates(size=size, epsilon=epsilon, people=people)
    alike = [one for one in found if one.rmse**2 <= ALIKE * found[0].rmse ** 2]
    best = min(alike, key=lambda one: (one.report_bytes, one.rmse))
    others = [one for one in found if one is not best]
    nearest = others[0]
    if nearest.rmse <= best.rmse:
        why = f"{nearest.name} has as little, but takes {nearest.report_bytes:,} bytes"
    else:
        more = 100 * (nearest.rmse**2 / best.rmse**2 - 1)
        why = f"{nearest.name} comes next with {more:.0f} % more variance"
    reason = (
        f"{best.name}: with {size:,} values and epsilon {epsilon:g} it has the least variance; {why}. With {people:,} "
        f"persons a count has a standard error of about {best.rmse:,.0f} persons ({best.rmse / people:.2%} of all); "
        f"a report takes {best.report_bytes:,} bytes."
    )
    return Choice(mechanism=best.mechanism, reason=reason, candidates=found)


def choose_numeric(*, lower: float, upper: float, epsilon: float) -> NumericResponse:
    """The mechanism for a mean whose largest variance over all numbers is least.

    The hybrid is never worse than its parts; where it consists of one of them, that one is taken.

    Raises:
        ValueError: for a figure out of range.
    """
    methods: tuple[Method, ...] = ("duchi", "piecewise", "hybrid")
    made = [NumericResponse(lower=lower, upper=upper, epsilon=epsilon, method=one) for one in methods]
    least = min(one.worst_variance for one in made)
    return next(one for one in made if one.worst_variance <= least * (1 + 1e-9))
