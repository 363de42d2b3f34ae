"""Whole runs: policy in, evidence out; killed at every boundary and gone on with; broken on purpose and caught."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wardline import load
from wardline.core import BudgetError, NoProgress, Verdict, digest_file
from wardline.crypto import SigningKey
from wardline.dp import Ledger
from wardline.evidence import verify_bundle
from wardline.run import RunOptions, plan_run, run
from wardline.run.workspace import Workspace

# Runs the policy and kills itself, hard, at the n-th event of a kind: progress is told at every boundary.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from wardline.core import NoProgress
from wardline.crypto import SigningKey
from wardline.run import RunOptions, run

policy, out, event, stage, count = sys.argv[1:]

class Killing(NoProgress):
    left = int(count)
    open = []
    def hit(self, what):
        if what == event and self.open[-1] == stage:
            Killing.left -= 1
            if Killing.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    def start(self, stage, total):
        self.open.append(stage)
        self.hit("start")
    def advance(self, done, detail=""):
        self.hit("advance")
    def finish(self, detail=""):
        self.hit("finish")
        self.open.pop()

out = Path(out)
options = RunOptions(out=out, ledger=out.parent / "ledger.sqlite", key=SigningKey.generate())
outcome = run(Path(policy), options=options, progress=Killing())
print(outcome.gate.verdict.value)
"""

INNER = "training with differential privacy"
# Event, stage, how often it has to come, and the stages that are finished when it does. Each boundary is reached for
# the first time when its turn comes: the stages after it have left nothing yet.
BOUNDARIES = [
    ("start", "select", 1, []),
    ("start", "train", 1, ["select"]),
    ("start", INNER, 1, ["select"]),
    ("advance", INNER, 5, ["select"]),
    ("advance", INNER, 10, ["select"]),
    ("finish", INNER, 1, ["select"]),
    ("finish", "train", 1, ["select", "train"]),
    ("start", "baseline", 1, ["select", "train"]),
    ("start", "utility", 1, ["select", "train", "baseline"]),
    ("start", "membership", 1, ["select", "train", "baseline", "utility"]),
    ("start", "audit", 1, ["select", "train", "baseline", "utility", "membership"]),
    ("advance", INNER, 5, ["select", "train", "baseline", "utility", "membership"]),
    ("finish", "audit", 1, ["select", "train", "baseline", "utility", "membership"]),  # the attack's own end
    ("finish", "audit", 2, ["select", "train", "baseline", "utility", "membership", "audit"]),  # the stage's
    ("start", "evidence", 1, ["select", "train", "baseline", "utility", "membership", "audit"]),
    ("finish", "evidence", 1, ["select", "train", "baseline", "utility", "membership", "audit", "evidence"]),
]


