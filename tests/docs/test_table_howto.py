"""The code of docs/howto/attack-a-table-model.md runs as it stands there, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "attack-a-table-model.md"


def test_the_code_of_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    one, two = (float(rate) for rate in re.findall(r"attack_success_rate (\d\.\d+)", printed))
    assert 0 < one < two
    assert "amount" in printed
    assert "age" not in printed.replace("agree", "")
