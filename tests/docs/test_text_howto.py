"""The code of docs/howto/harden-a-text-classifier.md runs as it stands there, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "harden-a-text-classifier.md"


@pytest.mark.data
@pytest.mark.slow
def test_the_code_of_the_page_runs(monkeypatch, data_root, capsys):
    monkeypatch.setenv("WARDLINE_DATA", str(data_root))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    rates = [float(rate) for rate in re.findall(r"attack_success_rate (\d\.\d+)", printed)]
    assert len(rates) == 3
    broken, undone, adapted = rates
    assert broken > 0.3
    assert undone < 0.1
    assert adapted > 0.2
