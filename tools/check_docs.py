"""Check the documentation: links lead somewhere, commands exist as written, generated pages are current."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent))

from reference import ROOT, pages

from wardline.cli.app import cli

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
BLOCK = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """All pages that a person reads."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    return [
        f"{page.relative_to(ROOT)}: link to {target} leads nowhere"
        for target in LINK.findall(text)
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()
    ]


def unknown_commands(page: Path, text: str) -> list[str]:
    """Commands in shell blocks that `wardline` does not have, or options that they do not take."""
    problems = []
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.removeprefix("$ ").split("&&"):
                words = shlex.split(part, comments=True)
                if words[:1] == ["wardline"]:
                    problems += [f"{page.relative_to(ROOT)}: {part.strip()}: {what}" for what in _misfits(words[1:])]
    return problems


def _misfits(words: list[str]) -> list[str]:
    command: click.Command = cli
    context = click.Context(cli, info_name="wardline")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return [f"no command {words[0]}"]
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version", "-h", "-v"}
    return [f"no option {word}" for word in words if word.startswith("-") and word.split("=")[0] not in known]


def stale_pages() -> list[str]:
    """Generated pages that differ from what the code would generate."""
    return [
        f"{path.relative_to(ROOT)}: not what the code says; run `python tools/reference.py`"
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Print every problem; exit 1 if there is one."""
    problems = stale_pages()
    for page in documents():
        text = page.read_text(encoding="utf-8")
        problems += broken_links(page, text) + unknown_commands(page, text)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"documentation: {len(documents())} pages, {len(problems)} problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
