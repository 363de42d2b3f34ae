"""Audits as a whole, of models that are known to be broken, and of models that only look robust."""

import dataclasses
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import wardline.attacks.catalogue as catalogue
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds, Verdict
from wardline.core.canonical import canonical_json
from wardline.crypto import SigningKey
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.evidence import render_audit, verify_bundle
from wardline.evidence.audit_consistency import check_audit
from wardline.models import Mlp, TorchPredictor, save
from wardline.run.audit import Audited, AuditSettings, audit
from wardline.run.audit_data import AuditData
from wardline.run.audited import write_audit

SPEC = InputSpec(shape=(20,))
ABOUT = Audited(where="here", kind="a model made in a test")


def made_up(n, seed):
    """Two classes in the unit cube, well apart along one direction and noisy along the others."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = np.clip(0.5 + 0.12 * (2 * y[:, None] - 1) * (np.arange(20) < 6) + 0.1 * rng.normal(size=(n, 20)), 0, 1)
    return x.astype(np.float32), y.astype(np.int64)


@pytest.fixture(scope="module")
def model():
    x, y = made_up(2000, 0)
    examples = Examples(
        x=x, y=y, unit=np.arange(len(x)), features=tuple(f"f{k}" for k in range(20)), classes=("no", "yes")
    )
    config = PlainConfig(batch=64, epochs=5, learning_rate=5e-3)
    return train_plain(Mlp(inputs=20, hidden=(32,), classes=2), examples, config=config, seeds=Seeds(0))


@pytest.fixture(scope="module")
def data():
    x, y = made_up(400, 1)
    return AuditData(held_out=Labelled(x=x, y=y), source="made up", sha256="0" * 64)


def audited(module, data, *, seconds=6.0, access=None, **settings):
    target = Target(TorchPredictor(module, classes=2), SPEC, access=access, name="made-up")
    return audit(target, data, settings=AuditSettings(seconds=seconds, **settings), about=ABOUT)


def test_an_undefended_model_fails_and_its_evidence_verifies(model, data, tmp_path):
    outcome = audited(model.module(), data, radius=0.3)
    assert outcome.verdict is Verdict.FAIL
    attacks = {one["attack"]: one for one in outcome.predicate["attacks"]}
    assert attacks["evasion.pgd"]["rate"] == 1.0
    assert attacks["evasion.pgd"]["control"]["passed"]
    key = SigningKey.generate()
    write_audit(tmp_path / "audit", outcome.predicate, key=key)
    assert verify_bundle(tmp_path / "audit", key.verifying_key).verdict is Verdict.FAIL
    curve = outcome.predicate["curves"][0]["series"][0]["points"]
    assert curve[0][1] > 0.9
    assert curve[-1][1] == 0.0
    assert all(later[1] <= earlier[1] for earlier, later in itertools.pairwise(curve))
    canonical_json(outcome.predicate)


def test_a_radius_that_changes_nothing_passes(model, data):
    # The positive control still has to break the model.
    outcome = audited(model.module(), data, radius=1e-6)
    withstood = [one for one in outcome.predicate["attacks"] if one["attack"] == "evasion.pgd"]
    assert withstood[0]["outcome"] == "pass"
    assert withstood[0]["rate"] == 0.0
    assert outcome.verdict in {Verdict.PASS, Verdict.INCONCLUSIVE}
    assert check_audit(outcome.predicate) is outcome.verdict


class _Loud(nn.Module):
    """Logits so large that the softmax is 0 and 1, and the gradient of cross-entropy nothing."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return 3000 * self.module(x)


class _Silent(nn.Module):
    """Answers that are no numbers for half of the inputs."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        logits = self.module(x)
        return torch.where(x[:, 7:8] > 0.5, logits, torch.full_like(logits, float("nan")))


class _Restless(nn.Module):
    """Another answer each time."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        logits = self.module(x)
        return logits + 5 * torch.empty_like(logits).normal_(generator=self.generator)


@pytest.mark.parametrize("disguise", [_Loud, _Silent, nn.Softmax], ids=["loud", "silent", "softmax"])
def test_a_model_in_disguise_never_passes(model, data, disguise):
    module = nn.Sequential(model.module(), nn.Softmax(dim=1)) if disguise is nn.Softmax else disguise(model.module())
    outcome = audited(module, data, radius=1e-6)
    assert outcome.verdict is not Verdict.PASS
    render_audit(outcome.predicate)


def test_a_model_in_training_mode_is_told(model, data):
    module = nn.Sequential(model.module(), nn.Dropout(0.1)).train()
    outcome = audited(module, data, radius=1e-6)
    assert outcome.verdict is not Verdict.PASS
    assert any(check["outcome"] != "pass" for check in outcome.predicate["preflight"])


