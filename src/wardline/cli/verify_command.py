"""`wardline verify`: check evidence with nothing but the bundle and a public key."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wardline.cli.options import FORMAT


@click.command("verify", epilog="Example: wardline verify runs/first/evidence --key signer.pub")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="The signer's public key file.")
@FORMAT
def command(*, bundle: Path, key: Path, output_format: str) -> None:
    """Check an evidence BUNDLE against a public key.

    BUNDLE is the folder, in which every file must be as signed, or its bundle.json alone. Exit code 0 says that
    the bundle is authentic and whole, not that its verdict is a pass: the verdict is printed.
    """
    from wardline.crypto import read_public_key
    from wardline.evidence import verify_bundle

    verified = verify_bundle(bundle, read_public_key(key))
    if output_format == "json":
        click.echo(
            json.dumps(
                {
                    "verdict": verified.verdict.value,
                    "key_id": verified.key_id,
                    "subjects_checked": verified.subjects_checked,
                    "subjects_absent": verified.subjects_absent,
                    "predicate": verified.predicate,
                },
                indent=2,
            )
        )
        return
    predicate = verified.predicate
    click.echo(f"authentic: signed by {verified.key_id}")
    click.echo(f"project:   {predicate['project']}, {predicate['created']}")
    click.echo(f"checked:   {', '.join(verified.subjects_checked) or 'no files'}")
    if verified.subjects_absent:
        click.echo(f"absent:    {', '.join(verified.subjects_absent)}")
    click.echo(f"verdict:   {verified.verdict.value}: {predicate['verdict']['summary']}")
