"""A small valid policy, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wardline.core import PolicyError
from wardline.policy import parse_policy

GOOD = """\
schema: 1
project: adult-income
purpose: Predict who earns more.
data:
  source: file:adult.parquet
  target: income
  unit: row
  holdout: 0.25
  budget: {epsilon: 10, delta: 1e-4}
  columns:
    age: {kind: number, low: 17, high: 90}
    gain: {kind: integer, low: 0, high: 99999, scale: log}
    work: {kind: category, values: ["?", Private, no], missing: true}
    person: {kind: ignore}
    income: {kind: category, values: ["<=50K", ">50K"]}
model: {kind: mlp, hidden: [64]}
threats:
  - {adversary: outsider, access: artefact, goal: membership}
protections:
  - kind: dp-sgd
    epsilon: 3
    delta: 1e-5
attacks:
  - {kind: membership, methods: [loss, rmia, lira], references: 16}
  - {kind: audit, canaries: 1000}
gates:
  - {rule: claims-hold}
  - {rule: accuracy, at_least: 0.835}
  - {rule: membership-tpr, at_fpr: 0.01, at_most: 0.05}
waivers:
  - {rule: accuracy, who: "A. Person <a@b.example>", why: pilot only, until: 2027-06-30}
evidence: {title: A pilot, seed: 7}
"""

Refused = Callable[..., PolicyError]


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def refused() -> Refused:
    """Replace one piece of the good policy, load it, and hand back the error that must come."""

    def change(old: str, new: str) -> PolicyError:
        assert GOOD.count(old) == 1, f"{old!r} occurs {GOOD.count(old)} times"
        with pytest.raises(PolicyError) as caught:
            parse_policy(GOOD.replace(old, new).encode(), path=Path("folder/policy.yaml"))
        error = caught.value
        assert error.hint, "every error has a remedy"
        assert error.message[0].islower() or not error.message[0].isalpha()
        return error

    return change
