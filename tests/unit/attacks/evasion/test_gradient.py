"""FGSM and PGD against a small network on digits, with known truths."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from digits_net import SPEC, digits, target_of, trained
from wardline.attacks.evasion.ascent import ascend
from wardline.attacks.evasion.expectation import slope
from wardline.attacks.evasion.gradient import Fgsm, Pgd, pgd_dlr, pgd_targeted
from wardline.attacks.evasion.losses import LOSSES, Loss
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
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
    return Labelled(x=x[1297:1497], y=y[1297:1497])


def _accuracy(result: AttackResult, name: str) -> float:
    return float(result.details[name]["value"])


@pytest.mark.parametrize("norm", NORMS)
def test_an_undefended_model_keeps_nothing_at_a_large_radius(net: nn.Module, data: Labelled, norm: Norm) -> None:
    result = Pgd(ball=Ball(norm=norm, radius=WIDE[norm])).run(target_of(net), data, Budget(), 0)
    assert _accuracy(result, "clean_accuracy") > 0.9
    assert _accuracy(result, "robust_accuracy") == 0
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_of_zero_gives_the_clean_accuracy(net: nn.Module, data: Labelled, norm: Norm) -> None:
    result = Pgd(ball=Ball(norm=norm, radius=0.0)).run(target_of(net), data, Budget(), 0)
    assert _accuracy(result, "robust_accuracy") == _accuracy(result, "clean_accuracy")
    assert np.array_equal(result.examples["adversarial"], data.x)
    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_found_is_misread_and_lies_in_ball_and_bounds(
    net: nn.Module, data: Labelled, norm: Norm, loss: Loss
) -> None:
    ball = Ball(norm=norm, radius=NARROW[norm])
    result = Pgd(ball=ball, loss=loss, steps=20).run(target_of(net), data, Budget(), 0)
    changed, found = result.examples["adversarial"], result.examples["found"]
    assert 0.2 < found.mean() < 0.9
    assert changed.min() >= 0
    assert changed.max() <= 1
    change = torch.from_numpy(changed.astype(np.float64) - data.x)
    assert (ball.size(change) <= ball.radius * (1 + 1e-5)).all()
    with torch.no_grad():
        labels = net(torch.from_numpy(changed)).argmax(1).numpy()
    assert (labels[found] != data.y[found]).all()


def test_many_steps_break_more_than_one_and_restarts_lose_nothing(net: nn.Module, data: Labelled) -> None:
    ball = Ball(norm="linf", radius=0.08)
    one = Fgsm(ball=ball).run(target_of(net), data, Budget(), 0)
    many = Pgd(ball=ball).run(target_of(net), data, Budget(), 0)
    again = Pgd(ball=ball, restarts=4).run(target_of(net), data, Budget(), 0)
    assert one.examples["found"].sum() < many.examples["found"].sum() <= again.examples["found"].sum()
    assert not (many.examples["found"] & ~again.examples["found"]).any()


def test_fgsm_is_one_step_of_full_length(net: nn.Module, data: Labelled) -> None:
    result = Fgsm(ball=Ball(norm="linf", radius=0.05)).run(target_of(net), data, Budget(), 0)
    right = result.examples["right"]
    change = result.examples["adversarial"][right] - data.x[right]
    inner = (data.x[right] > 0.05) & (data.x[right] < 0.95)
    assert np.allclose(np.abs(change)[inner & (change != 0)], 0.05, atol=1e-6)
    assert {check.name: check.outcome for check in result.checks}["single-step"] is Verdict.INCONCLUSIVE


def test_stopping_early_saves_queries_and_loses_no_success(net: nn.Module, data: Labelled) -> None:
    ball = Ball(norm="linf", radius=0.08)
    early = Pgd(ball=ball).run(target_of(net), data, Budget(), 0)
    late = Pgd(ball=ball, early_stop=False).run(target_of(net), data, Budget(), 0)
    assert early.queries < 0.8 * late.queries
    assert np.array_equal(early.examples["found"], late.examples["found"])


def test_the_ledger_counts_every_row_of_every_step(net: nn.Module, data: Labelled) -> None:
    pgd = Pgd(ball=Ball(norm="linf", radius=1e-6), steps=7)  # too little to break anything
    result = pgd.run(target_of(net), data, Budget(batch=200), 0)
    right = int(result.examples["right"].sum())
    looked_at = 2 * 32  # by the checks
    assert result.gradients == 7 * right + looked_at
    clean, repeated, judged = len(data), 64, right
    assert result.queries == clean + repeated + looked_at + 8 * right + judged


def test_equal_seeds_give_equal_json_and_other_seeds_other_starts(net: nn.Module, data: Labelled) -> None:
    pgd = Pgd(ball=Ball(norm="l2", radius=0.5), steps=5, restarts=2)
    one, other, third = (pgd.run(target_of(net), data, Budget(batch=64), seed) for seed in (3, 3, 4))
    assert json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)
    assert np.array_equal(one.examples["adversarial"], other.examples["adversarial"])
    assert not np.array_equal(one.examples["adversarial"], third.examples["adversarial"])


def test_a_budget_that_ends_in_the_middle_keeps_what_was_found(net: nn.Module, data: Labelled) -> None:
    target = Target(TorchPredictor(net, classes=10), SPEC, ledger=QueryLedger(cap=1000))
    result = Pgd(ball=Ball(norm="linf", radius=0.2)).run(target, data, Budget(batch=100), 0)
    assert target.ledger.queries <= 1000
    assert 0 < result.examples["found"].sum() < len(data)
    assert result.checks[0].outcome is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("norm", NORMS)
def test_features_that_cannot_change_do_not(net: nn.Module, data: Labelled, norm: Norm) -> None:
    mutable = np.arange(64) % 2 == 0
    target = Target(TorchPredictor(net, classes=10), InputSpec(shape=(64,), mutable=mutable))
    result = Pgd(ball=Ball(norm=norm, radius=WIDE[norm] / 4)).run(target, data, Budget(), 0)
    assert np.array_equal(result.examples["adversarial"][:, ~mutable], data.x[:, ~mutable])
    assert result.rate is not None
    assert result.rate > 0.5
    assert "32 of 64 features" in result.threat.limits


def test_features_in_steps_are_refused(net: nn.Module, data: Labelled) -> None:
    x = np.round(data.x * 16) / 16
    target = Target(TorchPredictor(net, classes=10), InputSpec(shape=(64,), steps=1 / 16))
    with pytest.raises(ValueError, match="tabular attack"):
        Pgd().run(target, Labelled(x=x, y=data.y), Budget(), 0)


def test_an_adversary_without_the_model_cannot_mount_it(net: nn.Module, data: Labelled) -> None:
    target = Target(TorchPredictor(net, classes=10), SPEC, access=Access.SCORES)
    with pytest.raises(AccessDenied, match="white box"):
        Pgd().run(target, data, Budget(), 0)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"draws": 0}, {"loss": "mse"}, {"step_size": 0.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Pgd(**settings)  # type: ignore[arg-type]


def test_ids_tell_the_losses_apart() -> None:
    assert [attack.id for attack in (Pgd(), pgd_dlr(), pgd_targeted(), Fgsm())] == [
        "evasion.pgd",
        "evasion.pgd_dlr",
        "evasion.pgd_dlr_targeted",
        "evasion.fgsm",
    ]


@pytest.mark.parametrize("norm", NORMS)
def test_no_step_of_that_length_gains_more_to_first_order(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(1)
    gradient = torch.empty(20, 30).normal_(generator=generator)
    gradient[0] = 0
    step = ascend(gradient, norm, 0.3, density=1 / 30)
    dual = {"linf": gradient.abs().sum(1), "l2": gradient.norm(dim=1), "l1": gradient.abs().amax(1)}[norm]
    assert torch.allclose((gradient * step).sum(1), 0.3 * dual)
    assert torch.allclose(Ball(norm=norm, radius=1.0).size(step)[1:], torch.full((19,), 0.3))
    assert not step[0].any()


def test_gradients_whose_squares_underflow_still_point_somewhere() -> None:
    step = ascend(torch.tensor([[3e-30, -4e-30]]), "l2", 1.0)
    assert step.tolist()[0] == pytest.approx([0.6, -0.8])


def test_a_sparse_step_skips_features_without_a_slope() -> None:
    step = ascend(torch.tensor([[0.0, 2.0, 0.0, -1.0]]), "l1", 1.0, density=1.0)
    assert step.tolist() == [[0.0, 0.5, 0.0, -0.5]]


class _Noisy(nn.Module):
    """A randomised defence: Gaussian noise on the input of every call."""

    def __init__(self, net: nn.Module, sigma: float) -> None:
        super().__init__()
        self.net, self.sigma = net, sigma
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x + self.sigma * torch.empty_like(x).normal_(generator=self.generator))

    def __deepcopy__(self, memo: dict[int, object]) -> _Noisy:
        return _Noisy(self.net, self.sigma)


def test_a_randomised_defence_is_inconclusive_until_its_expectation_is_attacked(data: Labelled) -> None:
    target = target_of(_Noisy(trained(sigma=0.5), 0.3))
    ball, budget = Ball(norm="linf", radius=0.2), Budget(batch=200, tolerated=0.45)
    once = Pgd(ball=ball, steps=20).run(target, data, budget, 0)
    expected = Pgd(ball=ball, steps=20, draws=20).run(target, data, budget, 0)
    assert once.verdict is Verdict.INCONCLUSIVE
    doubts = {check.name: check for check in once.checks if check.outcome is not Verdict.PASS}
    assert {"deterministic", "repeatable"} <= doubts.keys()
    assert "set draws" in doubts["repeatable"].detail
    assert expected.verdict is Verdict.FAIL
    assert expected.rate is not None
    assert once.rate is not None
    assert expected.rate > once.rate + 0.25


def test_the_expectation_is_the_mean_over_draws(net: nn.Module, data: Labelled) -> None:
    noisy = _Noisy(net, 0.3)
    x, y = torch.from_numpy(data.x[:5]), torch.from_numpy(data.y[:5])
    found = slope(noisy, x, y, loss="ce", draws=6)
    noisy.generator.manual_seed(1)
    single = [slope(noisy, x, y, loss="ce") for _ in range(6)]
    assert torch.allclose(found.loss, torch.stack([one.loss for one in single]).mean(0))
    assert torch.allclose(found.misled, torch.stack([one.misled for one in single]).mean(0))
    assert found.gradient is not None
    total = torch.stack([one.gradient for one in single if one.gradient is not None]).sum(0)
    assert torch.allclose(found.gradient, total, atol=1e-6)


def test_answers_that_are_no_number_neither_mislead_nor_spoil_other_rows() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x[:, :1] > 0.5, torch.nan, x[:, :3])

    found = slope(Broken(), torch.tensor([[0.9, 0.1, 0.2], [0.2, 0.1, 0.3]]), torch.tensor([0, 0]), loss="ce")
    assert found.misled.tolist() == [0.0, 1.0]
    assert found.gradient is not None
    assert found.gradient.isfinite().all()
    assert found.gradient[1].any()
