"""The examples and the shapes of data that the other runs do not have: persons with several rows, images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wardline.core import Measurement, Verdict
from wardline.crypto import SigningKey
from wardline.run import RunOptions, RunOutcome, run

ROOT = Path(__file__).resolve().parents[2]


def run_in(folder: Path, policy: Path, local_copy: Path | None = None) -> RunOutcome:
    options = RunOptions(
        out=folder / "run", ledger=folder / "ledger.sqlite", key=SigningKey.generate(), local_copy=local_copy
    )
    return run(policy, options=options)


def found(outcome: RunOutcome, identifier: str) -> Measurement:
    return next(one for one in outcome.measurements if one.id == identifier)


@pytest.mark.slow
@pytest.mark.data
def test_adult_income_at_epsilon_3(data_root: Path, tmp_path: Path) -> None:
    """The example's promise: useful at epsilon 3, a fair baseline, and an audit that stays below the claim."""
    policy = ROOT / "examples" / "adult-income" / "policy.yaml"
    outcome = run_in(tmp_path, policy, data_root / "adult" / "train.parquet")
    assert outcome.gate.verdict is Verdict.PASS, outcome.gate
    assert (found(outcome, "utility.accuracy").value or 0) >= 0.835
    assert (found(outcome, "utility.baseline").value or 0) >= 0.845
    audit = found(outcome, "audit.epsilon")
    assert audit.value is not None
    assert audit.control is not None
    assert audit.value < 3 < audit.control.value


PERSONS = """\
schema: 1
project: persons
purpose: Several visits of each patient; the patient is what is protected.
data:
  source: file:visits.csv
  target: sick
  unit: {column: patient, max_rows: 3}
  columns:
    patient: {kind: ignore}
    dose: {kind: number, low: 0, high: 10}
    sick: {kind: boolean}
model: {kind: logistic}
threats:
  - {adversary: outsider, access: artefact, goal: membership}
protections:
  - {kind: dp-sgd, epsilon: 4, delta: 1e-5}
attacks:
  - {kind: audit, canaries: 1000}
gates:
  - {rule: accuracy, at_least: 0.7}
"""


def test_persons_with_several_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    patient = np.repeat(np.arange(600), rng.integers(1, 7, 600))
    dose = rng.uniform(0, 10, len(patient))
    sick = np.where(dose + rng.normal(0, 1.5, len(patient)) > 5, "true", "false")
    rows = "\n".join(f"p{p},{d:.3f},{s}" for p, d, s in zip(patient, dose, sick, strict=True))
    (tmp_path / "visits.csv").write_text(f"patient,dose,sick\n{rows}\n")
    (tmp_path / "policy.yaml").write_text(PERSONS)
    outcome = run_in(tmp_path, tmp_path / "policy.yaml")
    assert outcome.gate.verdict is Verdict.PASS, outcome.gate
    dataset = outcome.predicate["dataset"]
    assert (dataset["unit"], dataset["units"], dataset["rows"]) == ("patient", 600, len(patient))
    assert dataset["train_units"] + dataset["holdout_units"] == 600
    assert dataset["train_rows"] < len(patient) * 0.75  # some visits were left out
    claim = outcome.claims[0]
    assert claim.parameters["unit"] == "person"
    assert claim.parameters["max_rows_per_unit"] == 3
    assert claim.parameters["units"] == dataset["train_units"]


DIGITS = """\
schema: 1
project: digits
purpose: Read digits from small images.
data:
  source: sklearn:digits
  target: digit
  unit: row
  columns:
{pixels}
    digit: {{kind: category, values: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}
model: {{kind: cnn, shape: [1, 8, 8], channels: [16, 32], hidden: 32}}
threats:
  - {{adversary: outsider, access: artefact, goal: membership}}
protections:
  - {{kind: dp-sgd, epsilon: 8, delta: 1e-5, epochs: 20}}
attacks:
  - {{kind: audit, canaries: 100}}
gates:
  - {{rule: accuracy, at_least: 0.7}}
"""


def test_images(tmp_path: Path) -> None:
    pixels = "\n".join(f"    pixel_{i}: {{kind: integer, low: 0, high: 16}}" for i in range(64))
    (tmp_path / "policy.yaml").write_text(DIGITS.format(pixels=pixels))
    outcome = run_in(tmp_path, tmp_path / "policy.yaml")
    assert (found(outcome, "utility.accuracy").value or 0) >= 0.7
    assert outcome.predicate["model"]["architecture"]["kind"] == "cnn"
    # A hundred canaries cannot contradict epsilon 8, not even on an unprotected model, and that is no pass.
    assert outcome.gate.verdict is Verdict.INCONCLUSIVE
    control = found(outcome, "audit.epsilon").control
    assert control is not None
    assert not control.passed
