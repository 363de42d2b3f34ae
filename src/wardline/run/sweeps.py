"""A sweep from the policy file to a ready policy: on public rows for nothing, or on protected ones for a charge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardline.core import NoProgress, Progress, canonical_json, write_atomic
from wardline.core.canonical import to_json
from wardline.dp import Ledger
from wardline.dp.tuning import PrivateSelection
from wardline.models import one_thread
from wardline.policy import LoadedPolicy, load_policy
from wardline.run.inputs import Inputs, load_inputs, load_public, select
from wardline.run.sweep import Floor, plan_at, sweep_public
from wardline.run.sweep_private import Chosen, Cost, private_cost, sweep_private
from wardline.run.sweep_report import LIMITS, refuse_foreign, render_sweep, told, write_policy
from wardline.run.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """What to look for, and where.

    Attributes:
        floor: what the model must reach.
        epsilons: where to look.
        repeats: trainings at each epsilon, on public rows.
        runs: expected number of trainings, on protected rows.
        public: a file of public rows; None for the protected ones, which costs budget.
    """

    floor: Floor
    epsilons: tuple[float, ...]
    repeats: int
    runs: float
    public: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """Where a sweep reads and writes.

    Attributes:
        out: its folder; None for ``sweeps/PROJECT``.
        write: the ready policy.
        ledger: the budget ledger.
        local_copy: a file to read instead of the policy's source; its digest is checked.
    """

    out: Path | None
    write: Path
    ledger: Path
    local_copy: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOutcome:
    """Whether the floor is reached, and what is told about it: as JSON values, and as lines for people."""

    reached: bool
    value: Mapping[str, Any]
    lines: tuple[str, ...]


def cost_of_sweep(
    policy: Path, *, settings: SweepSettings, local_copy: Path | None, progress: Progress | None = None
) -> Cost:
    """What a sweep on the protected rows would be charged. Reads the data for its size, computes nothing on it."""
    loaded = load_policy(policy)
    inputs = load_inputs(loaded, local_copy=local_copy, progress=progress or NoProgress())
    return private_cost(loaded, inputs, epsilons=settings.epsilons, selection=_selection(settings))


def sweep(
    policy: Path, *, settings: SweepSettings, options: SweepOptions, progress: Progress | None = None
) -> SweepOutcome:
    """Find the lowest epsilon that meets the floor, and write a policy with it.

    Args:
        policy: the policy file.
        settings: what to look for.
        options: where to read and write.
        progress: told about trainings.

    Raises:
        WardlineError: PolicyError, DataError, BudgetError, UsageError or WorkspaceError; nothing is left half-written.
    """
    progress = progress or NoProgress()
    loaded = load_policy(policy)
    refuse_foreign(options.write)
    inputs = load_inputs(loaded, local_copy=options.local_copy, progress=progress)
    out = options.out or Path("sweeps") / loaded.policy.project
    with Workspace(out) as workspace, one_thread():
        if settings.public is None:
            outcome, epsilon = _on_protected(loaded, inputs, settings, options, workspace, progress)
        else:
            outcome, epsilon = _on_public(loaded, inputs, settings, settings.public, out, workspace, progress)
    lines = list(outcome.lines)
    if epsilon is not None:
        plan = plan_at(loaded, inputs, select(loaded, inputs), epsilon)
        write_policy(loaded, plan, path=options.write, found=outcome.lines[0])
        lines.append(f"policy: {options.write}")
    write_atomic(out / "sweep.json", canonical_json(outcome.value))
    return SweepOutcome(reached=outcome.reached, value=outcome.value, lines=tuple(lines))


def _on_public(
    loaded: LoadedPolicy,
    inputs: Inputs,
    settings: SweepSettings,
    public: Path,
    out: Path,
    workspace: Workspace,
    progress: Progress,
) -> tuple[SweepOutcome, float | None]:
    rows = load_public(loaded, public, private=inputs, progress=progress)
    swept = sweep_public(
        loaded,
        rows,
        floor=settings.floor,
        epsilons=settings.epsilons,
        repeats=settings.repeats,
        workspace=workspace,
        progress=progress,
    )
    write_atomic(out / "sweep.html", render_sweep(loaded.policy.project, swept))
    table = [
        f"  epsilon {one.epsilon:<6g} accuracy {one.accuracy:.4f} {one.interval}  {'met' if one.meets else 'missed'}"
        for one in sorted(swept.tried, key=lambda one: one.epsilon)
    ]
    lines = [told(swept), "", *table, "", LIMITS]
    if not 0.5 < len(rows.examples) / len(inputs.examples) < 2:
        lines.append(f"These are {len(rows.examples):,} rows; the protected ones are {len(inputs.examples):,}.")
    lines += ["", f"chart: {out / 'sweep.html'}"]
    value = to_json(
        {"on": "public", "rows": swept.rows, "floor": swept.floor, "epsilon": swept.epsilon, "tried": swept.tried}
    )
    return SweepOutcome(reached=swept.epsilon is not None, value=value, lines=tuple(lines)), swept.epsilon


def _on_protected(
    loaded: LoadedPolicy,
    inputs: Inputs,
    settings: SweepSettings,
    options: SweepOptions,
    workspace: Workspace,
    progress: Progress,
) -> tuple[SweepOutcome, float | None]:
    chosen = sweep_private(
        loaded,
        inputs,
        floor=settings.floor,
        epsilons=settings.epsilons,
        selection=_selection(settings),
        ledger=Ledger(options.ledger),
        workspace=workspace,
        progress=progress,
    )
    lines = (
        _told_chosen(chosen),
        "",
        f"charged epsilon {chosen.cost.epsilon:.4g} at delta {chosen.cost.delta:g} for the sweep. The training that "
        "the policy asks for is charged when it is run.",
        "The accuracy carries noise and is the best of several trainings, so expect a little less.",
    )
    value = to_json({"on": "protected", **to_json(chosen)})
    return SweepOutcome(reached=chosen.meets, value=value, lines=lines), chosen.epsilon if chosen.meets else None


def _told_chosen(chosen: Chosen) -> str:
    floor = f"{chosen.floor.metric} {chosen.floor.value:g}"
    if chosen.epsilon is None:
        return "By chance nothing was trained, and so nothing is known; the charge stands."
    if chosen.meets:
        return f"Epsilon {chosen.epsilon:g} reached {floor}: {chosen.accuracy:.4f}."
    return f"No training reached {floor}; the best had {chosen.accuracy:.4f} at epsilon {chosen.epsilon:g}."


def _selection(settings: SweepSettings) -> PrivateSelection:
    return PrivateSelection(mean_runs=settings.runs)
