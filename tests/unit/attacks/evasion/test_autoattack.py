"""The ensemble: what its stages do for each other, what it says of itself, and known truths."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from digits_net import digits, trained
from wardline.attacks.evasion.apgd import Apgd, ApgdTargeted
from wardline.attacks.evasion.autoattack import AutoAttack
from wardline.attacks.evasion.fab import FabTargeted
from wardline.attacks.evasion.square import Square
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget, Check
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import NORMS, Ball, Norm

IMAGE = InputSpec(shape=(1, 8, 8))
SMALL: dict[Norm, float] = {"linf": 0.06, "l2": 0.4, "l1": 1.0}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), trained()).eval()


@pytest.fixture(scope="module")
def data() -> Labelled:
    x, y = digits()
    return Labelled(x=x[1297:1397].reshape(-1, 1, 8, 8), y=y[1297:1397])


def _target(net: nn.Module, *, cap: int | None = None) -> Target:
    return Target(TorchPredictor(net, classes=10), IMAGE, ledger=QueryLedger(cap=cap))


def _robust(result: AttackResult) -> float:
    return float(result.details["robust_accuracy"]["value"])


def _check(result: AttackResult, name: str) -> Check:
    return {check.name: check for check in result.checks}[name]


def test_an_undefended_model_keeps_nothing(net: nn.Module, data: Labelled) -> None:
    result = AutoAttack(ball=Ball(norm="linf", radius=0.25)).run(_target(net), data, Budget(), 0)
    assert result.details["clean_accuracy"]["value"] > 0.9
    assert _robust(result) == 0
    assert result.verdict is Verdict.FAIL
    assert result.details["version"] == "standard"
    assert _check(result, "standard").outcome is Verdict.PASS


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_of_zero_gives_the_clean_accuracy(net: nn.Module, data: Labelled, norm: Norm) -> None:
    result = AutoAttack(ball=Ball(norm=norm, radius=0.0)).run(_target(net), data, Budget(), 0)
    assert _robust(result) == result.details["clean_accuracy"]["value"] > 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_as_strong_as_the_strongest_of_its_stages(net: nn.Module, data: Labelled, norm: Norm) -> None:
    plan = AutoAttack(ball=Ball(norm=norm, radius=SMALL[norm]), steps=20, queries=50, targets=4)
    whole = plan.run(_target(net), data, Budget(), 0)
    alone = [stage.run(_target(net), data, Budget(), 0) for stage in plan.stages]
    assert 0.2 < _robust(whole) <= min(map(_robust, alone)) + 0.01
    assert [type(stage) for stage in plan.stages] == [Apgd, ApgdTargeted, FabTargeted, Square]


def test_each_stage_gets_what_the_ones_before_it_left(net: nn.Module, data: Labelled) -> None:
    plan = AutoAttack(ball=Ball(norm="linf", radius=0.06), steps=10, queries=50, targets=3)
    result = plan.run(_target(net), data, Budget(batch=40), 0)
    stages = result.details["stages"]
    assert [stage["attack"] for stage in stages] == [stage.id for stage in plan.stages]
    assert stages[0]["given"] == result.n
    for before, after in pairwise(stages):
        assert after["given"] == before["given"] - before["broken"]
        assert after["accuracy_after"] <= before["accuracy_after"]
    assert stages[-1]["accuracy_after"] == _robust(result)
    assert sum(stage["broken"] for stage in stages) == result.examples["found"].sum()


def test_less_than_the_standard_is_said_and_does_not_pass(net: nn.Module, data: Labelled) -> None:
    harmless = Ball(norm="linf", radius=1e-4)
    quick = AutoAttack(ball=harmless, steps=5, queries=20, targets=2).run(_target(net), data, Budget(), 0)
    assert quick.details["version"] == (
        "reduced standard: 5 steps instead of 100, 2 target classes instead of 9, 20 queries instead of 5000"
    )
    assert _check(quick, "standard").outcome is Verdict.INCONCLUSIVE
    assert quick.rate == 0
    assert quick.verdict is Verdict.INCONCLUSIVE


def test_two_classes_have_one_other_class_and_that_is_no_reduction() -> None:
    assert AutoAttack(targets=1).reduced(classes=2) == ()
    assert AutoAttack(targets=1).reduced(classes=10) == ("1 target classes instead of 9",)


def test_two_classes_are_attacked_without_the_ratio_and_it_is_said() -> None:
    rng = np.random.default_rng(1)
    layer = nn.Linear(8, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(2, 8))))
        layer.bias.zero_()
    x = rng.random((30, 8)).astype(np.float32)
    with torch.no_grad():
        y = layer(torch.from_numpy(x)).argmax(1).numpy()
    target = Target(TorchPredictor(layer, classes=2), InputSpec(shape=(8,)))
    tiny = AutoAttack(ball=Ball(norm="linf", radius=1e-5), queries=5, steps=5)
    result = tiny.run(target, Labelled(x=x, y=y), Budget(), 0)
    assert "with 2 classes" in _check(result, "loss").detail
    wide = AutoAttack(ball=Ball(norm="linf", radius=1.0), steps=20, queries=20)
    assert wide.run(target, Labelled(x=x, y=y), Budget(), 0).examples["found"].all()


class _Coarse(nn.Module):
    """Rounds its inputs: nothing can be differentiated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(8 * x) / 8


