"""A policy with other settings: the author's words stay, the figures change, and the result is a policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from wardline.core import PolicyError
from wardline.policy import parse_policy
from wardline.policy.rewrite import with_training

TEXT = """\
# why we do this
schema: 1
project: small
purpose: Show it.
data:
  source: file:people.csv
  target: sick
  unit: row
  columns:
    age: {kind: integer, low: 0, high: 120}  # in years
    sick: {kind: category, values: ["no", "yes"]}
model: {kind: logistic}
threats:
  - {adversary: outsider, access: artefact, goal: membership}
protections:
  - {kind: dp-sgd, epsilon: 2, delta: 1e-4, epochs: 10}  # agreed in May
attacks:
  - {kind: audit, canaries: 200}
gates:
  - {rule: claims-hold}
"""


def test_only_the_settings_change() -> None:
    loaded = parse_policy(TEXT.encode(), path=Path("policy.yaml"))
    text = with_training(loaded, {"epsilon": 0.5, "batch": 64, "epochs": 12.5, "delta": 1e-5}, note="found\ntoday")
    changed = parse_policy(text.encode()).policy
    assert changed.protections[0].model_dump(exclude_none=True) == {
        "kind": "dp-sgd",
        "epsilon": 0.5,
        "delta": 1e-5,
        "batch": 64,
        "epochs": 12.5,
    }
    assert changed.model_copy(update={"protections": loaded.policy.protections}) == loaded.policy
    assert text.startswith("# found\n# today\n# why we do this\n")
    assert "# in years" in text
    assert "# agreed in May" in text


def test_what_makes_no_policy_is_refused() -> None:
    loaded = parse_policy(TEXT.encode(), path=Path("policy.yaml"))
    with pytest.raises(ValueError, match="no such setting: noise"):
        with_training(loaded, {"noise": 1}, note="")
    with pytest.raises(PolicyError, match="epsilon"):
        with_training(loaded, {"epsilon": -1}, note="")
