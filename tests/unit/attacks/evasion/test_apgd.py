"""Auto-PGD against a small network on digits, with known truths."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from digits_net import SPEC, digits, target_of, trained
from wardline.attacks.evasion.apgd import Apgd, ApgdTargeted
from wardline.attacks.evasion.fab import FabTargeted
from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.evasion.square import Square
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import NORMS, Ball, Norm

WIDE: dict[Norm, float] = {"linf": 1.0, "l2": 8.0, "l1": 64.0}
NARROW: dict[Norm, float] = {"linf": 0.08, "l2": 0.5, "l1": 1.5}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def data() -> Labelled:
    x, y = digits()
    return Labelled(x=x[1297:1417], y=y[1297:1417])


def _robust(result: AttackResult) -> float:
    return float(result.details["robust_accuracy"]["value"])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [Apgd, ApgdTargeted])
def test_an_undefended_model_keeps_nothing_at_a_large_radius(
    net: nn.Module, data: Labelled, norm: Norm, attack: type[Apgd | ApgdTargeted]
) -> None:
    result = attack(ball=Ball(norm=norm, radius=WIDE[norm]), steps=30).run(target_of(net), data, Budget(), 0)
    assert _robust(result) == 0
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [Apgd, ApgdTargeted])
def test_a_radius_of_zero_gives_the_clean_accuracy(
    net: nn.Module, data: Labelled, norm: Norm, attack: type[Apgd | ApgdTargeted]
) -> None:
    result = attack(ball=Ball(norm=norm, radius=0.0)).run(target_of(net), data, Budget(), 0)
    assert _robust(result) == result.details["clean_accuracy"]["value"] > 0.9
    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_step_size_it_is_at_least_as_strong_as_pgd(net: nn.Module, data: Labelled, norm: Norm) -> None:
    ball = Ball(norm=norm, radius=NARROW[norm])
    fixed = Pgd(ball=ball, steps=100).run(target_of(net), data, Budget(), 0)
    ce = Apgd(ball=ball).run(target_of(net), data, Budget(), 0)
    targeted = ApgdTargeted(ball=ball).run(target_of(net), data, Budget(), 0)
    assert 0.1 < _robust(targeted) <= _robust(ce) <= _robust(fixed) + 0.01


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    norm=st.sampled_from(NORMS),
    share=st.floats(0.01, 1.5),
    seed=st.integers(0, 9),
    masked=st.booleans(),
    kind=st.sampled_from(["ce", "dlr", "targeted", "fab", "square"]),
)
def test_whatever_is_returned_lies_in_ball_and_box(
    norm: Norm, share: float, seed: int, masked: bool, kind: str
) -> None:
    ball = Ball(norm=norm, radius=share * NARROW[norm])
    mutable = np.arange(64) % 3 > 0 if masked else None
    x, y = digits()
    data = Labelled(x=x[1297 + seed : 1317 + seed], y=y[1297 + seed : 1317 + seed])
    attack = {
        "ce": Apgd(ball=ball, steps=9),
        "dlr": Apgd(ball=ball, steps=9, loss="dlr", restarts=2),
        "targeted": ApgdTargeted(ball=ball, steps=9, targets=2),
        "fab": FabTargeted(ball=ball, steps=9, targets=2),
        "square": Square(ball=ball, queries=40),
    }[kind]
    target = Target(TorchPredictor(_NET, classes=10), InputSpec(shape=(64,), mutable=mutable))
    result = attack.run(target, data, Budget(), seed)
    checks = {check.name: check for check in result.checks}
    assert checks["within-threat"].outcome is Verdict.PASS, checks["within-threat"].detail
    changed = result.examples["adversarial"]
    assert changed.min() >= -1e-6
    assert changed.max() <= 1 + 1e-6
    assert (ball.size(torch.from_numpy(changed.astype(np.float64) - data.x)) <= ball.radius * (1 + 1e-5) + 1e-7).all()
    if mutable is not None:
        assert np.array_equal(changed[:, ~mutable], data.x[:, ~mutable])


_NET = trained(epochs=5)


def test_equal_seeds_give_equal_json_and_other_seeds_other_starts(net: nn.Module, data: Labelled) -> None:
    apgd = Apgd(ball=Ball(norm="l2", radius=0.4), steps=8, restarts=2)
    one, other, third = (apgd.run(target_of(net), data, Budget(batch=50), seed) for seed in (3, 3, 4))
    assert json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)
    assert np.array_equal(one.examples["adversarial"], other.examples["adversarial"])
    assert not np.array_equal(one.examples["adversarial"], third.examples["adversarial"])


def test_a_budget_that_ends_in_the_middle_keeps_what_was_found(net: nn.Module, data: Labelled) -> None:
    target = Target(TorchPredictor(net, classes=10), SPEC, ledger=QueryLedger(cap=700))
    result = Apgd(ball=Ball(norm="linf", radius=0.15)).run(target, data, Budget(), 0)
    assert target.ledger.queries <= 700
    assert 0 < result.examples["found"].sum() < len(data)
    assert result.checks[0].outcome is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_attacked_by_the_plain_difference_and_it_is_said(classes: int) -> None:
    rng = np.random.default_rng(0)
    layer = nn.Linear(8, classes)
    x = rng.random((40, 8)).astype(np.float32)
    with torch.no_grad():
        y = layer(torch.from_numpy(x)).argmax(1).numpy()
    result = ApgdTargeted(ball=Ball(norm="linf", radius=1.0), steps=20).run(
        Target(TorchPredictor(layer, classes=classes), InputSpec(shape=(8,))), Labelled(x=x, y=y), Budget(), 0
    )
    stated = {check.name: check for check in result.checks}["loss"]
    assert f"with {classes} classes" in stated.detail
    assert stated.outcome is Verdict.PASS
    assert result.rate is not None
    reachable = _whether_any_corner_is_misread(layer, y)
    assert result.rate == reachable.mean() > 0


def _whether_any_corner_is_misread(layer: nn.Linear, y: np.ndarray) -> np.ndarray:
    """A linear model is misread somewhere in the unit box exactly if it is so at one of the corners."""
    corners = torch.from_numpy(((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(np.float32))
    with torch.no_grad():
        labels = layer(corners).argmax(1).numpy()
    return np.array([(labels != true).any() for true in y])


def test_the_smooth_loss_breaks_what_blinds_cross_entropy(net: nn.Module, data: Labelled) -> None:
    loud = nn.Sequential(net, _Louder()).eval()
    ball = Ball(norm="linf", radius=0.15)
    plain, smooth, ratio = (
        Apgd(ball=ball, loss=loss, steps=30).run(target_of(loud), data, Budget(), 0) for loss in ("ce", "odds", "dlr")
    )
    assert _robust(plain) > _robust(smooth) + 0.2
    assert abs(_robust(smooth) - _robust(ratio)) <= 0.03
    assert {check.name: check.outcome for check in plain.checks}["zero-gradients"] is Verdict.INCONCLUSIVE


class _Louder(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 300 * x


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"steps": 0}, {"restarts": 0}, {"draws": 0}, {"loss": "mse"}):
        with pytest.raises(ValueError):
            Apgd(**wrong)
    with pytest.raises(ValueError):
        ApgdTargeted(targets=0)


def test_a_table_with_groups_is_refused(net: nn.Module, data: Labelled) -> None:
    target = Target(TorchPredictor(net, classes=10), InputSpec(shape=(64,), steps=1 / 16))
    with pytest.raises(ValueError, match="free numbers"):
        Apgd().run(target, data, Budget(), 0)


@pytest.mark.crosscheck
def test_it_is_as_strong_as_the_one_of_art(net: nn.Module, data: Labelled) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    theirs = PyTorchClassifier(net, nn.CrossEntropyLoss(), (64,), 10, clip_values=(0, 1))
    radius = 0.08
    attack = AutoProjectedGradientDescent(
        theirs,
        eps=radius,
        eps_step=2 * radius,
        max_iter=50,
        nb_random_init=1,
        batch_size=128,
        loss_type="cross_entropy",
        verbose=False,
    )
    changed = attack.generate(data.x, np.eye(10, dtype=np.float32)[data.y])
    with torch.no_grad():
        accuracy = (net(torch.from_numpy(changed)).argmax(1).numpy() == data.y).mean()
    ours = Apgd(ball=Ball(norm="linf", radius=radius), steps=50).run(target_of(net), data, Budget(), 0)
    assert _robust(ours) <= accuracy + 0.01
