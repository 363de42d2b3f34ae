"""What a mechanism that touches the data costs: one class for each form in which a guarantee can be stated.

The neighbouring relation is everywhere the same: two data sets differ in one privacy unit that one of them has and
the other lacks (add or remove). An event says nothing about the data; it is what the ledger stores.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from wardline.core.canonical import to_json
from wardline.core.checks import positive

LEAST_ACCOUNTED = 0.01
"""The least noise multiplier of an event: below it a step costs an epsilon in the thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonGaussian:
    """Gaussian noise on a sum that every privacy unit joins with the same probability, independently of the others.

    Attributes:
        sample_rate: the probability with which a unit joins a step, in (0, 1]; 1 for a mechanism without sampling.
        noise_multiplier: standard deviation of the noise over the L2 sensitivity, at least 0.01.
        steps: how often it is applied, at least 1.

    Raises:
        ValueError: for a figure outside of its range.
        TypeError: for steps that are not a whole number.
    """

    kind: Literal["poisson-gaussian"] = field(default="poisson-gaussian", init=False, repr=False)
    sample_rate: float
    noise_multiplier: float
    steps: int = 1

    def __post_init__(self) -> None:
        check_sampling(self.sample_rate, self.noise_multiplier, self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PureDp:
    """Any mechanism that is epsilon-differentially private: the exponential mechanism, Laplace noise on a vector.

    Attributes:
        epsilon: above 0.
        steps: how often it is applied, at least 1.

    Raises:
        ValueError: for a figure outside of its range.
        TypeError: for steps that are not a whole number.
    """

    kind: Literal["pure"] = field(default="pure", init=False, repr=False)
    epsilon: float
    steps: int = 1

    def __post_init__(self) -> None:
        positive("epsilon", self.epsilon)
        check_steps(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteLaplace:
    """Discrete Laplace noise on ONE whole number that a privacy unit changes by at most the sensitivity.

    For a sensitivity of 1 this is exactly as costly as `PureDp` with epsilon 1 / scale. A larger sensitivity with a
    scale that is larger to the same degree costs less, because some outcomes then tell only a part of epsilon.

    Attributes:
        scale: of the noise, P(x) proportional to exp(-abs(x) / scale); in the steps of the whole number, above 0.
        sensitivity: how far a unit can move the number, in the same steps, at least 1.
        steps: how often it is applied, at least 1.

    Raises:
        ValueError: for a figure outside of its range.
        TypeError: for a sensitivity or steps that are not whole numbers.
    """

    kind: Literal["discrete-laplace"] = field(default="discrete-laplace", init=False, repr=False)
    scale: float
    sensitivity: int = 1
    steps: int = 1

    def __post_init__(self) -> None:
        positive("scale", self.scale)
        if isinstance(self.sensitivity, bool) or operator.index(self.sensitivity) < 1:
            raise ValueError(f"sensitivity must be at least 1, not {self.sensitivity}")
        positive("sensitivity / scale", self.sensitivity / self.scale)
        check_steps(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproximateDp:
    """Any mechanism that is (epsilon, delta)-differentially private, such as a private choice of groups.

    Attributes:
        epsilon: at least 0.
        delta: at least 0 and below 1.
        steps: how often it is applied, at least 1.

    Raises:
        ValueError: for a figure outside of its range.
        TypeError: for steps that are not a whole number.
    """

    kind: Literal["approximate"] = field(default="approximate", init=False, repr=False)
    epsilon: float
    delta: float
    steps: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise ValueError(f"epsilon must be a finite number of at least 0, not {self.epsilon}")
        if not 0 <= self.delta < 1:
            raise ValueError(f"delta must be at least 0 and below 1, not {self.delta}")
        check_steps(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroConcentrated:
    """Any mechanism that is rho-zero-concentrated differentially private, such as discrete Gaussian noise on a vector.

    Attributes:
        rho: above 0. Gaussian noise, continuous or discrete, of standard deviation sigma on a vector that a unit moves
            by at most L2 has L2**2 / (2 sigma**2).
        steps: how often it is applied, at least 1.

    Raises:
        ValueError: for a figure outside of its range.
        TypeError: for steps that are not a whole number.

    References:
        Bun and Steinke 2016 (definition 1.1); Canonne, Kamath and Steinke 2020 (theorem 4: the discrete Gaussian).
    """

    kind: Literal["zero-concentrated"] = field(default="zero-concentrated", init=False, repr=False)
    rho: float
    steps: int = 1

    def __post_init__(self) -> None:
        positive("rho", self.rho)
        check_steps(self.steps)


DpEvent: TypeAlias = PoissonGaussian | PureDp | DiscreteLaplace | ApproximateDp | ZeroConcentrated
"""What can stand in a ledger."""

_CLASSES: dict[str, type[DpEvent]] = {
    "poisson-gaussian": PoissonGaussian,
    "pure": PureDp,
    "discrete-laplace": DiscreteLaplace,
    "approximate": ApproximateDp,
    "zero-concentrated": ZeroConcentrated,
}


def event_to_json(event: DpEvent) -> dict[str, Any]:
    """The event as plain JSON values; ``kind`` tells which class it is."""
    return dict(to_json(event))


def event_from_json(value: Mapping[str, Any]) -> DpEvent:
    """The event that `event_to_json` wrote.

    Raises:
        ValueError: for an unknown kind, a key too many or too few, or a figure outside of its range.
        TypeError: for a figure that is no number.
    """
    kind = value.get("kind")
    made = _CLASSES.get(kind) if isinstance(kind, str) else None
    if made is None:
        raise ValueError(f"unknown kind of event: {kind!r}")
    expected = {one.name for one in fields(made)}
    if set(value) != expected:
        raise ValueError(f"an event of kind {kind} has the keys {', '.join(sorted(expected))} and no others")
    return made(**{name: figure for name, figure in value.items() if name != "kind"})


def check_steps(steps: int) -> None:
    """A whole number of at least 1, or `ValueError`; anything that is no whole number is a `TypeError`."""
    if isinstance(steps, bool) or operator.index(steps) < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")


def check_sampling(sample_rate: float, noise_multiplier: float, steps: int) -> None:
    """The figures of a `PoissonGaussian`, or `ValueError`."""
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate must lie above 0 and be at most 1, not {sample_rate}")
    if positive("noise_multiplier", noise_multiplier) < LEAST_ACCOUNTED:
        raise ValueError(f"noise_multiplier must be at least {LEAST_ACCOUNTED}: less noise protects nobody")
    check_steps(steps)
