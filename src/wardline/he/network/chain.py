"""Groups of primes that are dropped together, so that a scale need not be as small as a prime."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardline.he.parameters import MOST_BITS, Parameters, find_primes

PRIME_BITS = 31
"""Of the largest primes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Primes and scales.

    A step is a layer's linear map, or the first of its two products where its polynomial has degree 3 or 4.

    Attributes:
        parameters: whose moduli are those of a reply, those that are dropped after flooding, those of the last step,
            and so on to those of the first step.
        reply: how many are left in a reply.
        flooded: how many are dropped after flooding.
        dropped: how many each step drops.
        input_scale: of fresh ciphertexts.
        scales: of each step's results.
    """

    parameters: Parameters
    reply: int
    flooded: int
    dropped: tuple[int, ...]
    input_scale: float
    scales: tuple[float, ...]

    def limbs(self, step: int) -> int:
        """How many moduli a step's sums or products are computed in."""
        return len(self.parameters.moduli) - sum(self.dropped[:step])


class Finder:
    """Distinct primes for a chain, group by group, from the first that is dropped to the last."""

    def __init__(self, degree: int, *, special: bool) -> None:
        self.counts: list[int] = []
        self._degree = degree
        self._special = special
        self._sizes: tuple[int, ...] = (PRIME_BITS,)  # the first and largest is the special one

    def take(self, sizes: tuple[int, ...]) -> int:
        """The product of a further group of primes.

        Raises:
            ValueError: if there are too few, or they have more bits than are secure.
        """
        if sum(self._sizes) + sum(sizes) > MOST_BITS[self._degree] + PRIME_BITS:
            raise ValueError("more bits than are secure")
        self._sizes = (*self._sizes, *sizes)
        self.counts.append(len(sizes))
        return math.prod(find_primes(self._degree, self._sizes)[len(self._sizes) - len(sizes) :])

    def parameters(self) -> Parameters:
        """Of all groups, the last one first, each of them turned round: moduli are dropped from the end."""
        special, *moduli = find_primes(self._degree, self._sizes)
        return Parameters(
            scheme="ckks",
            degree=self._degree,
            moduli=tuple(reversed(moduli)),
            special=special if self._special else None,
        )


def split(bits: int, fewest: int, *, at_least: bool = False) -> tuple[int, ...]:
    """Sizes of as few primes as have so many bits together; of fewer or more bits where none are so small."""
    count = -(-bits // PRIME_BITS)
    if bits < count * fewest:
        if at_least:
            return (fewest,) * max(count, 1)
        return (PRIME_BITS,) * (count - 1)
    return tuple(bits // count + (index < bits % count) for index in range(count))
