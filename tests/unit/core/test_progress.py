"""Progress as JSON lines: one object a line, seldom, and complete."""

from __future__ import annotations

import io
import json

import pytest

from wardline.core import JsonLinesProgress, NoProgress, progress


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = _Clock(), io.StringIO()
    monkeypatch.setattr(progress, "time", clock)
    teller = JsonLinesProgress(stream)
    teller.start("train", 1000)
    for done in range(1, 1001):
        clock.now += 0.01
        teller.advance(done, "loss\n0.5" if done > 500 else "")
    teller.finish("done")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"event": "start", "stage": "train", "done": 0, "total": 1000, "seconds": 0.0}
    assert lines[-1] == {
        "event": "finish",
        "stage": "train",
        "done": 1000,
        "total": 1000,
        "seconds": 10.0,
        "detail": "done",
    }
    told = lines[1:-1]
    assert 8 <= len(told) <= 10, "about one a second"
    assert [line["event"] for line in told] == ["progress"] * len(told)
    assert [line["done"] for line in told] == sorted(line["done"] for line in told)
    assert [line.get("detail") for line in told if line["done"] > 500] == ["loss\n0.5"] * sum(
        line["done"] > 500 for line in told
    )


def test_silence() -> None:
    teller = NoProgress()
    teller.start("train", 10)
    teller.advance(1)
    teller.finish()
