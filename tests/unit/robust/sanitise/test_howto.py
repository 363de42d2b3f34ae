"""The code of docs/howto/find-a-backdoor.md and docs/howto/clean-training-data.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[4] / "docs" / "howto"


@pytest.mark.parametrize(
    ("page", "blocks", "printed"),
    [
        ("find-a-backdoor.md", 4, "looks backdoored towards class 0"),
        ("clean-training-data.md", 4, "after taking out 160 rows"),
    ],
)
def test_the_code_of_the_page_runs(page, blocks, printed, capsys):
    found = re.findall(r"```python\n(.*?)```", (FOLDER / page).read_text(), flags=re.DOTALL)
    assert len(found) == blocks
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block, page, "exec"), names)
    assert printed in capsys.readouterr().out
