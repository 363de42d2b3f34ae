"""The code of docs/howto/release-on-postgresql-or-spark.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "release-on-postgresql-or-spark.md"


def test_the_code_of_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert re.search(r"^north +(9|10),?\d\d\d ", printed, flags=re.MULTILINE)
    assert names["made"].table.num_rows == 3