def child(policy: Path, out: Path, event: str, stage: str, count: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED_RUN, str(policy), str(out), event, stage, str(count)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def charged(ledger: Ledger) -> int:
    """How many charges there are, each under an id of its own."""
    charges = [entry.release_id for entry in ledger.entries() if entry.kind == "charge"]
    assert len(set(charges)) == len(charges)
    return len(charges)


@pytest.mark.slow
def test_killed_at_every_boundary_then_resumed(small_project: Path, tmp_path: Path) -> None:
    """One run, killed at each boundary in turn and in the middle of training: same verdict, one charge."""
    unbroken = child(small_project, tmp_path / "unbroken" / "run", "never", "", 0)
    assert unbroken.returncode == 0, unbroken.stderr
    out = tmp_path / "broken" / "run"
    for event, stage, count, finished_stages in BOUNDARIES:
        killed = child(small_project, out, event, stage, count)
        assert killed.returncode == -signal.SIGKILL, (event, stage, killed.stdout, killed.stderr)
        assert {path.stem for path in (out / "stages").glob("*.json")} == set(finished_stages), (event, stage, count)
        assert not (out / "evidence").exists()
    finished = child(small_project, out, "never", "", 0)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == unbroken.stdout
    ledger = Ledger(tmp_path / "broken" / "ledger.sqlite")
    ledger.verify()
    assert charged(ledger) == 1
    # A second run in another folder is another release of the same data, and is charged.
    child(small_project, tmp_path / "broken" / "again", "never", "", 0)
    ledger = Ledger(tmp_path / "broken" / "ledger.sqlite")
    assert charged(ledger) == 2


def options(folder: Path, key: SigningKey | None = None) -> RunOptions:
    return RunOptions(out=folder / "run", ledger=folder / "ledger.sqlite", key=key or SigningKey.generate())


def test_policy_in_evidence_out(small_project: Path, tmp_path: Path) -> None:
    key = SigningKey.generate()
    outcome = run(small_project, options=options(tmp_path, key))
    assert outcome.gate.verdict is Verdict.PASS, outcome.gate
    verified = verify_bundle(tmp_path / "run" / "evidence", key.verifying_key)
    assert verified.predicate["verdict"]["outcome"] == "pass"
    assert verified.predicate["ledger"]["releases"] == 1
    assert set(verified.subjects_checked) == {"report.html", "model.json", "model.safetensors"}
    model = load(tmp_path / "run" / "evidence")
    assert model.classes == ("no", "yes")
    assert np.isfinite(model.logits(np.zeros((3, len(model.features)), dtype=np.float32))).all()
    # The same command again keeps everything and charges nothing.
    again = run(small_project, options=options(tmp_path, key))
    assert set(again.reused) == {"select", "train", "baseline", "utility", "membership", "audit", "evidence"}
    assert again.predicate == outcome.predicate


def test_a_lost_result_is_a_second_release_and_is_charged(small_project: Path, tmp_path: Path) -> None:
    run(small_project, options=options(tmp_path))
    for path in (tmp_path / "run" / "objects").iterdir():
        path.unlink()
    again = run(small_project, options=options(tmp_path))
    assert "train" not in again.reused
    assert again.predicate["ledger"]["releases"] == 2


class Stopping(NoProgress):
    """Breaks off in the middle of the protected training."""

    def __init__(self) -> None:
        self.steps = 0

    def advance(self, done: int, detail: str = "") -> None:
        self.steps += 1
        if self.steps == 10:
            raise KeyboardInterrupt


def test_a_lost_checkpoint_is_a_second_release_and_is_charged(small_project: Path, tmp_path: Path) -> None:
    """Whoever has the lost checkpoint and the new model has seen more steps than one charge covers."""
    with pytest.raises(KeyboardInterrupt):
        run(small_project, options=options(tmp_path), progress=Stopping())
    ledger = Ledger(tmp_path / "ledger.sqlite")
    noted = ledger.checkpoint(next(entry.release_id for entry in ledger.entries() if entry.kind == "charge"))
    assert noted is not None
    (tmp_path / "run" / "objects" / noted[1]).unlink()
    assert run(small_project, options=options(tmp_path)).predicate["ledger"]["releases"] == 2


def test_stopped_between_sealing_and_recording_the_sealed_model_is_the_result(
    small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Workspace, *, keep: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "prune", stop)
        with pytest.raises(KeyboardInterrupt):
            run(small_project, options=options(tmp_path))
    ledger = Ledger(tmp_path / "ledger.sqlite")
    release = next(entry.release_id for entry in ledger.entries() if entry.kind == "charge")
    sealed = ledger.sealed(release)
    assert sealed is not None
    again = run(small_project, options=options(tmp_path))
    assert again.predicate["ledger"]["releases"] == 1
    index = json.loads((tmp_path / "run" / "objects" / sealed).read_bytes())
    for name, sha256 in index.items():
        assert digest_file(again.evidence.parent / name) == sha256


def test_a_changed_gate_keeps_the_training(small_project: Path, tmp_path: Path) -> None:
    run(small_project, options=options(tmp_path))
    small_project.write_text(small_project.read_text().replace("at_least: 0.6", "at_least: 0.999"))
    again = run(small_project, options=options(tmp_path))
    assert again.gate.verdict is Verdict.FAIL
    assert {"train", "baseline", "membership", "audit"} <= set(again.reused)
    assert again.predicate["ledger"]["releases"] == 1


def test_a_changed_epsilon_is_another_release(small_project: Path, tmp_path: Path) -> None:
    run(small_project, options=options(tmp_path))
    small_project.write_text(small_project.read_text().replace("epsilon: 2", "epsilon: 1"))
    again = run(small_project, options=options(tmp_path))
    assert again.predicate["ledger"]["releases"] == 2
    assert again.predicate["claims"][0]["value"] == 1


def test_a_changed_contract_is_another_release(small_project: Path, tmp_path: Path) -> None:
    """The rows are the same, but they are encoded otherwise: nothing computed from them may be kept."""
    run(small_project, options=options(tmp_path))
    small_project.write_text(small_project.read_text().replace("low: 0, high: 10}", "low: 0, high: 20}"))
    again = run(small_project, options=options(tmp_path))
    assert again.reused == ()
    assert again.predicate["ledger"]["releases"] == 2


def test_a_changed_budget_keeps_everything_but_the_evidence(small_project: Path, tmp_path: Path) -> None:
    run(small_project, options=options(tmp_path))
    text = small_project.read_text().replace("  holdout:", "  budget: {epsilon: 9, delta: 1e-4}\n  holdout:")
    small_project.write_text(text)
    again = run(small_project, options=options(tmp_path))
    assert set(again.reused) == {"select", "train", "baseline", "utility", "membership", "audit"}
    assert again.predicate["ledger"]["limit"] == {"epsilon": 9, "delta": 1e-4, "adaptive": True}


def test_an_exhausted_budget_stops_before_training(small_project: Path, tmp_path: Path) -> None:
    text = small_project.read_text().replace("  holdout:", "  budget: {epsilon: 2.5, delta: 1e-4}\n  holdout:")
    small_project.write_text(text)
    run(small_project, options=options(tmp_path))
    other = RunOptions(out=tmp_path / "other", ledger=tmp_path / "ledger.sqlite", key=None)
    with pytest.raises(BudgetError) as error:
        run(small_project, options=other)
    assert error.value.hint
    assert not (tmp_path / "other" / "stages" / "train.json").exists()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert charged(ledger) == 1


def test_the_plan_shows_the_noise_and_writes_nothing(small_project: Path) -> None:
    before = sorted(small_project.parent.iterdir())
    plan = plan_run(small_project)
    assert plan.training.noise_multiplier > 0.5
    text = str(plan)
    assert "noise_multiplier" in text
    assert "epsilon <= 2" in text
    assert sorted(small_project.parent.iterdir()) == before


BROKEN_POLICY = """\
schema: 1
project: broken
purpose: A model whose noise was lost, while epsilon 1 is claimed.
data:
  source: file:rows.csv
  target: label
  unit: row
  holdout: 0.5
  columns:
{columns}
    label: {{kind: category, values: [a, b]}}
model: {{kind: mlp, hidden: [64]}}
threats:
  - {{adversary: outsider, access: artefact, goal: membership}}
protections:
  - {{kind: dp-sgd, epsilon: 1, delta: 1e-4, epochs: 40}}
attacks:
  - {{kind: audit, canaries: 300}}
gates:
  - {{rule: claims-hold}}
"""


def overfitting_project(folder: Path) -> Path:
    """500 training rows of pure noise: whatever an MLP learns of them, it has memorised."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (1000, 20))
    labels = rng.choice(["a", "b"], 1000)
    header = ",".join(f"x{i}" for i in range(20)) + ",label\n"
    rows = "\n".join(",".join(f"{v:.4f}" for v in row) + f",{label}" for row, label in zip(x, labels, strict=True))
    (folder / "rows.csv").write_text(header + rows + "\n")
    columns = "\n".join(f"    x{i}: {{kind: number, low: -1, high: 1}}" for i in range(20))
    policy = folder / "policy.yaml"
    policy.write_text(BROKEN_POLICY.format(columns=columns))
    return policy


def test_a_model_without_its_noise_fails_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect that everything here exists to catch; the intact code passes the same policy."""
    policy = overfitting_project(tmp_path / "project")
    intact = run(policy, options=options(tmp_path / "intact"))
    assert intact.gate.verdict is Verdict.PASS, intact.gate
    lost = "wardline.core.rng.SecureRandom.gaussian"
    monkeypatch.setattr(lost, lambda self, count: np.zeros(count))
    broken = run(policy, options=options(tmp_path / "broken"))
    assert broken.gate.verdict is Verdict.FAIL
    measured = next(one for one in broken.measurements if one.id == "audit.epsilon")
    assert measured.value is not None
    assert measured.value > 1.0
    judgement = next(one for one, _ in broken.gate.judgements if one.rule == "claims-hold")
    assert judgement.outcome is Verdict.FAIL
    report = (tmp_path / "broken" / "run" / "evidence" / "report.html").read_text()
    assert "fail" in report.lower()


def test_the_command_line_ends_with_the_report(small_project: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "WARDLINE_PASSPHRASE": "correct horse battery staple", "OMP_NUM_THREADS": "1"}

    def wardline(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wardline", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )

    made = wardline("keys", "new", "signer")
    assert made.returncode == 0, made.stderr
    done = wardline("run", str(small_project), "--out", "out", "--key", "signer.key")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1] == "report: out/evidence/report.html"
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"start", "finish"} <= {event["event"] for event in events}
    verified = wardline("verify", "out/evidence", "--key", "signer.pub", "--format", "json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["verdict"] == "pass"
    report = tmp_path / "out" / "evidence" / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    tampered = wardline("verify", "out/evidence", "--key", "signer.pub")
    assert tampered.returncode == 3
    assert tampered.stderr.startswith("error:")
