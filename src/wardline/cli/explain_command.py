"""`wardline explain`: the text behind a code."""

from __future__ import annotations

import inspect

import click

from wardline.core import UsageError
from wardline.core.errors import WardlineError


def documented() -> dict[str, str]:
    """Every code with its text: errors from the tree, gate rules from the gate, both from their docstrings."""
    from wardline.gate import RULES

    texts: dict[str, str] = {}
    waiting: list[type[WardlineError]] = WardlineError.__subclasses__()
    while waiting:
        error = waiting.pop()
        waiting.extend(error.__subclasses__())
        texts[error.code] = f"{error.code} ({error.__name__}, exit code {error.exit_code})\n\n{inspect.getdoc(error)}"
    for rule in RULES:
        texts[rule.code] = f"{rule.code} (gate rule {rule.name})\n\n{inspect.getdoc(rule)}"
    return dict(sorted(texts.items()))


@click.command("explain", epilog="Example: wardline explain WL-G101")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Say what a code means and what to do about it.

    Without CODE, list all codes.
    """
    texts = documented()
    if code is None:
        for text in texts.values():
            head, _, body = text.partition("\n\n")
            click.echo(f"{head}: {body.splitlines()[0]}")
    elif code.upper() in texts:
        click.echo(texts[code.upper()])
    else:
        raise UsageError(f"no code {code}", hint="`wardline explain` lists them all")
