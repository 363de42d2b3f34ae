"""Progress of long work: a protocol, and the two forms that need no terminal."""

from __future__ import annotations

import json
import time
from typing import Protocol, TextIO


class Progress(Protocol):
    """Told how far work has come. Implementations must be cheap: they are called in loops."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` units of work begins (0 if nobody knows)."""

    def advance(self, done: int, detail: str = "") -> None:
        """`done` units of the current stage are finished."""

    def finish(self, detail: str = "") -> None:
        """The current stage is finished."""


class NoProgress:
    """Says nothing."""

    def start(self, stage: str, total: int) -> None:
        """Say nothing."""

    def advance(self, done: int, detail: str = "") -> None:
        """Say nothing."""

    def finish(self, detail: str = "") -> None:
        """Say nothing."""


class JsonLinesProgress:
    """Writes one JSON object a line, at most one a second while a stage goes on.

    Args:
        stream: where to write, usually standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage = ""
        self._total = 0
        self._began = 0.0
        self._told = 0.0

    def start(self, stage: str, total: int) -> None:
        """Tell that a stage begins."""
        self._stage, self._total = stage, total
        self._began = self._told = time.monotonic()
        self._write("start", 0, "")

    def advance(self, done: int, detail: str = "") -> None:
        """Tell how far it is, unless that was told within the last second."""
        now = time.monotonic()
        if now - self._told >= 1.0:
            self._told = now
            self._write("progress", done, detail)

    def finish(self, detail: str = "") -> None:
        """Tell that it is finished."""
        self._write("finish", self._total, detail)

    def _write(self, event: str, done: int, detail: str) -> None:
        line = {
            "event": event,
            "stage": self._stage,
            "done": done,
            "total": self._total,
            "seconds": round(time.monotonic() - self._began, 3),
        }
        if detail:
            line["detail"] = detail
        print(json.dumps(line), file=self._stream, flush=True)
