"""What several tests share: where the real data is, and a small project that runs in seconds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from everywhere import everywhere
from made_up import people
from servers import postgres_url, spark_session

__all__ = ["everywhere", "postgres_url", "spark_session"]  # fixtures, for every test

DATA = Path(os.environ.get("WARDLINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

SMALL_POLICY = """\
schema: 1
project: small
purpose: Show that a run works on made-up people.
data:
  source: file:people.csv
  target: sick
  unit: row
  holdout: 0.4
  columns:
    age: {kind: integer, low: 0, high: 120}
    dose: {kind: number, low: 0, high: 10}
    ward: {kind: category, values: [north, south, west]}
    sick: {kind: category, values: ["no", "yes"]}
model: {kind: logistic}
threats:
  - {adversary: outsider, access: artefact, goal: membership}
protections:
  - {kind: dp-sgd, epsilon: 2, delta: 1e-4, epochs: 10}
attacks:
  - {kind: membership, methods: [loss, lira], references: 4, fpr: [0.01]}
  - {kind: audit, canaries: 200}
gates:
  - {rule: claims-hold}
  - {rule: accuracy, at_least: 0.6}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that no worker is left with a long one while the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the public data sets; the test is skipped where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets in {DATA}; set WARDLINE_DATA")
    return DATA


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A folder with a small table and its policy; returns the policy's path."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "people.csv").write_text(people())
    policy = folder / "policy.yaml"
    policy.write_text(SMALL_POLICY)
    return policy
