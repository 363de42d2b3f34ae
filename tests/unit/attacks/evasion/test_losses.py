"""Losses that gradient attacks climb."""

from __future__ import annotations

import pytest
import torch

from wardline.attacks.evasion.losses import LOSSES, cross_entropy, dlr, dlr_targeted, log_odds, loss_rows, margin


def _logits(classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(50, classes, generator=generator, dtype=torch.float64), torch.arange(50) % classes


def test_cross_entropy_is_the_soft_plus_of_the_log_odds() -> None:
    logits, y = _logits()
    assert torch.allclose(cross_entropy(logits, y), torch.nn.functional.softplus(log_odds(logits, y)))


def test_log_odds_and_cross_entropy_have_gradients_of_one_direction() -> None:
    logits, y = _logits()
    logits.requires_grad_()
    one = torch.autograd.grad(cross_entropy(logits, y).sum(), logits)[0]
    other = torch.autograd.grad(log_odds(logits, y).sum(), logits)[0]
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=1)
    assert torch.allclose(cosine, torch.ones_like(cosine))


def test_log_odds_keep_their_gradient_where_cross_entropy_has_lost_it() -> None:
    logits, y = torch.tensor([[900.0, 1.0, 2.0]], requires_grad=True), torch.tensor([0])
    assert not torch.autograd.grad(cross_entropy(logits, y).sum(), logits)[0].any()
    assert torch.autograd.grad(log_odds(logits, y).sum(), logits)[0].abs().sum() == pytest.approx(2.0)


@pytest.mark.parametrize("loss", ["margin", "dlr"])
def test_margins_are_positive_exactly_where_the_row_is_misread(loss: str) -> None:
    logits, y = _logits()
    assert torch.equal(loss_rows(loss, logits, y) > 0, logits.argmax(1) != y)


def test_the_margin_is_the_gap_to_the_best_other_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]])
    assert margin(logits, torch.tensor([0, 0])).tolist() == [-0.5, 4.0]


def test_the_ratio_ignores_shift_and_scale() -> None:
    logits, y = _logits()
    assert torch.allclose(dlr(logits, y), dlr(300 * logits + 7, y))
    wanted = (y + 1) % 5
    assert torch.allclose(dlr_targeted(logits, y, wanted), dlr_targeted(300 * logits + 7, y, wanted))


def test_the_ratio_of_a_known_row() -> None:
    logits, y = torch.tensor([[5.0, 3.0, 1.0, 0.0]]), torch.tensor([0])
    assert dlr(logits, y).item() == pytest.approx(-(5 - 3) / (5 - 1))
    assert dlr_targeted(logits, y, torch.tensor([3])).item() == pytest.approx((0 - 5) / (5 - 0.5))


def test_two_classes_have_a_gradient_too() -> None:
    logits, y = torch.tensor([[2.0, 1.0]], requires_grad=True), torch.tensor([0])
    for loss in LOSSES:
        slope = torch.autograd.grad(loss_rows(loss, logits, y, wanted=1 - y).sum(), logits)[0]
        assert slope[0, 0] < 0 < slope[0, 1]


def test_a_targeted_loss_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted classes"):
        loss_rows("dlr_targeted", *_logits())
