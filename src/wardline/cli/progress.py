"""Progress on a terminal: one line per stage, drawn by rich; JSON lines where there is no terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from wardline.core.progress import JsonLinesProgress, NoProgress, Progress


class TerminalProgress:
    """A bar for the stage at work, and a finished line for each one before it.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=Console(file=stream),
        )
        self._task = self._bars.add_task("", visible=False, detail="")

    def start(self, stage: str, total: int) -> None:
        """Open a bar; a bar without a total moves to and fro."""
        self._bars.start()
        self._task = self._bars.add_task(stage, total=total or None, detail="")

    def advance(self, done: int, detail: str = "") -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=done, detail=detail)

    def finish(self, detail: str = "") -> None:
        """Fill the bar."""
        total = self._bars.tasks[-1].total or 1
        self._bars.update(self._task, total=total, completed=total, detail=detail)
        self._bars.stop()


def choose_progress(*, quiet: bool) -> Progress:
    """A bar on a terminal, JSON lines otherwise, nothing if asked to be quiet."""
    if quiet:
        return NoProgress()
    return TerminalProgress(sys.stderr) if sys.stderr.isatty() else JsonLinesProgress(sys.stderr)
