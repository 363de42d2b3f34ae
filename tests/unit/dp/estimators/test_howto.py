"""The snippets of the how-to page run, in the order in which they stand there."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[4] / "docs" / "howto" / "private-estimators.md"


def test_the_snippets_run(capsys):
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 3
    names: dict[str, object] = {}
    shown = []
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
        shown.append(capsys.readouterr().out.splitlines())
    assert float(shown[0][0]) > 0.8
    assert shown[0][1] == "dp.logistic_regression: epsilon <= 1"
    assert float(shown[1][0]) > 0.85
    assert "above its limit of 1.2" in shown[2][0]
