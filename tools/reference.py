"""Write the pages of docs/reference from the code: the policy's schema, the commands' help, the codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from wardline.cli.app import COMMANDS, cli
from wardline.cli.explain_command import documented
from wardline.policy import reference_markdown
from wardline.policy.release_reference import release_markdown

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made from the code by tools/reference.py; do not edit. -->\n\n"


def commands_page() -> str:
    """The help text of every command."""
    lines = [NOTE + "# Commands\n"]
    root = click.Context(cli, info_name="wardline", max_content_width=100, terminal_width=100)
    for name in sorted(COMMANDS):
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, max_content_width=100, terminal_width=100)
        for entry, where in _with_children(command, context):
            lines.append(f"## {where.command_path}\n\n```text\n{entry.get_help(where)}\n```\n")
    return "\n".join(lines)


def _with_children(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            sub = command.get_command(context, child)
            assert sub is not None
            yield from _with_children(sub, click.Context(sub, info_name=child, parent=context, terminal_width=100))


def codes_page() -> str:
    """The text behind every code."""
    lines = [NOTE + "# Codes\n\nWhat `wardline explain CODE` says.\n"]
    for text in documented().values():
        head, _, body = text.partition("\n\n")
        lines.append(f"## {head}\n\n{body}\n")
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every generated page by its path."""
    folder = ROOT / "docs" / "reference"
    return {
        folder / "policy.md": reference_markdown(),
        folder / "release.md": release_markdown(),
        folder / "commands.md": commands_page(),
        folder / "codes.md": codes_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
