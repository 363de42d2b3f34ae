"""The code of the pages on audited and split encrypted models runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("tenseal")
pytest.importorskip("sklearn")
pytest.importorskip("torch")

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (HOWTO / name).read_text(), flags=re.DOTALL)


def test_the_audit_passes_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("audit-an-encrypted-model.md")
    exec(compile(block, "audit", "exec"), {})
    told = capsys.readouterr().out
    assert told.startswith("PASS")
    assert told.count("30 of 30 recovered exactly") == 3
    assert told.count("0 of 30 recovered exactly") == 6  # as part of the others, and three times alone
    assert "31 metered rows determine the model" in told


def test_the_split_gives_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    first, second = blocks("split-a-model.md")
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        exec(compile(first, "split", "exec"), names)
    exec(compile(second, "split", "exec"), names)
    told = capsys.readouterr().out
    assert "13 metered rows determine it" in told
    assert "97.9% of the model" in told
    assert names["features"].shape == (300, 12)  # type: ignore[attr-defined]
    assert (tmp_path / "front" / "front.json").exists()
