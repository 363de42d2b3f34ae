"""Sweeps: on public rows for nothing, on protected rows for one charge, and never silently on the wrong ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from made_up import people
from wardline.cli.app import cli
from wardline.core import BudgetError, DataError, NoProgress
from wardline.dp import Ledger, train_dp
from wardline.plan import Plan
from wardline.policy import load_policy
from wardline.run import sweep_private
from wardline.run.inputs import load_inputs, select
from wardline.run.sweep import Floor, plan_at
from wardline.run.sweeps import SweepOptions, SweepSettings, cost_of_sweep, sweep


def _options(policy: Path) -> SweepOptions:
    folder = policy.parent
    return SweepOptions(
        out=folder / "sweep", write=folder / "ready.yaml", ledger=folder / "ledger.sqlite", local_copy=None
    )


def _settings(
    floor: float = 0.6, *, public: Path | None = None, epsilons: tuple[float, ...] = (1.0, 8.0)
) -> SweepSettings:
    return SweepSettings(
        floor=Floor(metric="accuracy", value=floor), epsilons=epsilons, repeats=3, runs=4.0, public=public
    )


@pytest.fixture
def public(small_project: Path) -> Path:
    path = small_project.parent / "public.csv"
    path.write_text(people(rows=900, seed=8))
    return path


def test_public_rows_give_a_policy_and_charge_nothing(small_project: Path, public: Path) -> None:
    options = _options(small_project)
    outcome = sweep(small_project, settings=_settings(public=public, epsilons=(0.01, 1.0, 8.0)), options=options)
    # Accuracy is 0.8 and more at epsilon 1 and 8 (measured); at 0.01 the noise is all there is.
    assert outcome.reached
    assert outcome.value["epsilon"] == 1.0
    assert [one["meets"] for one in outcome.value["tried"]] == [True, True, False]
    ready = load_policy(options.write).policy.protections[0]
    assert (ready.epsilon, ready.delta) == (1.0, 1e-4)
    assert None not in (ready.batch, ready.clip_norm, ready.learning_rate)
    # The ready policy trains as the first one would at that epsilon.
    before, after = (_plan(path, 1.0).training for path in (small_project, options.write))
    assert after.steps == before.steps
    assert after.sample_rate == pytest.approx(before.sample_rate, rel=0.01)
    assert after.noise_multiplier == pytest.approx(before.noise_multiplier, rel=0.01)
    assert after.clip_norm == before.clip_norm
    assert after.learning_rate == pytest.approx(before.learning_rate, rel=1e-5)
    assert not options.ledger.exists()
    page = (options.out / "sweep.html").read_text()
    assert "The lowest epsilon that reaches accuracy 0.6 is 1:" in page
    again = sweep(small_project, settings=_settings(public=public, epsilons=(0.01, 1.0, 8.0)), options=options)
    assert again.value == outcome.value  # kept, not trained anew


def _plan(path: Path, epsilon: float) -> Plan:
    loaded = load_policy(path)
    inputs = load_inputs(loaded, local_copy=None, progress=NoProgress())
    return plan_at(loaded, inputs, select(loaded, inputs), epsilon)


def test_a_floor_out_of_reach_gives_no_policy(small_project: Path, public: Path) -> None:
    options = _options(small_project)
    outcome = sweep(small_project, settings=_settings(0.999, public=public), options=options)
    assert not outcome.reached
    assert outcome.lines[0].startswith("No epsilon up to 8 is sure to reach accuracy 0.999")
    assert not options.write.exists()


def test_the_protected_rows_do_not_pass_for_public_ones(small_project: Path) -> None:
    copy = small_project.parent / "renamed.csv"
    copy.write_bytes((small_project.parent / "people.csv").read_bytes())
    with pytest.raises(DataError, match="the protected rows themselves"):
        sweep(small_project, settings=_settings(public=copy), options=_options(small_project))


def test_a_private_sweep_is_charged_once_and_before_it_trains(small_project: Path) -> None:
    options = _options(small_project)
    cost = cost_of_sweep(small_project, settings=_settings(), local_copy=None)
    assert 8.0 < cost.epsilon < 40.0
    outcome = sweep(small_project, settings=_settings(), options=options)
    ledger = Ledger(options.ledger)
    charges = [entry for entry in ledger.entries() if entry.kind == "charge"]
    assert len(charges) == 1
    event = charges[0].body["release"]["events"][0]
    assert event["epsilon"] == pytest.approx(cost.epsilon)
    # Nothing but the outcome is written anywhere: no number of runs, no other epsilon.
    assert set(outcome.value) == {"on", "floor", "epsilon", "accuracy", "meets", "cost"}
    again = sweep(small_project, settings=_settings(), options=options)
    assert again.value == outcome.value
    assert len([entry for entry in ledger.entries() if entry.kind == "charge"]) == 1


def test_a_private_sweep_stays_within_the_budget(small_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project.write_text(
        small_project.read_text().replace("  unit: row\n", "  unit: row\n  budget: {epsilon: 3, delta: 1e-3}\n")
    )
    trained = []
    monkeypatch.setattr(
        sweep_private, "train_dp", lambda *args, **kwargs: trained.append(1) or train_dp(*args, **kwargs)
    )
    with pytest.raises(BudgetError):
        sweep(small_project, settings=_settings(), options=_options(small_project))
    assert not trained


KILLED = """
import os, signal, sys
from pathlib import Path
from wardline.run import sweep_private
from wardline.run.sweep import Floor
from wardline.run.sweeps import SweepOptions, SweepSettings, sweep

