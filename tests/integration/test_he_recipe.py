"""The recipes of encrypted inference keep what their pages promise; few rows here, all of them in the recipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.data]


def run(data_root: Path, recipe: str, *words: str | Path) -> None:
    environment = {**os.environ, "WARDLINE_DATA": str(data_root)}
    command = [sys.executable, str(EXAMPLES / recipe), *map(str, words)]
    subprocess.run(command, env=environment, check=True, capture_output=True)


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return found


def test_decisions_on_loans_are_the_plain_ones(data_root: Path, tmp_path: Path) -> None:
    run(data_root, "loan-risk-encrypted/run.py", tmp_path)
    found = figures(tmp_path)
    assert {name: one["rows"] for name, one in found.items()} == {"german_credit": 800, "credit_default": 24_000}
    for one in found.values():
        assert one["agreement"] >= 0.999
        assert one["largest_error_within_ranges"] <= one["worst_error_of_the_plan"]
        assert abs(one["accuracy_held_out"] - one["plain_accuracy_held_out"]) < 0.001


def test_decisions_on_card_payments_are_the_plain_ones(data_root: Path, tmp_path: Path) -> None:
    run(data_root, "card-fraud-encrypted/run.py", tmp_path)
    found = figures(tmp_path)
    assert found["rows"] > 1500
    assert found["rows_charged"] == 2048
    assert found["agreement"] >= 0.999
    assert found["largest_error"] <= found["worst_error_of_the_plan"]
    assert abs(found["encrypted"]["average_precision"] - found["plain"]["average_precision"]) < 0.005
    assert found["plain"]["average_precision"] > 0.75


def test_digits_are_read_encrypted(data_root: Path, tmp_path: Path) -> None:
    """One epoch of training instead of twelve, a quarter of the pixels, and 128 images instead of 8,192."""
    run(data_root, "mnist-encrypted/train.py", tmp_path, "--epochs", "1", "--half")
    run(data_root, "mnist-encrypted/score.py", tmp_path, "--images", "128")
    found = figures(tmp_path)
    assert found["rows_charged"] == 128
    assert found["accuracy"] >= 0.9
    assert found["agreement"] >= 0.97  # 124 of 128: on 8,192 all were equal
    assert found["error"] <= 1.5 * found["predicted_error"]
    assert found["largest_error"] <= found["worst_error_of_the_plan"]
