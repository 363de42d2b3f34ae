"""The code of docs/howto/protect-a-model-from-copying.md runs as it stands there, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "protect-a-model-from-copying.md"


def test_the_code_of_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    exact, rounded, labels = (float(rate) for rate in re.findall(r"agreement (\d\.\d+)", printed))
    assert exact == 1.0
    assert min(rounded, labels) > 0.95
    assert "not shown to know the watermark" in printed
