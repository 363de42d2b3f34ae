"""Writing down what a run found: the predicate as JSON, the report rendered from it, the signed bundle."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardline.core import BudgetError, Claim, Measurement
from wardline.core.canonical import to_json
from wardline.crypto import SigningKey
from wardline.dp import Ledger
from wardline.evidence import render_report, unsafe_write_unsigned_bundle, write_bundle
from wardline.gate import GateResult
from wardline.models import architecture_to_json, parameter_count
from wardline.plan import Plan
from wardline.policy import LoadedPolicy
from wardline.run.workspace import StageResult

_PACKAGES = (
    "wardline",
    "numpy",
    "torch",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "pandera",
    "cryptography",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that a run found, on its way into the evidence."""

    loaded: LoadedPolicy
    plan: Plan
    claims: Sequence[Claim]
    measurements: Sequence[Measurement]
    gate: GateResult
    stages: Sequence[StageResult]
    ledger: Mapping[str, Any]


def ledger_facts(plan: Plan, ledger: Ledger) -> dict[str, Any]:
    """What the ledger says about this data set, all releases together."""
    dataset = plan.facts.account
    delta = plan.limit.delta if plan.limit else plan.training.delta
    spent = ledger.spent(dataset, delta=delta)
    while not math.isfinite(spent.epsilon) and delta < 0.1:
        # Without a limit, other releases may have larger deltas of their own: told at one that leaves something.
        delta *= 10
        spent = ledger.spent(dataset, delta=delta)
    if not math.isfinite(spent.epsilon):
        raise BudgetError(
            "the releases about this data set bound nothing together: their deltas add up to more than 0.1",
            where=dataset,
            hint="`wardline ledger show` lists them; state a budget in the policy",
        )
    return {
        "releases": spent.releases,
        "epsilon": spent.epsilon,
        "delta": spent.delta,
        "head": to_json(ledger.head()),
        "limit": to_json(plan.limit),
    }


def predicate(findings: Findings, *, now: datetime.datetime) -> dict[str, Any]:
    """The evidence as plain JSON values: what is signed, and what the report is rendered from."""
    plan, facts = findings.plan, findings.plan.facts
    refused = [
        {"subject": f"{one.id} ({one.quantity})", "reason": one.refused} for one in findings.measurements if one.refused
    ]
    value: dict[str, Any] = {
        "schema": "wardline.evidence/1",
        "project": plan.project,
        "title": plan.title,
        "purpose": plan.purpose,
        "created": now.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(sum(stage.seconds for stage in findings.stages), 3),
        "verdict": {"outcome": findings.gate.verdict, "summary": findings.gate.summary},
        "dataset": facts,
        "policy": findings.loaded.policy.to_json(),
        "policy_sha256": findings.loaded.sha256,
        "plan": {"steps": plan.steps, "assumptions": plan.claim.assumptions},
        "model": {
            "architecture": architecture_to_json(plan.architecture),
            "parameters": parameter_count(plan.architecture),
        },
        "claims": findings.claims,
        "measurements": findings.measurements,
        "rules": [{**to_json(judgement), "waiver": _waiver(waiver)} for judgement, waiver in findings.gate.judgements],
        "ledger": findings.ledger,
        "not_assessed": [*to_json(plan.not_assessed), *refused],
        "environment": {
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "stages": [{"id": one.name, "sha256": one.sha256, "seconds": one.seconds} for one in findings.stages],
    }
    plain: dict[str, Any] = to_json(value)
    return plain


def _waiver(waiver: Any) -> dict[str, str] | None:
    if waiver is None:
        return None
    return {"who": waiver.who, "why": waiver.why, "until": waiver.until.isoformat()}


def write_evidence(
    folder: Path, *, value: Mapping[str, Any], model: Mapping[str, bytes], key: SigningKey | None
) -> Path:
    """Render the report and write the bundle, signed with `key`; unsigned if that is None.

    Returns:
        The path of the signed (or unsigned) statement inside the folder.
    """
    files = {"report.html": render_report(value), **model}
    if key is None:
        return unsafe_write_unsigned_bundle(folder, predicate=value, files=files, replace=True)
    return write_bundle(folder, predicate=value, files=files, key=key, replace=True)
