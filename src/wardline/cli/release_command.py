"""`wardline release`: a table under differential privacy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wardline.cli.options import FORMAT
from wardline.cli.progress import choose_progress

if TYPE_CHECKING:
    from wardline.plan.resolve_release import ResolvedRelease
    from wardline.run.table_release import TableReleaseOutcome


@click.command(
    "release",
    epilog="Example: wardline release release.yaml --plan, then wardline release release.yaml --out released --plot. "
    "The same release of the same data again gives the stored result and charges nothing.",
)
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--data", help="The rows, instead of those that SPEC names: a path, or postgresql://...#SCHEMA.TABLE.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("released"), help="Folder of the result.")
@click.option("--ledger", help="Budget ledger, a file or postgresql://...; by default .wardline/ledger.sqlite.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what it would cost and how noisy it would be; no data.")
@click.option("--plot", is_flag=True, help="Draw the result as an SVG as well.")
@click.option("--csv", "as_csv", is_flag=True, help="Write a CSV file with its claim beside it instead of Parquet.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@FORMAT
def command(
    *,
    spec: Path,
    data: str | None,
    out: Path,
    ledger: str | None,
    plan_only: bool,
    plot: bool,
    as_csv: bool,
    quiet: bool,
    output_format: str,
) -> None:
    """Release the table that SPEC describes, under differential privacy.

    The ledger is charged before anything is computed, and never given anything back.
    """
    from wardline.core.extras import need
    from wardline.policy.release_loader import load_release

    loaded = load_release(spec)
    resolved: ResolvedRelease = need("wardline.plan.resolve_release", extra="query").resolve_release(loaded, data=data)
    if plan_only:
        click.echo(json.dumps(_plan_json(resolved), indent=2) if output_format == "json" else str(resolved.plan))
        return
    from wardline.run import TableReleaseOptions, release_table

    outcome = release_table(
        resolved,
        options=TableReleaseOptions(
            out=out,
            ledger=_address(ledger),
            form="csv" if as_csv else "parquet",
            plot=plot,
        ),
        progress=choose_progress(quiet=quiet),
    )
    click.echo(json.dumps(_json(outcome), indent=2) if output_format == "json" else _told(outcome))


def _address(ledger: str | None) -> Path | str:
    if ledger is None:
        return Path(".wardline") / "ledger.sqlite"
    return ledger if "://" in ledger else Path(ledger)


def _plan_json(resolved: ResolvedRelease) -> dict[str, object]:
    from wardline.core.canonical import to_json
    from wardline.dp.accounting import event_to_json
    from wardline.dp.releases import expected

    plan = resolved.plan
    value = {
        "name": resolved.name,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "noise": plan.kind,
        "events": [event_to_json(event) for event in plan.events],
        "figures": expected(plan),
        "ranges": sorted(plan.ranges),
        "threshold": None if plan.selection is None else plan.selection.threshold,
        "query": plan.query.to_json(),
    }
    return dict(to_json(value))


def _json(outcome: TableReleaseOutcome) -> dict[str, object]:
    made = outcome.release
    rows = [
        {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
        for row in made.table.to_pylist()
    ]
    return {
        "table": str(outcome.table),
        "picture": None if outcome.picture is None else str(outcome.picture),
        "charged": outcome.charged,
        "claim": made.claim.to_json(),
        "limits": list(made.about["limits"]),
        "rows": rows,
    }


def _told(outcome: TableReleaseOutcome) -> str:
    lines = [str(outcome.release), ""]
    if not outcome.charged:
        lines.append("this release was made before: its stored result, nothing charged")
    lines.append(f"table: {outcome.table}")
    if outcome.picture is not None:
        lines.append(f"picture: {outcome.picture}")
    return "\n".join(lines)