def test_an_attack_that_breaks_down_is_a_finding_and_no_pass(model, data, monkeypatch):
    entry = next(one for one in catalogue.CATALOGUE if one.id == "evasion.pgd")
    broken = AttackEntry(
        **{
            **{one.name: getattr(entry, one.name) for one in dataclasses.fields(entry)},
            "factory": "tests_audit_broken:Broken",
        }
    )
    module = type(sys)("tests_audit_broken")

    @dataclasses.dataclass(frozen=True)
    class Broken:
        def run(self, target, data, budget, seed):
            raise ZeroDivisionError("a row held 42")

    module.Broken = Broken
    monkeypatch.setitem(sys.modules, "tests_audit_broken", module)
    monkeypatch.setattr(
        catalogue, "CATALOGUE", tuple(broken if one.id == "evasion.pgd" else one for one in catalogue.CATALOGUE)
    )
    outcome = audited(model.module(), data, radius=1e-6)
    row = next(one for one in outcome.predicate["attacks"] if one["attack"] == "evasion.pgd")
    assert (row["outcome"], row["n"]) == ("inconclusive", 0)
    assert "ZeroDivisionError" in row["checks"][0]["detail"]
    assert "42" not in json.dumps(outcome.predicate["attacks"][0])
    assert outcome.verdict is not Verdict.PASS


@pytest.mark.parametrize("cap", [0, 100, 700, 3000])
@pytest.mark.parametrize("access", [Access.SCORES, Access.WHITE_BOX])
def test_a_cap_that_ends_an_audit_never_makes_it_pass(model, data, cap, access):
    target = Target(
        TorchPredictor(model.module(), classes=2), SPEC, access=access, ledger=QueryLedger(cap=cap), name="capped"
    )
    settings = AuditSettings(seconds=6.0, radius=1e-6)
    outcome = audit(target, data, settings=settings, about=ABOUT)
    assert target.ledger.queries <= cap
    assert outcome.verdict is not Verdict.PASS
    assert check_audit(outcome.predicate) is outcome.verdict
    render_audit(outcome.predicate)


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES])
def test_a_model_that_shows_less_is_attacked_with_less(model, data, access):
    outcome = audited(model.module(), data, radius=0.3, access=access, tier="standard", seconds=20.0)
    assert check_audit(outcome.predicate) is outcome.verdict
    copied = next(one for one in outcome.predicate["attacks"] if one["attack"] == "extraction.knockoff")
    assert copied["control"]["description"] == "the same attack on a linear model"
    needs = {entry.id: entry.needs for entry in catalogue.known_attacks()}
    assert all(access.allows(needs[one["attack"]]) for one in outcome.predicate["attacks"])
    assert outcome.verdict is Verdict.FAIL


def wardline(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "wardline", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_command_audits_a_saved_model(model, data, tmp_path):
    save(model, tmp_path / "model")
    np.savez(tmp_path / "held-out.npz", x=data.held_out.x, y=data.held_out.y)
    ran = wardline(
        "attack", "run", "evasion.pgd", "model", "--data", "held-out.npz", "--radius", "0.3", "--format", "json",
        cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    again = wardline(
        "attack", "run", "evasion.pgd", "model", "--data", "held-out.npz", "--radius", "0.3", "--format", "json",
        cwd=tmp_path,
    )  # fmt: skip
    assert ran.stdout == again.stdout, "the same seed gives the same JSON"
    assert json.loads(ran.stdout)["rate"] == 1.0
    held = wardline("attack", "run", "evasion.pgd", "model", "--data", "held-out.npz", "--radius", "0", cwd=tmp_path)
    assert held.returncode in {0, 5}
    assert "attack_success_rate 0.000" in held.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("attack", "run", "evasion.nothing", "model", "--data", "held-out.npz"), "there is no attack"),
        (("attack", "run", "evasion.pgd", "missing", "--data", "held-out.npz"), "there is no such model"),
        (("attack", "run", "evasion.pgd", "model"), "needs examples"),
        (("attack", "run", "evasion.pgd", "model", "--data", "held-out.npz", "--set", "colour=red"), "has no setting"),
        (("attack", "run", "evasion.pgd", "model", "--data", "held-out.npz", "--set", "steps=many"), "no value for"),
        (("attack", "run", "evasion.pgd", "model", "--data", "held-out.npz", "--radius", "-1"), "radius must be"),
        (("attack", "run", "evasion.pgd", "model", "--data", "nothing.npz"), "cannot read the examples"),
        (("attack", "run", "evasion.pgd", "model", "--data", "held-out.npz", "--high", "0.1"), "leave their bounds"),
        (("audit", "model", "--data", "held-out.npz", "--tolerate", "2", "--unsafe-unsigned"), "tolerated must be"),
    ],
    ids=["attack", "model", "data", "setting", "value", "radius", "file", "bounds", "tolerate"],
)
def test_what_does_not_fit_is_one_clear_error(model, data, tmp_path, words, told):
    save(model, tmp_path / "model")
    np.savez(tmp_path / "held-out.npz", x=data.held_out.x, y=data.held_out.y)
    ran = wardline(*words, cwd=tmp_path)
    assert ran.returncode == 2
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "audits").exists()