policy = Path(sys.argv[1])
def killing(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
sweep_private.select_privately = killing
floor = Floor(metric="accuracy", value=0.6)
settings = SweepSettings(floor=floor, epsilons=(1.0, 8.0), repeats=3, runs=4.0, public=None)
folder = policy.parent
sweep(policy, settings=settings, options=SweepOptions(
    out=folder / "sweep", write=folder / "ready.yaml", ledger=folder / "ledger.sqlite", local_copy=None))
"""


def test_a_killed_private_sweep_goes_on_under_its_charge(small_project: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(small_project)], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    options = _options(small_project)
    kinds = [entry.kind for entry in Ledger(options.ledger).entries()]
    assert kinds.count("charge") == 1
    assert kinds.count("seal") == 0
    sweep(small_project, settings=_settings(), options=options)
    kinds = [entry.kind for entry in Ledger(options.ledger).entries()]
    assert kinds.count("charge") == 1
    assert kinds.count("seal") == 1
    # Its outcome is lost: another one is another release.
    (options.out / "stages" / "sweep-private.json").unlink()
    sweep(small_project, settings=_settings(), options=options)
    assert [entry.kind for entry in Ledger(options.ledger).entries()].count("charge") == 2


def test_the_command_asks_which_rows(small_project: Path, public: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    undecided = runner.invoke(cli, ["sweep", str(small_project), "--floor", "accuracy=0.6"])
    assert "costs budget" in str(undecided.exception)
    for floor in ("accuracy=1.5", "accuracy", "f1=0.5", "accuracy=nan"):
        refused = runner.invoke(cli, ["sweep", str(small_project), "--floor", floor, "--charge"])
        assert "is no floor" in str(refused.exception)
    refused = runner.invoke(
        cli, ["sweep", str(small_project), "--floor", "accuracy=.6", "--charge", "--epsilons", "1,-2"]
    )
    assert "no list of epsilons" in str(refused.exception)
    told = runner.invoke(
        cli,
        [
            "sweep",
            str(small_project),
            "--floor",
            "accuracy=0.6",
            "--charge",
            "--dry-run",
            "--quiet",
            "--format",
            "json",
        ],
    )
    assert json.loads(told.stdout)["delta"] == 1e-4
    occupied = tmp_path / "mine.yaml"
    occupied.write_text("precious")
    arguments = ["sweep", str(small_project), "--floor", "accuracy=0.6", "--public", str(public), "--quiet"]
    places = ["--epsilons", "8", "--repeats", "2", "--out", str(tmp_path / "s"), "--write", str(occupied)]
    refused = runner.invoke(cli, [*arguments, *places])
    assert "no sweep wrote it" in str(refused.exception)
    assert occupied.read_text() == "precious"