def test_a_model_that_hides_its_gradients_is_broken_and_flagged(net: nn.Module, data: Labelled) -> None:
    plan = AutoAttack(ball=Ball(norm="linf", radius=0.2), steps=10, queries=300, targets=2)
    masked = plan.run(_target(nn.Sequential(_Coarse(), net).eval()), data, Budget(), 0)
    open_ = plan.run(_target(net), data, Budget(), 0)
    flag = "black-box-against-white-box"
    assert _check(masked, flag).outcome is Verdict.INCONCLUSIVE
    assert _check(masked, "zero-gradients").outcome is Verdict.INCONCLUSIVE
    assert _check(open_, flag).outcome is Verdict.PASS
    assert _robust(masked) < 0.2
    broken = {stage["attack"]: stage["broken"] for stage in masked.details["stages"]}
    assert broken["evasion.square"] > 0.5 * masked.n


class _Louder(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 300 * x


def test_logits_times_300_do_not_mislead_it(net: nn.Module, data: Labelled) -> None:
    plan = AutoAttack(ball=Ball(norm="linf", radius=0.06), steps=30, queries=50)
    plain = plan.run(_target(net), data, Budget(), 0)
    loud = plan.run(_target(nn.Sequential(net, _Louder()).eval()), data, Budget(), 0)
    assert abs(_robust(plain) - _robust(loud)) <= 0.01
    # The targeted ratio has gradients where cross-entropy has none: the ensemble can be believed.
    assert _check(loud, "zero-gradients").outcome is Verdict.PASS


class _Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.05 * torch.empty_like(x).normal_(generator=self.generator)

    def __deepcopy__(self, memo: object) -> _Noisy:
        return _Noisy()


def test_the_version_for_random_models_takes_means_and_breaks_one(net: nn.Module, data: Labelled) -> None:
    few = Labelled(x=data.x[:30], y=data.y[:30])
    plan = AutoAttack(ball=Ball(norm="linf", radius=0.2), version="rand", steps=20)
    assert [stage.id for stage in plan.stages] == ["evasion.apgd_ce", "evasion.apgd_dlr"]
    result = plan.run(_target(nn.Sequential(_Noisy(), net).eval()), few, Budget(), 0)
    assert _robust(result) <= 0.1
    assert result.details["version"] == "reduced rand: 20 steps instead of 100"


def test_equal_seeds_give_equal_json(net: nn.Module, data: Labelled) -> None:
    plan = AutoAttack(ball=Ball(norm="l2", radius=0.4), steps=8, queries=30, targets=2)
    one, other = (plan.run(_target(net), data, Budget(batch=64), 5) for _ in range(2))
    assert json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)
    assert np.array_equal(one.examples["adversarial"], other.examples["adversarial"])


@pytest.mark.parametrize("cap", [700, 2500, 12000])
def test_a_cap_in_any_stage_keeps_what_was_found(net: nn.Module, data: Labelled, cap: int) -> None:
    target = _target(net, cap=cap)
    result = AutoAttack(ball=Ball(norm="linf", radius=0.08)).run(target, data, Budget(), 0)
    assert target.ledger.queries <= cap
    assert result.examples["found"].any()
    assert _check(result, "budget").outcome is Verdict.INCONCLUSIVE
    assert [stage["cut_short"] for stage in result.details["stages"]].count(True) == 1
    assert result.examples["found"].sum() >= sum(stage["broken"] for stage in result.details["stages"])


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"steps": 0}, {"queries": 0}, {"targets": 0}, {"version": "plus"}):
        with pytest.raises(ValueError):
            AutoAttack(**wrong)


@pytest.mark.crosscheck
def test_it_is_as_strong_as_the_one_of_art(net: nn.Module, data: Labelled) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import AutoAttack as Theirs
    from art.attacks.evasion import AutoProjectedGradientDescent, DeepFool, SquareAttack
    from art.estimators.classification import PyTorchClassifier

    radius = 0.08
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1))
    shared = {"eps": radius, "batch_size": 128, "verbose": False}
    attacks = [
        AutoProjectedGradientDescent(
            classifier, eps_step=2 * radius, max_iter=50, nb_random_init=1, loss_type=loss, **shared
        )
        for loss in ("cross_entropy", "difference_logits_ratio")
    ]
    attacks.append(DeepFool(classifier, max_iter=50, epsilon=1e-3, nb_grads=10, batch_size=128, verbose=False))
    attacks.append(SquareAttack(classifier, max_iter=200, nb_restarts=1, **shared))
    theirs = Theirs(classifier, eps=radius, eps_step=2 * radius, attacks=attacks, batch_size=128)
    changed = theirs.generate(data.x, np.eye(10, dtype=np.float32)[data.y])
    with torch.no_grad():
        accuracy = (net(torch.from_numpy(changed)).argmax(1).numpy() == data.y).mean()
    plan = AutoAttack(ball=Ball(norm="linf", radius=radius), steps=50, queries=200)
    ours = plan.run(_target(net), data, Budget(), 0)
    assert 0.1 < accuracy < 0.9
    assert abs(_robust(ours) - accuracy) <= 0.011
