"""The how-to runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("tenseal")
pytest.importorskip("sklearn")

HOWTO = Path(__file__).resolve().parents[4] / "docs" / "howto" / "score-with-encrypted-forests.md"


def test_the_code_of_the_howto_runs(capsys) -> None:
    code = re.findall(r"```python\n(.*?)```", HOWTO.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 2
    exec(compile("\n".join(code), str(HOWTO), "exec"), {})
    told = capsys.readouterr().out
    agreement = float(told.rsplit("agreement", 1)[1])
    assert agreement >= 0.99  # 169 rows: at most one of them
    assert "40 thresholds, which they know" in told
