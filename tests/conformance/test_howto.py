"""The code of docs/howto/check-a-mechanism.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "check-a-mechanism.md"


def test_the_code_of_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "audit.mechanism: epsilon = 0.4" in printed
    assert printed.count("pass ") == 7
    table = set(re.findall(r"^\| `([a-z ]+)`", PAGE.read_text(), flags=re.MULTILINE))
    assert table == {check.name for check in names["report"].checks}
