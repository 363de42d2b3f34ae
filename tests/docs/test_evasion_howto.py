"""The code of the pages about attacking and certifying a classifier runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGES = Path(__file__).resolve().parents[2] / "docs" / "howto"


def _run(page: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    for block in re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), flags=re.DOTALL):
        exec(compile(block, page, "exec"), names)
    return names


def test_the_page_about_attacks_breaks_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    names = _run("attack-a-classifier.md")
    assert "evasion.pgd: attack_success_rate" in capsys.readouterr().out
    assert names["result"].rate > 0.2
    table = set(re.findall(r"`([a-z-]+)`", (PAGES / "attack-a-classifier.md").read_text()))
    assert {check.name for check in names["checks"]} <= table
    own = {"budget", "deterministic", "finite-answers", "within-threat"}  # the driver's, explained elsewhere
    assert {check.name for check in names["believed"].checks} - own <= table


def test_the_page_about_certificates_certifies_most_digits() -> None:
    names = _run("certify-with-smoothing.md")
    reached = [
        one.radius >= 0.25 and one.label == y
        for one, y in zip(names["certificates"], names["y"][1297:1397], strict=True)
    ]
    assert sum(reached) > 50
    assert names["certificates"][0].claim().direction == "at_least"
    assert (names["labels"] == names["y"][1297:1307]).mean() >= 0.5
    assert names["result"].rate is not None
