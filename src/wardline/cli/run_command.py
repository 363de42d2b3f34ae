"""`wardline run`: from a policy to signed evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wardline.cli.options import FORMAT, key_options, open_key
from wardline.cli.progress import choose_progress

if TYPE_CHECKING:
    from wardline.plan import Plan
    from wardline.run import RunOutcome


@click.command(
    "run",
    epilog="Example: wardline run policy.yaml --out runs/first --key signer.key. "
    "A run that was stopped goes on when the same command is given again.",
)
@click.argument("policy", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; by default runs/PROJECT.")
@click.option("--data", type=click.Path(path_type=Path), help="A local copy of the data; its digest is checked.")
@click.option("--ledger", help="Budget ledger, a file or postgresql://...; by default .wardline/ledger.sqlite.")
@click.option("--dry-run", is_flag=True, help="Show the plan and its noise; train, charge and write nothing.")
@click.option("--unsafe-unsigned", is_flag=True, help="Write the evidence without a signature, for trying out.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@key_options
@FORMAT
@click.pass_context
def command(
    ctx: click.Context,
    *,
    policy: Path,
    out: Path | None,
    data: Path | None,
    ledger: str | None,
    dry_run: bool,
    unsafe_unsigned: bool,
    quiet: bool,
    key: Path | None,
    key_fd: int | None,
    passphrase_fd: int | None,
    output_format: str,
) -> None:
    """Train, attack, judge and sign what POLICY describes.

    The exit code is the verdict's: 0 pass, 1 fail, 5 inconclusive.
    """
    progress = choose_progress(quiet=quiet)
    if dry_run:
        from wardline.run import plan_run

        plan = plan_run(policy, local_copy=data, progress=progress)
        click.echo(_plan_json(plan) if output_format == "json" else str(plan))
        return
    from wardline.policy import load_policy

    project = load_policy(policy).policy.project
    # The key is opened before anything is done: a forgotten passphrase must not cost a training.
    signer = None if unsafe_unsigned else open_key(key, key_fd=key_fd, passphrase_fd=passphrase_fd)

    from wardline.run import RunOptions, run

    outcome = run(
        policy,
        options=RunOptions(
            out=out or Path("runs") / project,
            ledger=ledger or Path(".wardline") / "ledger.sqlite",
            key=signer,
            local_copy=data,
        ),
        progress=progress,
    )
    click.echo(json.dumps(outcome.predicate, indent=2) if output_format == "json" else _told(outcome))
    ctx.exit(outcome.gate.verdict.exit_code)


def _plan_json(plan: Plan) -> str:
    from wardline.core.canonical import to_json
    from wardline.plan import expected_seconds

    value = {"steps": plan.steps, "claim": plan.claim, "expected_seconds": expected_seconds(plan)}
    return json.dumps(to_json(value), indent=2)


def _told(outcome: RunOutcome) -> str:
    lines = [f"{outcome.gate.verdict.value.upper()}: {outcome.gate.summary}", ""]
    lines += [f"  claimed   {claim}" for claim in outcome.claims]
    # What attacks find on the unprotected twin stands in the report, beside what they find here.
    lines += [f"  measured  {one}" for one in outcome.measurements if not one.id.endswith(".baseline")]
    lines.append("")
    for judgement, waiver in outcome.gate.judgements:
        waived = f" (waived by {waiver.who} until {waiver.until})" if waiver else ""
        lines.append(f"  {judgement.outcome.value:<12}  {judgement.code} {judgement.rule}: {judgement.message}{waived}")
    if outcome.reused:
        lines += ["", f"kept from an earlier call: {', '.join(outcome.reused)}"]
    lines += ["", f"evidence: {outcome.evidence}", f"report: {outcome.evidence.parent / 'report.html'}"]
    return "\n".join(lines)
