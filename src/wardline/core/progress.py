"""Progress of long work: a protocol, and the two forms that need no terminal."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Protocol, TextIO


class Progress(Protocol):
    """Told how far work has come. Stages nest. Implementations must be cheap: they are called in loops."""

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
        self._open: list[_Open] = []

    def start(self, stage: str, total: int) -> None:
        """Tell that a stage begins, perhaps inside another one."""
        self._open.append(_Open(stage=stage, total=total, began=time.monotonic()))
        self._write("start", 0, "")

    def advance(self, done: int, detail: str = "") -> None:
        """Tell how far it is, unless that was told within the last second."""
        innermost = self._open[-1]
        now = time.monotonic()
        if now - innermost.told >= 1.0:
            innermost.told = now
            self._write("progress", done, detail)

    def finish(self, detail: str = "") -> None:
        """Tell that the innermost open stage is finished."""
        self._write("finish", self._open[-1].total, detail)
        self._open.pop()

    def _write(self, event: str, done: int, detail: str) -> None:
        innermost = self._open[-1]
        line = {
            "event": event,
            "stage": innermost.stage,
            "done": done,
            "total": innermost.total,
            "seconds": round(time.monotonic() - innermost.began, 3),
        }
        if detail:
            line["detail"] = detail
        print(json.dumps(line), file=self._stream, flush=True)


@dataclass(slots=True, kw_only=True)
class _Open:
    """A stage that has begun and not finished."""

    stage: str
    total: int
    began: float
    told: float = field(init=False)

    def __post_init__(self) -> None:
        self.told = self.began
