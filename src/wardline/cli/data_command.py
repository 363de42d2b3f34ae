"""`wardline data`: look at a data set."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wardline.cli.options import FORMAT


@click.group("data")
def command() -> None:
    """Look at a data set and infer its contract."""


@command.command("describe", epilog="Example: wardline data describe file:patients.parquet --target diagnosis")
@click.argument("source")
@click.option("--target", required=True, help="The column to predict.")
@click.option("--sha256", help="Digest that the source must have; needed for https.")
@FORMAT
def describe(*, source: str, target: str, sha256: str | None, output_format: str) -> None:
    """Infer a data contract for SOURCE: types, ranges, values.

    SOURCE is sklearn:NAME, file:PATH or https://HOST/PATH. With --format json, prints what belongs under `data:`
    in a policy. A contract counts as public knowledge, so a person must review it.
    """
    from wardline.data import describe as described
    from wardline.data import fetch, table_digest

    found = fetch(source, sha256=sha256, base=Path.cwd())
    description = described(found.table, target=target)
    digest = table_digest(found.table)
    if output_format == "json":
        click.echo(json.dumps({"source": source, "table_sha256": digest, **description.to_policy()}, indent=2))
    else:
        click.echo(f"{description}\ntable_sha256: {digest}")
