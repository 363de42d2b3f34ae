"""`wardline init`: a policy to start from."""

from __future__ import annotations

import re
from pathlib import Path

import click


@click.command(
    "init",
    epilog="Example: wardline init policy.yaml --source file:patients.parquet --target diagnosis. "
    "Or: wardline init policy.yaml --recipe breast-cancer",
)
@click.argument("policy", type=click.Path(path_type=Path), default=Path("policy.yaml"))
@click.option("--source", help="Data to describe: sklearn:NAME, file:PATH or https://HOST/PATH.")
@click.option("--target", help="The column to predict.")
@click.option("--sha256", help="Digest that the source must have; needed for https.")
@click.option("--project", help="Name of the project; by default the policy's folder.")
@click.option("--recipe", help="A finished policy instead: breast-cancer or adult-income.")
def command(
    *, policy: Path, source: str | None, target: str | None, sha256: str | None, project: str | None, recipe: str | None
) -> None:
    """Write a commented POLICY to start from; an existing file is never overwritten."""
    from wardline.core import UsageError, write_atomic

    if policy.exists():
        raise UsageError("this file exists", where=str(policy), hint="name another file")
    if recipe is not None:
        from wardline.policy import recipe as recipe_text

        text = recipe_text(recipe)
    elif source is None or target is None:
        raise UsageError("there is nothing to start from", hint="give --source and --target, or --recipe")
    else:
        text = _described(policy, source, target, sha256, project)
    write_atomic(policy, text.encode())
    click.echo(f"written: {policy}; review it, then: wardline run {policy} --dry-run")


def _described(policy: Path, source: str, target: str, sha256: str | None, project: str | None) -> str:
    from wardline.data import describe, fetch, table_digest
    from wardline.policy import scaffold

    found = fetch(source, sha256=sha256, base=policy.resolve().parent)
    described = describe(found.table, target=target).to_policy()
    return scaffold(
        project=project or re.sub(r"[^A-Za-z0-9._-]+", "-", policy.resolve().parent.name).strip("-._") or "project",
        source=source,
        sha256=sha256,
        columns=described["columns"],
        target=target,
        unit=described["unit"],
        units=found.table.num_rows,
        table_sha256=table_digest(found.table),
    )
