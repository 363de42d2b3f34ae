"""`wardline keys`: signing keys."""

from __future__ import annotations

from pathlib import Path

import click

from wardline.cli.options import PASSPHRASE_FD, ask_passphrase


@click.group("keys")
def command() -> None:
    """Make signing keys."""


@command.command("new", epilog="Example: wardline keys new signer")
@click.argument("name", type=click.Path(path_type=Path))
@PASSPHRASE_FD
def new(*, name: Path, passphrase_fd: int | None) -> None:
    """Make a key pair: NAME.key, encrypted with a passphrase, and NAME.pub, to give away.

    The pair signs with Ed25519 and ML-DSA-65 at once. Existing files are never overwritten.
    """
    from wardline.core import KeyAccessError
    from wardline.crypto import SigningKey, read_passphrase, write_private_key, write_public_key

    passphrase = read_passphrase(passphrase_fd, prompt=ask_passphrase(confirm=True))
    private, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    if public.exists():
        raise KeyAccessError("a key of this name exists", where=str(public), hint="choose another name")
    key = SigningKey.generate()
    write_private_key(private, key, passphrase=passphrase)
    write_public_key(public, key.verifying_key)
    click.echo(f"private: {private} (keep it, and the passphrase apart from it)")
    click.echo(f"public:  {public} (give it to whoever verifies)")
    click.echo(f"id:      {key.id}")
