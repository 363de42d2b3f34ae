"""What an attack may spend, what it assumed, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wardline.attacks.protocol.target import Access
from wardline.core import Interval, Measurement, Verdict
from wardline.core.canonical import to_json
from wardline.core.checks import positive

RESOLUTION = 0.1
"""How far above what is tolerated the interval of a passing rate may reach: with fewer trials nobody could tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What an attack may spend, and from where on its success counts as a failure of the model.

    Attributes:
        queries: the most queries of this run, checks included; None for no end.
        seconds: the most time, in wall-clock seconds; None for no end. What time cuts off is not reproducible, and the
            result says that time cut it off.
        batch: how many examples are attacked at once, at least 1.
        tolerated: the success rate up to which the model has withstood, in [0, 1).
    """

    queries: int | None = None
    seconds: float | None = None
    batch: int = 128
    tolerated: float = 0.0

    def __post_init__(self) -> None:
        if self.queries is not None and self.queries < 1:
            raise ValueError("queries must be at least 1")
        if self.seconds is not None:
            positive("seconds", self.seconds)
        if self.batch < 1:
            raise ValueError("batch must be at least 1")
        if not 0 <= self.tolerated < 1:
            raise ValueError("tolerated must be at least 0 and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """Who attacks, and what they can do.

    Attributes:
        goal: what counts as success, in a few words.
        access: what the adversary sees of the model.
        limits: what the adversary can change, in a few words, for example ``linf at most 0.0314``.
        knowledge: what else the adversary is assumed to know or have (a prior, shadow data, the training recipe).
    """

    goal: str
    access: Access
    limits: str = ""
    knowledge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One reason to believe an attack's figure, or not to.

    Attributes:
        name: stands for it, for example ``zero-gradients``.
        outcome: pass if there is nothing to object; inconclusive if a low figure may be the attack's fault; fail if the
            figure cannot be used.
        detail: one sentence with the figures.
    """

    name: str
    outcome: Verdict
    detail: str


SERVICE_LOST = "service-lost"
"""The name of the check that says that a service failed in the middle."""


def service_lost(reason: str) -> Check:
    """Word of a service that failed in the middle: what was found stands, and nothing passes.

    Args:
        reason: the service's last fault, without anything secret.
    """
    detail = f"the service was lost, and what follows was not tried: {reason}"
    return Check(name=SERVICE_LOST, outcome=Verdict.INCONCLUSIVE, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackResult:
    """What one attack found on one target.

    Attributes:
        attack: its id, for example ``evasion.pgd``.
        threat: who attacked.
        paper: author, year, section.
        quantity: what `rate` is a rate of.
        n: trials, those alone that ran to their end.
        rate: the share of them in which the adversary succeeded; None if there was no trial.
        interval: its exact (Clopper-Pearson) interval, or the one named in it.
        chance: the rate that guessing reaches; an interval above it is a success of the attack.
        tolerated: the rate up to which the model counts as having withstood.
        queries, gradients: what the target was asked, checks included.
        checks: reasons to believe the figure or not.
        seed: the seed it ran with.
        details: finite JSON values for tables and charts.
        cpu_seconds: processor time of this process. Not part of `to_json`, so that equal runs give equal JSON.
        examples: arrays for pictures (`x`, `adversarial`, `y`, `found`), by name; not part of `to_json` either.
    """

    attack: str
    threat: Threat
    paper: str
    quantity: str = "attack_success_rate"
    n: int
    rate: float | None
    interval: Interval | None
    chance: float = 0.0
    tolerated: float = 0.0
    queries: int
    gradients: int = 0
    checks: tuple[Check, ...] = ()
    seed: int
    details: Mapping[str, Any] = field(default_factory=dict)
    cpu_seconds: float = field(default=0.0, compare=False)
    examples: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if (self.rate is None) != (self.n == 0) or (self.rate is None) != (self.interval is None):
            raise ValueError("a result has a rate and an interval exactly if it has trials")

    @property
    def verdict(self) -> Verdict:
        """Fail if the attack succeeded, pass if it demonstrably worked and did not, else inconclusive.

        A success is a success whatever the checks say, unless one says that the figure cannot be used.
        """
        if any(check.outcome is Verdict.FAIL for check in self.checks) or self.rate is None or self.interval is None:
            return Verdict.INCONCLUSIVE
        line = max(self.chance, self.tolerated)
        if self.interval.low > line:
            return Verdict.FAIL
        doubts = any(check.outcome is not Verdict.PASS for check in self.checks)
        blunt = self.interval.high > line + RESOLUTION
        return Verdict.INCONCLUSIVE if doubts or blunt else Verdict.PASS

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the same for the same seed: without times and arrays."""
        left_out = {"cpu_seconds", "examples"}
        return {
            **{name: to_json(getattr(self, name)) for name in self.__dataclass_fields__ if name not in left_out},
            "verdict": self.verdict.value,
        }

    def measurement(self, *, subject: str = "released") -> Measurement:
        """The result as a measurement for the gate and the evidence."""
        blocking = [check.detail for check in self.checks if check.outcome is Verdict.FAIL]
        refused = "; ".join(blocking) or ("" if self.rate is not None else "no trial ran to its end")
        return Measurement(
            id=self.attack,
            quantity=self.quantity,
            value=None if refused else self.rate,
            interval=None if refused else self.interval,
            trials=self.n,
            subject=subject,
            refused=refused,
            method=f"{self.threat.goal}, {self.threat.access.value}, {self.threat.limits or 'no limits'}",
            reference=self.paper,
            details={
                **self.details,
                "checks": [to_json(check) for check in self.checks],
                "queries": self.queries,
                "gradients": self.gradients,
                "knowledge": self.threat.knowledge,
                "verdict": self.verdict.value,
            },
            seconds=self.cpu_seconds,
        )

    def __str__(self) -> str:
        figure = "no figure" if self.rate is None else f"{self.rate:.3f} {self.interval}"
        doubts = "".join(f"; {check.name}" for check in self.checks if check.outcome is not Verdict.PASS)
        effort = f"n={self.n}, {self.queries} queries"
        return f"{self.attack}: {self.quantity} {figure} ({effort}): {self.verdict.value}{doubts}"
