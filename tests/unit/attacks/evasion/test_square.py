"""The square attack: what gradients hide from others it finds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from digits_net import digits, target_of, trained
from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.evasion.square import Square
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.core import Verdict
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import NORMS, Ball, Norm

WIDE: dict[Norm, float] = {"linf": 1.0, "l2": 8.0, "l1": 64.0}
IMAGE = InputSpec(shape=(1, 8, 8))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), trained()).eval()


@pytest.fixture(scope="module")
def data() -> Labelled:
    x, y = digits()
    return Labelled(x=x[1297:1377].reshape(-1, 1, 8, 8), y=y[1297:1377])


def _scores_alone(net: nn.Module) -> Target:
    return Target(TorchPredictor(net, classes=10), IMAGE, access=Access.SCORES)


def _robust(result: AttackResult) -> float:
    return float(result.details["robust_accuracy"]["value"])


@pytest.mark.parametrize("norm", NORMS)
def test_scores_are_enough_to_break_an_undefended_model(net: nn.Module, data: Labelled, norm: Norm) -> None:
    result = Square(ball=Ball(norm=norm, radius=WIDE[norm]), queries=300).run(_scores_alone(net), data, Budget(), 0)
    assert _robust(result) <= 0.02
    assert result.gradients == 0
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_of_zero_gives_the_clean_accuracy(net: nn.Module, data: Labelled, norm: Norm) -> None:
    result = Square(ball=Ball(norm=norm, radius=0.0)).run(_scores_alone(net), data, Budget(), 0)
    assert _robust(result) == result.details["clean_accuracy"]["value"] > 0.9


def test_labels_alone_are_not_enough(net: nn.Module, data: Labelled) -> None:
    target = Target(TorchPredictor(net, classes=10), IMAGE, access=Access.LABELS)
    with pytest.raises(AccessDenied):
        Square().run(target, data, Budget(), 0)


class _Louder(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 300 * x


class _Coarse(nn.Module):
    """Rounds its inputs: nothing can be differentiated, and little is changed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(8 * x) / 8


@pytest.mark.parametrize("hidden", ["saturated", "rounded"])
def test_it_breaks_what_only_hides_its_gradients(net: nn.Module, data: Labelled, hidden: str) -> None:
    masked = nn.Sequential(net, _Louder()) if hidden == "saturated" else nn.Sequential(_Coarse(), net)
    ball = Ball(norm="linf", radius=0.2)
    white = Pgd(ball=ball).run(Target(TorchPredictor(masked.eval(), classes=10), IMAGE), data, Budget(), 0)
    black = Square(ball=ball, queries=500).run(_scores_alone(masked), data, Budget(), 0)
    plain = Pgd(ball=ball).run(Target(TorchPredictor(net, classes=10), IMAGE), data, Budget(), 0)
    assert _robust(plain) <= 0.05
    assert _robust(white) > 0.5
    assert _robust(black) < 0.2
    assert white.verdict is not Verdict.PASS


def test_every_query_counts_once_and_rows_that_fall_are_asked_no_more(net: nn.Module, data: Labelled) -> None:
    quiet = Square(ball=Ball(norm="linf", radius=1e-6), queries=20).run(_scores_alone(net), data, Budget(), 0)
    right, repeated = int(quiet.examples["right"].sum()), 64
    assert quiet.queries == len(data) + repeated + 20 * right + right
    broken = Square(ball=Ball(norm="linf", radius=0.5), queries=20).run(_scores_alone(net), data, Budget(), 0)
    assert broken.queries < 0.5 * quiet.queries


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 8, 8), (4, 4, 4)])
@pytest.mark.parametrize("norm", NORMS)
def test_lines_and_images_of_several_channels_are_taken(data: Labelled, shape: tuple[int, ...], norm: Norm) -> None:
    net = nn.Sequential(nn.Flatten(), trained(epochs=3)).eval()
    reshaped = Labelled(x=data.x.reshape(-1, *shape), y=data.y)
    target = Target(TorchPredictor(net, classes=10), InputSpec(shape=shape))
    ball = Ball(norm=norm, radius={"linf": 0.3, "l2": 2.0, "l1": 8.0}[norm])
    result = Square(ball=ball, queries=100).run(target, reshaped, Budget(), 0)
    assert result.examples["found"].mean() > 0.3
    assert {check.name: check.outcome for check in result.checks}["within-threat"] is Verdict.PASS


def test_more_queries_break_more(net: nn.Module, data: Labelled) -> None:
    ball = Ball(norm="linf", radius=0.12)
    few, many = (Square(ball=ball, queries=q).run(_scores_alone(net), data, Budget(), 0) for q in (10, 500))
    assert few.examples["found"].sum() + 5 < many.examples["found"].sum()


def test_equal_seeds_give_equal_json(net: nn.Module, data: Labelled) -> None:
    square = Square(ball=Ball(norm="l2", radius=1.0), queries=30)
    one, other, third = (square.run(_scores_alone(net), data, Budget(), seed) for seed in (1, 1, 2))
    assert json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)
    assert not np.array_equal(one.examples["adversarial"], third.examples["adversarial"])


def test_a_cap_in_the_middle_keeps_what_was_found(net: nn.Module, data: Labelled) -> None:
    target = Target(TorchPredictor(net, classes=10), IMAGE, ledger=QueryLedger(cap=900))
    result = Square(ball=Ball(norm="linf", radius=0.2)).run(target, data, Budget(), 0)
    assert target.ledger.queries <= 900
    assert result.examples["found"].any()
    assert result.checks[0].outcome is Verdict.INCONCLUSIVE


@pytest.mark.crosscheck
def test_it_is_as_strong_as_the_one_of_art(net: nn.Module, data: Labelled) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    theirs = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1))
    attack = SquareAttack(theirs, eps=0.12, max_iter=300, nb_restarts=1, batch_size=128, verbose=False)
    changed = attack.generate(data.x, np.eye(10, dtype=np.float32)[data.y])
    accuracy = (theirs.predict(changed).argmax(1) == data.y).mean()
    ours = Square(ball=Ball(norm="linf", radius=0.12), queries=300).run(_scores_alone(net), data, Budget(), 0)
    assert _robust(ours) <= accuracy + 0.05  # random search: a few of 80 examples either way
    assert target_of(net).classes == 10
