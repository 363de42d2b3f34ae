"""Options that several commands share, and how a signing key is opened from them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from wardline.crypto import SigningKey

Command = TypeVar("Command", bound=Callable[..., Any])

FORMAT = click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", help="How to print the result."
)

PASSPHRASE_FD = click.option(
    "--passphrase-fd", type=int, help="File descriptor to read the key's passphrase from (else WARDLINE_PASSPHRASE)."
)


def key_options(command: Command) -> Command:
    """The options that name a signing key."""
    for option in (
        PASSPHRASE_FD,
        click.option("--key-fd", type=int, help="File descriptor to read an unencrypted private key from."),
        click.option(
            "--key", type=click.Path(path_type=Path), help="Private key file (else WARDLINE_PRIVATE_KEY holds the key)."
        ),
    ):
        command = option(command)
    return command


def open_key(key: Path | None, *, key_fd: int | None, passphrase_fd: int | None) -> SigningKey:
    """Open the signing key that the options name; asks for a passphrase only on a terminal."""
    from wardline.crypto import open_signing_key

    return open_signing_key(key, private_key_fd=key_fd, passphrase_fd=passphrase_fd, prompt=ask_passphrase())


def ask_passphrase(*, confirm: bool = False) -> Callable[[], str] | None:
    """A question for a passphrase, or None where nobody is there to answer."""
    if not sys.stdin.isatty():
        return None
    return lambda: str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
