"""A run, from the policy to the verdict. Read this first: it is the whole story.

Policy in: the file is read and checked, the data held to its contract, the plan resolved. Then each stage
does one thing and stores what it found, so that a killed run goes on where it stopped. Evidence out: the
gate sets measurements beside claims, and everything is written down, signed and shown.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardline.core import Claim, Measurement, NoProgress, Progress
from wardline.crypto import SigningKey
from wardline.dp import Ledger
from wardline.gate import GateResult, judge
from wardline.models import one_thread
from wardline.plan import Plan, resolve
from wardline.policy import load_policy
from wardline.run.evidence import Findings, ledger_facts, predicate, write_evidence
from wardline.run.inputs import Selection, facts_of, load_inputs, select
from wardline.run.measure import measure_audit, measure_membership, measure_utility
from wardline.run.release import train_baseline, train_released
from wardline.run.workspace import Computed, StageResult, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where a run reads and writes.

    Attributes:
        out: the run's folder; the bundle goes into its folder ``evidence``.
        ledger: the budget ledger: a file, or a URL ``postgresql://...``.
        key: signs the evidence; None leaves it unsigned, which no verification accepts.
        local_copy: a file to read instead of the policy's source; its digest is checked.
    """

    out: Path
    ledger: Path | str
    key: SigningKey | None
    local_copy: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """What a run found, where it is written down, and which stages an earlier call had finished."""

    claims: tuple[Claim, ...]
    measurements: tuple[Measurement, ...]
    gate: GateResult
    evidence: Path
    predicate: Mapping[str, Any]
    reused: tuple[str, ...]


def plan_run(policy: Path, *, local_copy: Path | None = None, progress: Progress | None = None) -> Plan:
    """What a run would do. The data is read for its sizes; nothing is charged, trained or written."""
    loaded = load_policy(policy)
    inputs = load_inputs(loaded, local_copy=local_copy, progress=progress or NoProgress())
    return resolve(
        loaded, facts_of(loaded, inputs, select(loaded, inputs)), today=datetime.datetime.now(datetime.UTC).date()
    )


def run(policy: Path, *, options: RunOptions, progress: Progress | None = None) -> RunOutcome:
    """Do what a policy asks for: protect, attack, judge, and write the evidence.

    A second call with the same policy and folder goes on where the first one stopped: finished stages are
    read, the model is not trained again, and the budget is not charged again.

    Args:
        policy: the policy file.
        options: where to read and write.
        progress: told about stages.

    Raises:
        WardlineError: PolicyError, DataError, IntegrityError, BudgetError or WorkspaceError; nothing is left
            half-written, and what was finished is kept.
    """
    progress = progress or NoProgress()
    now = datetime.datetime.now(datetime.UTC)  # one clock: waivers are judged by the date that the evidence carries
    loaded = load_policy(policy)
    inputs = load_inputs(loaded, local_copy=options.local_copy, progress=progress)
    drawn = select(loaded, inputs)
    plan = resolve(loaded, facts_of(loaded, inputs, drawn), today=now.date())
    with Workspace(options.out) as workspace, one_thread():
        ledger = Ledger(options.ledger)
        stages = _Stages(workspace, progress)

        # A new limit for the budget is no new choice of rows.
        data_policy = {name: value for name, value in loaded.policy.to_json()["data"].items() if name != "budget"}
        data = {"table": inputs.sha256, "data": data_policy, "seed": plan.seed}
        selected = stages.do("select", data, lambda _: ({}, drawn.to_blobs()))
        rows = Selection.from_blobs(selected.blobs)
        train, holdout = inputs.examples.take(rows.train), inputs.examples.take(rows.holdout)

        basis = data | {"rows": selected.sha256, "model": loaded.policy.to_json()["model"]}
        released = stages.do(
            "train",
            basis | {"config": plan.training},
            lambda key: train_released(plan, train, workspace=workspace, ledger=ledger, key=key, progress=progress),
        )
        baseline = stages.do(
            "baseline", basis | {"config": plan.baseline}, lambda _: train_baseline(plan, train, progress=progress)
        )

        models = basis | {"released": released.sha256, "baseline": baseline.sha256}
        pair = released.model(), baseline.model()
        found = stages.measure("utility", models, lambda: measure_utility(*pair, holdout))
        if plan.membership is not None:
            found += stages.measure(
                "membership",
                models | {"step": plan.membership},
                lambda: measure_membership(plan, pair, (train, holdout), progress),
            )
        if plan.audit is not None:
            found += stages.measure(
                "audit",
                basis | {"config": plan.training, "control": plan.baseline, "step": plan.audit},
                lambda: measure_audit(plan, train, progress),
            )

        claims = (plan.claim,)
        gate = judge(plan.rules, claims, found, waivers=plan.waivers, today=now.date())
        findings = Findings(
            loaded=loaded,
            plan=plan,
            claims=claims,
            measurements=found,
            gate=gate,
            stages=tuple(stages.done),
            ledger=ledger_facts(plan, ledger),
        )
        told = stages.do(
            "evidence",
            {"policy": loaded.sha256, "stages": [stage.sha256 for stage in stages.done], "verdict": gate.verdict},
            lambda _: (predicate(findings, now=now), {}),
        )
        evidence = write_evidence(options.out / "evidence", value=told.value, model=released.blobs, key=options.key)
    return RunOutcome(
        claims=claims,
        measurements=found,
        gate=gate,
        evidence=evidence,
        predicate=told.value,
        reused=tuple(stage.name for stage in stages.done if stage.reused),
    )


class _Stages:
    """Does stages in order, tells how far they are, and remembers what they found."""

    def __init__(self, workspace: Workspace, progress: Progress) -> None:
        self._workspace = workspace
        self._progress = progress
        self.done: list[StageResult] = []

    def do(self, name: str, inputs: Mapping[str, Any], compute: Callable[[str], Computed]) -> StageResult:
        self._progress.start(name, 0)
        result = self._workspace.stage(name, inputs, compute)
        self._progress.finish("kept" if result.reused else "")
        self.done.append(result)
        return result

    def measure(
        self, name: str, inputs: Mapping[str, Any], measure: Callable[[], tuple[Measurement, ...]]
    ) -> tuple[Measurement, ...]:
        result = self.do(name, inputs, lambda _: ({"measurements": [one.to_json() for one in measure()]}, {}))
        return tuple(Measurement.from_json(one) for one in result.value["measurements"])
