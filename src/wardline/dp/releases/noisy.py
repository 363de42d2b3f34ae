"""Exact numbers with their noise, and weighted sums of them with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wardline.dp.releases.measures import Measure
from wardline.dp.releases.noise import FloatArray, Noise

MISS = 0.05
"""The probability with which an interval of a release may miss: 1 - 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noisy:
    """A measure's numbers after noise was added. From here on, everything is computed from published figures alone.

    Attributes:
        measure: what the numbers are.
        noise: what was added to each of them.
        values: of shape (groups, numbers).
        shrink: by which factor consistency with totals reduced the standard deviation, per group; None for raw ones.
    """

    measure: Measure
    noise: Noise
    values: FloatArray = field(repr=False)
    shrink: FloatArray | None = field(default=None, repr=False)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.values.shape[0])

    def spread(self, numbers: int, *, miss: float) -> FloatArray:
        """Standard deviation times factor for weighted sums of `numbers` figures, per group; see `intervals`."""
        width = self.noise.factor(miss) * self.noise.padded_std(numbers, miss=miss)
        return np.full(self.groups, width) if self.shrink is None else width * self.shrink

    def term(self, weights: Sequence[float]) -> Term:
        """A weighted sum of each group's numbers."""
        return Term(noisy=self, weights=tuple(float(weight) for weight in weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A weighted sum of each group's numbers of one measure."""

    noisy: Noisy
    weights: tuple[float, ...]

    @property
    def value(self) -> FloatArray:
        """Its value, per group."""
        return np.asarray(self.noisy.values @ np.array(self.weights), dtype=np.float64)

    @property
    def std(self) -> FloatArray:
        """The standard deviation of its noise, per group."""
        std = self.noisy.noise.std * float(np.linalg.norm(self.weights))
        return np.full(self.noisy.groups, std) if self.noisy.shrink is None else std * self.noisy.shrink

    def half_width(self, *, miss: float = MISS) -> FloatArray:
        """A distance from the exact value that it keeps with probability 1 - `miss`, per group."""
        if self.noisy.shrink is None:
            return np.full(self.noisy.groups, self.noisy.noise.half_width(self.weights, miss=miss))
        used = [weight for weight in self.weights if weight]
        return float(np.linalg.norm(used)) * self.noisy.spread(len(used), miss=miss)


def mixed(terms: Sequence[Term], *, miss: float = MISS) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The best mixture of independent estimates of the same figures: value, standard deviation and half width.

    Args:
        terms: at least one.
        miss: the probability with which the half width may be exceeded.
    """
    if len(terms) == 1:
        return terms[0].value, terms[0].std, terms[0].half_width(miss=miss)
    # Noise so narrow that it is nearly always 0 has a deviation near 0; a floor keeps the weights finite.
    precisions = [1.0 / np.square(np.maximum(term.std, 1e-9)) for term in terms]
    shares = [one / sum(precisions) for one in precisions]
    value = sum(share * term.value for share, term in zip(shares, terms, strict=True))
    std = np.sqrt(sum(np.square(share * term.std) for share, term in zip(shares, terms, strict=True)))
    # Half widths of the parts include what rounding adds; one that is wider than its deviation explains stays so.
    wide = np.sqrt(
        sum(np.square(share * term.half_width(miss=miss)) for share, term in zip(shares, terms, strict=True))
    )
    return np.asarray(value), np.asarray(std), np.asarray(wide)
