"""`wardline policy`: check, explain and document policies."""

from __future__ import annotations

import json
from pathlib import Path

import click

POLICY = click.argument("policy", type=click.Path(path_type=Path))


@click.group("policy")
def command() -> None:
    """Check, explain or document a policy."""


@command.command("check", epilog="Example: wardline policy check policy.yaml")
@POLICY
def check(*, policy: Path) -> None:
    """Say whether POLICY is well-formed; all problems at once. The data is not read."""
    from wardline.policy import load_policy

    click.echo(f"ok: {load_policy(policy)}")


@command.command("explain", epilog="Example: wardline policy explain policy.yaml")
@POLICY
def explain(*, policy: Path) -> None:
    """Tell in plain sentences what POLICY promises and to whom."""
    from wardline.policy import explain as explained
    from wardline.policy import load_policy

    click.echo(explained(load_policy(policy).policy))


@command.command("schema", epilog="Example: wardline policy schema > policy.schema.json")
def schema() -> None:
    """Print the JSON Schema of policies, for editors."""
    from wardline.policy import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
