"""The recipe of loan risk on encrypted applications keeps what its page promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "loan-risk-encrypted" / "run.py"


@pytest.mark.slow
@pytest.mark.data
def test_encrypted_decisions_are_the_plain_ones(data_root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "WARDLINE_DATA": str(data_root)}
    subprocess.run([sys.executable, str(RECIPE), str(tmp_path)], env=environment, check=True, capture_output=True)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {name: one["rows"] for name, one in figures.items()} == {"german_credit": 800, "credit_default": 24_000}
    for one in figures.values():
        assert one["agreement"] >= 0.999
        assert one["largest_error_within_ranges"] <= one["worst_error_of_the_plan"]
        assert abs(one["accuracy_held_out"] - one["plain_accuracy_held_out"]) < 0.001
