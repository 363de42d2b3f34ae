"""The snippets of the how-to pages about privacy attacks run; each page asserts what it promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[4] / "docs" / "howto"


@pytest.mark.parametrize("page", ["attack-privacy.md", "what-gradients-reveal.md"])
def test_the_snippets_run(page: str) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 1
    assert "assert " in snippets[0]
    exec(compile(snippets[0], page, "exec"), {})
