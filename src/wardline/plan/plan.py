"""A plan: everything that a run will do, decided before it does anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wardline.core import Claim
from wardline.core.canonical import to_json
from wardline.dp import DpSgdConfig, Limit, PlainConfig
from wardline.gate import Rule, Waiver
from wardline.models import Architecture, architecture_to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What the plan needs to know about the data: sizes and names, no values.

    Attributes:
        source: where it came from, as the policy says.
        sha256: digest of the table's contents, whatever file held it.
        account: the key under which the ledger adds up what is released about these people.
        rows, units: all rows and privacy units that are used.
        unit: ``row`` or the name of the column that tells persons apart.
        train_rows, train_units, holdout_rows, holdout_units: sizes of the two parts.
        features: how many columns the encoded data has.
        classes: names of the classes.
    """

    source: str
    sha256: str
    account: str
    rows: int
    units: int
    unit: str
    train_rows: int
    train_units: int
    holdout_rows: int
    holdout_units: int
    features: int
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipStep:
    """Membership inference against the released model and the unprotected twin."""

    methods: tuple[Literal["loss", "rmia", "lira"], ...]
    references: int
    fprs: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStep:
    """One-run privacy audit of the training."""

    canaries: int
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAssessed:
    """Something that a reader might expect the run to say, and why it does not."""

    subject: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, in words and figures, for people and for the evidence."""

    id: str
    title: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The policy, resolved against the facts of the data.

    Attributes:
        project, purpose, title: as the policy says.
        seed: root of all reproducible streams; noise has none.
        facts: sizes of the data.
        architecture: what is trained.
        training: the protected training, noise calibrated.
        baseline: the training of the unprotected twin.
        claim: what the training will be claimed to guarantee.
        membership, audit: the attacks, where the policy asks for them.
        rules, waivers: the gate.
        limit: the data set's budget over all releases, if there is one.
        not_assessed: what the run leaves open.
    """

    project: str
    purpose: str
    title: str
    seed: int
    facts: DataFacts
    architecture: Architecture
    training: DpSgdConfig
    baseline: PlainConfig
    claim: Claim
    membership: MembershipStep | None
    audit: AuditStep | None
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    limit: Limit | None
    not_assessed: tuple[NotAssessed, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What will be done, in order."""
        facts = self.facts
        units = "rows" if facts.unit == "row" else "persons"
        steps = [
            Step(
                id="data",
                title=f"Split {facts.units:,} {units} into training and held-out",
                detail={"train_units": facts.train_units, "holdout_units": facts.holdout_units, "rows": facts.rows},
            ),
            Step(
                id="train",
                title="Train under differential privacy",
                detail={"architecture": architecture_to_json(self.architecture), **to_json(self.training)},
            ),
            Step(id="baseline", title="Train the unprotected twin", detail=to_json(self.baseline)),
        ]
        if self.membership is not None:
            steps.append(
                Step(id="membership", title="Attack both: who was in the data?", detail=to_json(self.membership))
            )
        if self.audit is not None:
            steps.append(Step(id="audit", title="Audit the training with canaries", detail=to_json(self.audit)))
        names = [rule.name for rule in self.rules]
        steps.append(Step(id="gate", title="Set measurements beside claims", detail={"rules": names}))
        return tuple(steps)

    def __str__(self) -> str:
        from wardline.plan.cost import expected_seconds, told  # it reads plans, so it stands above them

        seconds = expected_seconds(self)
        lines = [f"{self.project}: {self.purpose}", ""]
        for number, step in enumerate(self.steps, start=1):
            duration = f" ({told(seconds[step.id])})" if step.id in seconds else ""
            lines.append(f"{number}. {step.title}{duration}")
            lines += [f"     {key}: {_show(value)}" for key, value in step.detail.items()]
        charge = f"epsilon {self.training.epsilon:g} at delta {self.training.delta:g}"
        lines += ["", f"claims      {self.claim}, delta {self.training.delta:g}", f"charges     {charge}, once"]
        if self.limit is not None:
            lines.append(f"budget      epsilon {self.limit.epsilon:g} at delta {self.limit.delta:g} for this data set")
        lines.append(f"takes       {told(sum(seconds.values()))} on one core, give or take a factor of three")
        lines += [f"leaves open {one.subject}: {one.reason}" for one in self.not_assessed]
        return "\n".join(lines)


def _show(value: object) -> str:
    match value:
        case float():
            return f"{value:.6g}"
        case Mapping():
            return ", ".join(f"{key} {_show(item)}" for key, item in value.items())
        case list() | tuple():
            return ", ".join(_show(item) for item in value)
        case _:
            return str(value)
