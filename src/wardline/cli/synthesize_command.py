"""`wardline synthesize`: a synthetic table of a policy's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from wardline.cli.options import FORMAT
from wardline.cli.progress import choose_progress
from wardline.core.errors import UsageError

if TYPE_CHECKING:
    from wardline.dp.synthetic import SynthesisPlan
    from wardline.run.synthesis import SynthesisOutcome


@click.command(
    "synthesize",
    epilog="Example: wardline synthesize policy.yaml --epsilon 1 --delta 1e-6 --out synthetic.parquet. "
    "The same call again gives the stored table and charges nothing.",
)
@click.argument("policy", type=click.Path(path_type=Path))
@click.option("--epsilon", type=float, required=True, help="What the table may cost.")
@click.option("--delta", type=float, required=True, help="Probability that epsilon may not hold; far below 1 / people.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The table, .parquet or .csv [default: synthetic.parquet]."
)
@click.option("--method", type=click.Choice(["aim", "mst"]), default="aim", help="aim is more accurate, mst faster.")
@click.option("--rows", type=int, help="How many rows to draw; by default about as many as there are.")
@click.option("--data", type=click.Path(path_type=Path), help="A local copy of the data; its digest is checked.")
@click.option("--ledger", help="Budget ledger, a file or postgresql://...; by default .wardline/ledger.sqlite.")
@click.option("--public", type=click.Path(path_type=Path), help="Compare with these rows, which nobody has to protect.")
@click.option("--compare-epsilon", type=float, help="Compare with held-out rows under noise, and charge this as well.")
@click.option("--holder", is_flag=True, help="Compare with held-out rows without noise: for your eyes alone.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the comparison as an HTML page.")
@click.option("--dry-run", is_flag=True, help="Show what would be promised and charged; no data is read.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@FORMAT
def command(
    *,
    policy: Path,
    epsilon: float,
    delta: float,
    out: Path | None,
    method: Literal["aim", "mst"],
    rows: int | None,
    data: Path | None,
    ledger: str | None,
    public: Path | None,
    compare_epsilon: float | None,
    holder: bool,
    report: Path | None,
    dry_run: bool,
    quiet: bool,
    output_format: str,
) -> None:
    """Make a synthetic table near to the data of POLICY, under differential privacy.

    Its rows are nobody's. Columns, ranges and values come from the policy's section `data`, never from the rows. The
    ledger is charged before anything is counted, and never given anything back. How near the table is to real rows is
    told by --public, --compare-epsilon or --holder.
    """
    from wardline.policy import load_policy
    from wardline.run.synthesis import SynthesisFiles, SynthesisSettings, plan_of, synthesize_policy

    settings = SynthesisSettings(
        epsilon=epsilon,
        delta=delta,
        method=method,
        rows=rows,
        public=public,
        compare_epsilon=compare_epsilon,
        holder=holder,
    )
    if report is not None and not (settings.holds_out or public is not None):
        raise UsageError(
            "there is nothing to report on",
            where="--report",
            hint="say what to compare with: --public, --compare-epsilon or --holder",
        )
    if dry_run:
        plan = plan_of(load_policy(policy), settings)
        value = _plan_json(plan, compare_epsilon)
        click.echo(json.dumps(value, indent=2) if output_format == "json" else _plan_text(plan, compare_epsilon))
        return
    address: Path | str = Path(".wardline") / "ledger.sqlite" if ledger is None else ledger
    if isinstance(address, str) and "://" not in address:
        address = Path(address)
    where = out or Path("synthetic.parquet")
    outcome = synthesize_policy(
        policy,
        settings=settings,
        files=SynthesisFiles(out=where, ledger=address, report=report, local_copy=data),
        progress=choose_progress(quiet=quiet),
    )
    if output_format == "json":
        click.echo(json.dumps(_json(outcome, where, report), indent=2))
    else:
        click.echo(_told(outcome, where, report))


def _plan_json(plan: SynthesisPlan, compare_epsilon: float | None) -> dict[str, Any]:
    from wardline.core.canonical import to_json

    claim, cells = plan.claim(), {one.name: one.size for one in plan.domain.attributes}
    return dict(to_json({"claim": claim, "rho": plan.rho, "compare_epsilon": compare_epsilon, "cells": cells}))


def _plan_text(plan: SynthesisPlan, compare_epsilon: float | None) -> str:
    claim = plan.claim()
    lines = [
        claim.statement,
        "",
        f"charged: epsilon {plan.epsilon:g} at delta {plan.delta:g}, as zero-concentrated rho {plan.rho:.4g}",
        f"method: {plan.method}, {len(plan.domain)} columns",
    ]
    if compare_epsilon is not None:
        lines.append(f"charged on top for the comparison: epsilon {compare_epsilon:g}")
    return "\n".join([*lines, "", "no data was read; nothing was charged"])


def _json(outcome: SynthesisOutcome, out: Path, report: Path | None) -> dict[str, Any]:
    return {
        "table": str(out),
        "rows": outcome.synthetic.table.num_rows,
        "charged": outcome.charged,
        "claim": outcome.synthetic.claim.to_json(),
        "about": dict(outcome.synthetic.about),
        "quality": None if outcome.quality is None else outcome.quality.to_json(),
        "report": None if report is None else str(report),
    }


def _told(outcome: SynthesisOutcome, out: Path, report: Path | None) -> str:
    lines = [str(outcome.synthetic)]
    if not outcome.charged:
        lines.append("this table was made before: the stored one, nothing charged for it")
    if outcome.quality is not None:
        lines += ["", str(outcome.quality), ""]
    lines.append(f"table: {out}")
    if report is not None:
        lines.append(f"report: {report}")
    return "\n".join(lines)
