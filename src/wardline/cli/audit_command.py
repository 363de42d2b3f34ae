"""`wardline audit`: break a model before it is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wardline.cli.options import FORMAT, key_options, open_key
from wardline.cli.progress import choose_progress
from wardline.cli.target_options import limit_options, target_options
from wardline.core.errors import UsageError


@click.command(
    "audit",
    epilog="Example: wardline audit runs/first/model --policy policy.yaml --tier quick --key signer.key",
)
@click.argument("model")
@target_options
@limit_options
@click.option(
    "--tier",
    type=click.Choice(["quick", "standard", "deep"]),
    default="quick",
    show_default=True,
    help="How much time there is: 2, 10 or 60 minutes on two cores.",
)
@click.option("--tolerate", type=float, default=0.0, show_default=True, help="Success rate that is accepted.")
@click.option("--examples", type=click.IntRange(min=1), default=10_000, show_default=True, help="The most examples.")
@click.option("--pictures", type=click.IntRange(min=0), default=0, help="Broken images to show: rows of your data!")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the evidence; by default audits/NAME.")
@click.option("--unsafe-unsigned", is_flag=True, help="Write the evidence without a signature, for trying out.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@key_options
@FORMAT
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    model: str,
    norm: str,
    radius: float | None,
    seed: int,
    tier: str,
    tolerate: float,
    examples: int,
    pictures: int,
    out: Path | None,
    unsafe_unsigned: bool,
    quiet: bool,
    key: Path | None,
    key_fd: int | None,
    passphrase_fd: int | None,
    output_format: str,
    **chosen: Any,
) -> None:
    """Attack MODEL within a time, judge what was found, and write signed evidence with a report.

    MODEL is a folder of a model, an import path package.module:name (which runs that code), or an http(s) address.
    The exit code is the verdict's: 0 pass, 1 an attack succeeded, 5 inconclusive.
    """
    signer = None if unsafe_unsigned else open_key(key, key_fd=key_fd, passphrase_fd=passphrase_fd)

    from wardline.run.audit import audit
    from wardline.run.audit_settings import AuditSettings
    from wardline.run.audited import Chosen, check_place, open_audited, write_audit

    try:
        settings = AuditSettings(
            tier=tier,  # type: ignore[arg-type]  # click has checked it
            norm=norm,  # type: ignore[arg-type]
            radius=radius,
            tolerated=tolerate,
            seed=seed,
            examples=examples,
            pictures=pictures,
        )
    except ValueError as error:
        raise UsageError(str(error), hint="`wardline audit --help` tells what each option takes") from error
    progress = choose_progress(quiet=quiet)
    opened = open_audited(model, Chosen(**chosen), progress=progress)
    folder = out or Path("audits") / opened.target.name
    check_place(folder)
    outcome = audit(opened.target, opened.data, settings=settings, about=opened.about, progress=progress)
    bundle = write_audit(folder, outcome.predicate, key=signer)
    if output_format == "json":
        click.echo(json.dumps(outcome.predicate, indent=2))
    else:
        click.echo(
            "\n".join([*_told(outcome.predicate), "", f"evidence: {bundle}", f"report: {folder / 'report.html'}"])
        )
    ctx.exit(outcome.verdict.exit_code)


def _told(evidence: Any) -> list[str]:
    lines = [f"{evidence['verdict']['outcome'].upper()}: {evidence['verdict']['summary']}", ""]
    for one in evidence["preflight"]:
        if one["outcome"] != "pass":
            lines.append(f"  {one['outcome']:<12}  {one['name']}: {one['detail']}")
    for one in evidence["attacks"]:
        rate = "no figure" if one["rate"] is None else f"{one['rate']:.3f} of {one['n']}"
        lines.append(f"  {one['outcome']:<12}  {one['attack']}: {rate}, {one['seconds']:.1f} s")
        lines += [
            f"                {check['name']}: {check['detail']}"
            for check in one["checks"]
            if check["outcome"] != "pass"
        ]
    triggers = evidence.get("triggers")
    if triggers is not None:
        named = ", ".join(map(str, triggers["named"]))
        told = f"class {named} stands out" if named else "no class stands out, which clears the model of nothing"
        lines.append(f"  {'inconclusive' if named else 'no verdict':<12}  search for triggers: {told}")
    if evidence["cut"]:
        lines += ["", "not tried:"]
        lines += [f"  {one['subject']}: {one['reason']}" for one in evidence["cut"]]
    return lines
