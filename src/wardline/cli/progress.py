"""Progress on a terminal: one line per stage, drawn by rich; JSON lines where there is no terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from wardline.core.progress import JsonLinesProgress, NoProgress, Progress

if TYPE_CHECKING:
    from rich.progress import TaskID


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
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=Console(file=stream),
            transient=True,
        )
        self._open: list[TaskID] = []

    def start(self, stage: str, total: int) -> None:
        """Open a bar, indented under the one that is open; a bar without a total moves to and fro."""
        self._bars.start()
        self._open.append(self._bars.add_task("  " * len(self._open) + stage, total=total or None, detail=""))

    def advance(self, done: int, detail: str = "") -> None:
        """Move the innermost bar."""
        self._bars.update(self._open[-1], completed=done, detail=detail)

    def finish(self, detail: str = "") -> None:
        """Remove the innermost bar; an outermost one leaves a line that stays."""
        number = self._open.pop()
        task = next(task for task in self._bars.tasks if task.id == number)
        if not self._open:
            seconds = f"{task.elapsed or 0:.1f} s"
            self._bars.console.print(f"[green]✓[/] {task.description:<12} {detail or seconds}")
        self._bars.remove_task(number)
        if not self._open:
            self._bars.stop()


def choose_progress(*, quiet: bool) -> Progress:
    """A bar on a terminal, JSON lines otherwise, nothing if asked to be quiet."""
    if quiet:
        return NoProgress()
    return TerminalProgress(sys.stderr) if sys.stderr.isatty() else JsonLinesProgress(sys.stderr)
