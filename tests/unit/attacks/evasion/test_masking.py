"""Defences that only hide gradients are seen to do so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from digits_net import SPEC, digits, target_of, trained
from wardline.attacks.evasion.gradient import Pgd, pgd_dlr
from wardline.attacks.evasion.masking import (
    black_box_against_white_box,
    ce_against_dlr,
    gradient_checks,
    headway,
    steps_help,
    wide_open,
    with_checks,
)
from wardline.attacks.evasion.probe import probe_masking
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Verdict
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball, Norm

BALL = Ball(norm="linf", radius=0.08)
TOLERANT = Budget(batch=200, tolerated=0.9)


class Scaled(nn.Module):
    """Logits times 300: the same classifier, and a softmax that is 1 everywhere."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 300 * self.net(x)


class Steps(nn.Module):
    """Inputs rounded to five levels before the network: no gradient gets through."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net((x * 4).round() / 4)


class Softmax(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).softmax(1)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def data() -> Labelled:
    x, y = digits()
    return Labelled(x=x[1297:1497], y=y[1297:1497])


def _doubts(result: AttackResult) -> set[str]:
    return {check.name for check in result.checks if check.outcome is not Verdict.PASS}


def _robust(result: AttackResult) -> float:
    return float(result.details["robust_accuracy"]["value"])


def test_scaled_logits_are_flagged_and_a_ratio_of_logits_sees_through_them(net: nn.Module, data: Labelled) -> None:
    plain = Pgd(ball=BALL).run(target_of(net), data, TOLERANT, 0)
    blind = Pgd(ball=BALL).run(target_of(Scaled(net)), data, TOLERANT, 0)
    assert not _doubts(plain)
    assert {"zero-gradients", "saturation", "headway"} <= _doubts(blind)
    assert blind.verdict is Verdict.INCONCLUSIVE
    assert _robust(blind) > _robust(plain) + 0.2
    ratio, scaled = (pgd_dlr(ball=BALL).run(target_of(one), data, TOLERANT, 0) for one in (net, Scaled(net)))
    assert abs(_robust(ratio) - _robust(scaled)) <= 0.01
    assert not _doubts(scaled)
    compared = ce_against_dlr(blind, scaled)
    assert compared.outcome is Verdict.INCONCLUSIVE
    assert ce_against_dlr(plain, ratio).outcome is Verdict.PASS
    assert with_checks(blind, compared).checks[-1] is compared


def test_cross_entropy_without_saturation_sees_through_scaled_logits_too(net: nn.Module, data: Labelled) -> None:
    plain = Pgd(ball=BALL).run(target_of(net), data, TOLERANT, 0)
    odds = Pgd(ball=BALL, loss="odds").run(target_of(Scaled(net)), data, TOLERANT, 0)
    assert abs(_robust(odds) - _robust(plain)) <= 0.03
    assert not _doubts(odds)


def test_rounded_inputs_are_flagged_although_nothing_was_found(net: nn.Module, data: Labelled) -> None:
    rounded = Pgd(ball=BALL, loss="dlr").run(target_of(Steps(net)), data, TOLERANT, 0)
    assert {"zero-gradients", "headway"} <= _doubts(rounded)
    assert rounded.verdict is Verdict.INCONCLUSIVE


def test_an_attack_without_gradients_that_does_better_exposes_them(net: nn.Module, data: Labelled) -> None:
    white = Pgd(ball=BALL, loss="dlr").run(target_of(Steps(net)), data, TOLERANT, 0)
    # Transfer from the twin without rounding stands in for a black box: it asks the defended model for labels alone.
    moved = Pgd(ball=BALL, loss="dlr").run(target_of(net), data, TOLERANT, 0).examples["adversarial"]
    fooled = target_of(Steps(net)).labels(moved.astype(np.float32)) != data.y
    black = replace(white, examples={**white.examples, "found": fooled & white.examples["right"]})
    assert black_box_against_white_box(white, black).outcome is Verdict.INCONCLUSIVE
    assert black_box_against_white_box(black, white).outcome is Verdict.PASS


def test_a_softmax_that_passes_for_logits_is_noticed(net: nn.Module, data: Labelled) -> None:
    result = Pgd(ball=BALL, steps=5).run(target_of(Softmax(net)), data, TOLERANT, 0)
    assert "logits" in _doubts(result)


def test_a_search_that_has_not_ended_is_noticed(net: nn.Module, data: Labelled) -> None:
    short = Pgd(ball=BALL, steps=2, step_size=0.01).run(target_of(net), data, TOLERANT, 0)
    long = Pgd(ball=BALL, steps=40, step_size=0.01).run(target_of(net), data, TOLERANT, 0)
    longer = Pgd(ball=BALL, steps=80, step_size=0.01).run(target_of(net), data, TOLERANT, 0)
    assert steps_help(short, long).outcome is Verdict.INCONCLUSIVE
    assert steps_help(long, longer).outcome is Verdict.PASS


def test_an_attack_that_may_change_everything_must_break_everything(net: nn.Module, data: Labelled) -> None:
    wide = Pgd(ball=Ball(norm="linf", radius=1.0))
    assert wide_open(wide.run(target_of(net), data, TOLERANT, 0)).outcome is Verdict.PASS
    assert wide_open(wide.run(target_of(Scaled(net)), data, TOLERANT, 0)).outcome is Verdict.INCONCLUSIVE


def test_results_on_other_examples_cannot_be_compared(net: nn.Module, data: Labelled) -> None:
    one = Pgd(ball=BALL, steps=2).run(target_of(net), data, TOLERANT, 0)
    fewer = Labelled(x=data.x[:100], y=data.y[:100])
    with pytest.raises(ValueError, match="same examples"):
        ce_against_dlr(one, Pgd(ball=BALL, steps=2).run(target_of(net), fewer, TOLERANT, 0))


def test_a_model_without_any_path_to_its_input_is_flagged() -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[2.0, 1.0, 0.0]]).expand(len(x), 3)

    checks = gradient_checks(Constant(), torch.rand(4, 3), torch.zeros(4, dtype=torch.int64), loss="dlr_targeted")
    assert {check.name for check in checks if check.outcome is not Verdict.PASS} == {"zero-gradients"}


def test_random_gradients_under_steady_answers_are_noticed() -> None:
    class Shattered(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            return gradient + torch.randn_like(gradient)

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Shattered.apply(x)

    x, y = torch.rand(8, 3), torch.zeros(8, dtype=torch.int64)
    once = {check.name: check.outcome for check in gradient_checks(Net(), x, y)}
    assert once["repeatable"] is Verdict.INCONCLUSIVE
    assert {check.name: check.outcome for check in gradient_checks(Net(), x, y, draws=10)}["repeatable"] is Verdict.PASS


def test_headway_counts_the_share_that_did_not_move() -> None:
    assert headway(0, 0).outcome is Verdict.PASS
    assert headway(1, 100).outcome is Verdict.PASS
    assert headway(20, 100).outcome is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_probe_believes_an_honest_model_and_doubts_one_that_hides_its_gradients(
    net: nn.Module, data: Labelled, norm: Norm
) -> None:
    ball = Ball(norm=norm, radius={"linf": 0.08, "l2": 0.5, "l1": 1.5}[norm])
    some = Labelled(x=data.x[:64], y=data.y[:64])
    honest, hiding = (probe_masking(target_of(model), some, ball=ball) for model in (net, Scaled(net)))
    assert {check.outcome for check in honest} == {Verdict.PASS}
    assert {check.name for check in hiding if check.outcome is not Verdict.PASS} >= {
        "zero-gradients",
        "ce-against-dlr",
        "wide-open",
    }


def test_a_probe_takes_any_attack_without_gradients_for_comparison(net: nn.Module, data: Labelled) -> None:
    some = Labelled(x=data.x[:64], y=data.y[:64])
    # An attack on the twin that hides nothing plays the black box, on a model whose gradients are hidden.

    class Transfer:
        id, needs, paper = "transfer", Access.LABELS, "none"

        def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
            return Pgd(ball=BALL).run(target_of(net), data, budget, seed)

    checks = {
        check.name: check.outcome
        for check in probe_masking(target_of(Scaled(net)), some, ball=BALL, black_box=Transfer())
    }
    assert checks["black-box-against-white-box"] is Verdict.INCONCLUSIVE


def test_a_probe_whose_later_runs_the_cap_ended_is_not_believed(net: nn.Module, data: Labelled) -> None:
    some = Labelled(x=data.x[:20], y=data.y[:20])
    spent = target_of(net)
    Pgd(ball=BALL).run(spent, some, Budget(batch=20), 0)
    # What the first run costs and a little more: the runs it is compared with are cut short and find less.
    capped = Target(TorchPredictor(net, classes=10), SPEC, ledger=QueryLedger(cap=spent.ledger.queries + 100))
    checks = probe_masking(capped, some, ball=BALL)
    assert [check.outcome for check in checks if check.name == "budget"] == [Verdict.INCONCLUSIVE]
