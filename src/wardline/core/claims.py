"""The two values that everything turns on: what was promised, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from wardline.core.canonical import to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval.

    Attributes:
        low, high: its ends, in the unit of the figure.
        level: the confidence, in (0, 1), for example 0.95.
        method: how it was made, for example ``Clopper-Pearson``.
    """

    low: float
    high: float
    level: float
    method: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError("an interval has finite ends, the lower one first")
        if not 0 < self.level < 1:
            raise ValueError("the level of an interval lies between 0 and 1")

    def __str__(self) -> str:
        return f"[{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a protection guarantees.

    Attributes:
        id: stands for this claim within a run, for example ``dp.training``.
        quantity: the figure that is promised, for example ``epsilon``.
        value: its promised value.
        direction: whether the truth is promised to be at most, or at least, that value.
        statement: one sentence for a person who is not a specialist.
        adversary: whom it holds against.
        parameters: what it was computed from (finite numbers, text, flags).
        assumptions: what must be true for it to hold, one sentence each.
        reference: the theorem or standard that it rests on.
    """

    id: str
    quantity: str
    value: float
    direction: Literal["at_most", "at_least"]
    statement: str
    adversary: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    reference: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError("the value of a claim is finite")
        # Read back from a file, anything may stand here, and a direction that nobody knows would never be broken.
        if self.direction not in ("at_most", "at_least"):
            raise ValueError("a claim promises at_most or at_least a value")

    def __str__(self) -> str:
        sign = "<=" if self.direction == "at_most" else ">="
        return f"{self.id}: {self.quantity} {sign} {self.value:.4g}"

    def to_json(self) -> dict[str, Any]:
        """The claim as plain JSON values."""
        return dict(to_json(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The claim that `to_json` wrote."""
        return cls(**{**value, "assumptions": tuple(value["assumptions"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The positive control of a measurement: the same attack on a model that nothing protects.

    A measurement that finds nothing says something only if its attack finds something where there is
    something to find.

    Attributes:
        description: what was attacked instead, in a few words.
        value: the same figure, measured there.
        threshold: what the lower end of its interval had to exceed for the control to have worked.
        passed: whether it did.
    """

    description: str
    value: float
    interval: Interval | None = None
    threshold: float
    passed: bool

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and math.isfinite(self.threshold)):
            raise ValueError("the figures of a control are finite")
        if self.passed and not (self.interval.low if self.interval else self.value) > self.threshold:
            raise ValueError("a control that did not exceed its threshold has not passed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What an attack, an audit or a check found out.

    Attributes:
        id: stands for this measurement within a run, for example ``membership.lira``.
        quantity: the figure, for example ``epsilon`` or ``tpr_at_fpr_0.01``.
        value: the figure itself; for a lower bound, the bound. None if it was refused.
        bound: whether the truth is estimated by, at least, or at most, the value.
        interval: where the truth lies with stated confidence; every sampled figure has one.
        trials: how many independent trials it rests on.
        subject: what was measured: ``released``, ``audit twin`` or ``baseline``.
        bears_on: the id of the claim that it may contradict, if any.
        control: its positive control, if it needs one.
        refused: why there is no figure; empty otherwise.
        method: the attack or statistic, in a few words.
        reference: author, year, section.
        details: finite JSON values for charts and tables (ROC points, sizes, seed streams).
        seconds: how long it took.
    """

    id: str
    quantity: str
    value: float | None
    bound: Literal["estimate", "lower", "upper"] = "estimate"
    interval: Interval | None = None
    trials: int
    subject: str
    bears_on: str | None = None
    control: Control | None = None
    refused: str = ""
    method: str
    reference: str
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.refused):
            raise ValueError("a measurement has a value, or a reason why it was refused")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError("the value of a measurement is finite")
        if self.bound not in ("estimate", "lower", "upper"):
            raise ValueError("a measurement is an estimate, a lower or an upper bound")

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.id}: refused: {self.refused}"
        interval = f" {self.interval}" if self.interval else ""
        return f"{self.id}: {self.quantity} = {self.value:.4g}{interval} (n={self.trials}, {self.subject})"

    def to_json(self) -> dict[str, Any]:
        """The measurement as plain JSON values."""
        return dict(to_json(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The measurement that `to_json` wrote."""
        control = value["control"]
        if control is not None:
            control = Control(**{**control, "interval": _interval(control["interval"])})
        return cls(**{**value, "interval": _interval(value["interval"]), "control": control})


def _interval(value: Mapping[str, Any] | None) -> Interval | None:
    return None if value is None else Interval(**value)
