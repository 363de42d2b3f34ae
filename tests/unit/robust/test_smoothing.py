"""Randomised smoothing: exact statistics, exact noise, and certificates that attacks do not break."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

from digits_net import SPEC, digits, trained
from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.target import Target
from wardline.core import SecureRandom, Seeds
from wardline.core.rates import lower_bound
from wardline.models.architecture import Cnn, Logistic, Mlp
from wardline.models.torch_model import build
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball
from wardline.robust.smoothing import InsecureNoise, SmoothedClassifier, SmoothedPredictor
from wardline.robust.smoothing_bounds import (
    Certificate,
    certificate,
    certified_accuracy,
    votes_needed,
    winner,
)
from wardline.robust.smoothing_layers import LinearStart

SIGMA = 0.25


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return trained(sigma=SIGMA)


class Line(nn.Module):
    """Two classes on either side of a line: the smoothed classifier is the same, its exact radius the distance."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[:, 0], torch.zeros(len(x))], dim=1)


# Statistics


@pytest.mark.parametrize(("draws", "alpha"), [(5, 0.001), (100, 0.001), (1000, 0.05), (10_000, 0.001)])
def test_the_votes_needed_are_the_fewest_that_prove_a_majority(draws: int, alpha: float) -> None:
    needed = votes_needed(draws, alpha=alpha)
    assert needed > draws or lower_bound(needed, draws, alpha=alpha) > 0.5
    assert lower_bound(min(needed, draws + 1) - 1, draws, alpha=alpha) <= 0.5


def test_radii_are_those_of_the_paper() -> None:
    # Cohen et al. 2019, section 3.2.2: with n all votes agreeing the bound is alpha^(1/n).
    for draws in (1_000, 10_000, 100_000):
        found = certificate(3, draws, draws=draws, sigma=0.5, alpha=0.001)
        assert found.label == 3
        assert found.radius == pytest.approx(0.5 * norm.ppf(0.001 ** (1 / draws)))
    assert certificate(0, 100_000, draws=100_000, sigma=1.0, alpha=0.001).radius == pytest.approx(3.81, abs=0.01)


def test_a_vote_that_is_too_close_abstains() -> None:
    assert certificate(1, 510, draws=1000, sigma=1.0, alpha=0.001).label is None
    assert winner(np.array([510, 490]), alpha=0.001) == -1
    assert winner(np.array([400, 600]), alpha=0.001) == 1
    assert winner(np.zeros(3, dtype=np.int64), alpha=0.001) == -1


def test_the_curve_counts_right_answers_that_reach_far_enough() -> None:
    def one(label: int | None, radius: float) -> Certificate:
        return Certificate(label=label, radius=radius, prob_low=0.9, votes=9, draws=10, sigma=1.0, alpha=0.001)

    certificates = [one(0, 0.5), one(1, 1.0), one(None, 0.0), one(1, 2.0)]
    curve = certified_accuracy(certificates, np.array([0, 1, 0, 0]), radii=(0.0, 0.5, 0.75, 3.0))
    assert [point.accuracy for point in curve] == [0.5, 0.5, 0.25, 0.0]
    assert all(point.interval.low <= point.accuracy <= point.interval.high for point in curve)
    assert curve[-1].interval.low == 0
    with pytest.raises(ValueError, match="as many"):
        certified_accuracy(certificates, np.array([0]), radii=(0.0,))


def test_a_claim_promises_the_radius() -> None:
    claim = certificate(3, 990, draws=1000, sigma=0.5, alpha=0.001).claim()
    assert (claim.quantity, claim.direction) == ("l2_radius", "at_least")
    assert claim.value == certificate(3, 990, draws=1000, sigma=0.5, alpha=0.001).radius
    assert certificate(3, 400, draws=1000, sigma=0.5, alpha=0.001).claim().value == 0


# Noise


def test_a_line_is_certified_up_to_its_distance_and_no_farther() -> None:
    # True radius 0.5. A certificate beyond it has probability alpha = 1e-7 each, 20 of them 2e-6 in all; one below 0.4
    # would need a share of votes 30 standard deviations too small.
    smoothed = SmoothedClassifier(Line(), classes=2, sigma=1.0)
    radii = [one.radius for one in smoothed.certify(np.full((10, 2), 0.5, np.float32), draws=20_000, alpha=5e-8)]
    assert max(radii) <= 0.5
    assert min(radii) > 0.4


def test_votes_have_the_exact_rate_and_another_sigma_would_be_seen() -> None:
    # 200,000 votes: the rate lies within 5.1 standard deviations of the truth but for probability 3.4e-7; a sigma that
    # is wrong by 5 % would shift it by 8.
    smoothed = SmoothedClassifier(Line(), classes=2, sigma=1.0)
    rate = smoothed.votes(np.array([0.5, 0.0], np.float32), draws=200_000)[0] / 200_000
    spread = math.sqrt(norm.cdf(0.5) * norm.sf(0.5) / 200_000)
    assert abs(rate - norm.cdf(0.5)) < 5.1 * spread
    assert abs(norm.cdf(0.5 / 1.05) - norm.cdf(0.5)) > 8 * spread


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(build(Mlp(inputs=64, hidden=(12,), classes=4), generator=torch.Generator()), id="house mlp"),
        pytest.param(build(Mlp(inputs=64, hidden=(12, 30), classes=4), generator=torch.Generator()), id="two layers"),
        pytest.param(nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 4)), id="sequential"),
        pytest.param(nn.Sequential(nn.Linear(64, 4)), id="linear"),
    ],
)
def test_noise_behind_a_linear_layer_has_the_covariance_of_noise_before_it(module: nn.Module) -> None:
    start = LinearStart.of(module)
    assert start is not None
    weight = start.layer.weight.detach()
    assert torch.allclose(start.root @ start.root.T, weight @ weight.T, atol=1e-5)
    x = torch.rand(7, 64)
    assert torch.allclose(start.rest(start.layer(x)), module(x), atol=1e-6)


def test_both_places_of_the_noise_give_the_same_rates() -> None:
    # Two rates from 40,000 votes each differ by less than 5.5 standard deviations but for probability 4e-8 a class.
    module = nn.Sequential(nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 4))
    torch.nn.init.normal_(module[0].weight, generator=torch.Generator().manual_seed(2))
    row = np.linspace(0, 1, 64, dtype=np.float32)
    behind = SmoothedClassifier(module, classes=4, sigma=0.3)
    before = SmoothedClassifier(nn.Sequential(nn.Sequential(*module)), classes=4, sigma=0.3)
    assert LinearStart.of(module) is not None
    assert LinearStart.of(nn.Sequential(nn.Sequential(*module))) is None
    one, other = (each.votes(row, draws=40_000) / 40_000 for each in (behind, before))
    assert (np.abs(one - other) < 5.5 * np.sqrt(2 * one * (1 - one) / 40_000) + 1e-3).all()
    assert 0.05 < one.max() < 0.999  # votes that all agree would compare nothing


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)),
        nn.Sequential(nn.ReLU(), nn.Linear(8, 2)),
        build(Cnn(shape=(1, 8, 8), channels=(4,), hidden=8, classes=3), generator=torch.Generator()),
        build(Logistic(inputs=8, classes=2, linear_inputs=3), generator=torch.Generator()),
    ],
)
def test_networks_that_do_not_begin_with_a_narrow_linear_layer_are_left_whole(module: nn.Module) -> None:
    assert LinearStart.of(module) is None


def test_noise_cannot_be_predicted_unless_it_is_asked_for(net: nn.Sequential) -> None:
    x = digits()[0][1300]
    free = SmoothedClassifier(net, classes=10, sigma=1.0)
    assert isinstance(free._noise, SecureRandom)
    assert any(not np.array_equal(free.votes(x, draws=500), free.votes(x, draws=500)) for _ in range(5))
    one, other = (SmoothedClassifier(net, classes=10, sigma=1.0, noise=InsecureNoise(Seeds(3))) for _ in range(2))
    assert np.array_equal(one.votes(x, draws=500), other.votes(x, draws=500))


def test_noisy_inputs_are_not_clipped() -> None:
    class Beyond(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outside = ((x < 0) | (x > 1)).any(dim=1).float()
            return torch.stack([outside, 1 - outside], dim=1)

    smoothed = SmoothedClassifier(Beyond(), classes=2, sigma=2.0)
    assert smoothed.votes(np.full(8, 0.5, np.float32), draws=200)[0] > 150


# Predictions and certificates


def test_smoothed_digits_are_still_read(net: nn.Sequential) -> None:
    x, y = digits()
    labels = SmoothedClassifier(net, classes=10, sigma=SIGMA).predict(x[1300:1400], draws=300)
    assert (labels == y[1300:1400]).mean() > 0.85


def test_an_input_that_is_lost_is_not_drawn_to_the_end() -> None:
    rows: list[int] = []

    class Quarters(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows.append(len(x))
            return torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1], x[:, 1] - x[:, 0], -x[:, 0] - x[:, 1]], dim=1)

    smoothed = SmoothedClassifier(Quarters(), classes=4, sigma=1.0)
    found = smoothed.certify(np.zeros((1, 2), np.float32), draws=20_000)
    assert found[0].label is None
    assert found[0].radius == 0
    assert sum(rows) < 14_500  # each class wins a quarter, so the lost half is reached after two thirds


def test_stopping_early_never_changes_a_certificate(net: nn.Sequential) -> None:
    """Equal noise, drawn to the end by hand and as far as `certify` thinks it needs."""
    needed = votes_needed(2000, alpha=0.001)
    abstained = 0
    for at, row in enumerate(digits()[0][1300:1340]):
        whole, found = (
            SmoothedClassifier(net, classes=10, sigma=0.6, noise=InsecureNoise(Seeds(at))) for _ in range(2)
        )
        label = int(whole.votes(row, draws=100).argmax())
        votes = int(whole.votes(row, draws=2000)[label])
        (one,) = found.certify(row[None], draws=2000)
        assert one.label == (label if votes >= needed else None)
        assert one.votes == votes or one.label is None
        abstained += one.label is None
    assert 0 < abstained < 40


def test_a_radius_that_is_enough_is_certified_with_few_draws(net: nn.Sequential) -> None:
    x = digits()[0][1300:1360]
    smoothed = SmoothedClassifier(net, classes=10, sigma=SIGMA)
    whole = smoothed.certify(x, draws=10_000)
    short = smoothed.certify(x, draws=10_000, enough=0.25)
    assert sum(one.radius >= 0.25 for one in whole) - 2 <= sum(one.radius >= 0.25 for one in short)
    assert np.mean([one.draws for one in short]) < 4000
    assert all(one.alpha == 0.001 for one in short)
    assert all(one.radius < 3.3 * SIGMA for one in short)


def test_looking_often_does_not_make_certificates_wrong_more_often() -> None:
    # True radius 0.5, wanted 0.5001: every certificate that reaches it is wrong. At alpha 0.5, more than `most` of 300
    # are so with probability 1e-6 at most. The control takes the whole alpha at each of the four looks.
    most = binom.isf(1e-6, 300, 0.5)
    smoothed = SmoothedClassifier(Line(), classes=2, sigma=1.0)
    found = smoothed.certify(np.full((300, 2), 0.5, np.float32), draws=3000, alpha=0.5, enough=0.5001)
    assert sum(one.radius > 0.5 for one in found) <= most
    drawn = Seeds(0).numpy("votes").random((300, 3000)) < norm.cdf(0.5)
    looks = (100, 316, 1000, 3000)
    radii = [
        [certificate(0, int(row[:look].sum()), draws=look, sigma=1.0, alpha=0.5).radius for look in looks]
        for row in drawn
    ]
    assert (np.array(radii) >= 0.5001).any(axis=1).sum() > most


def test_copies_without_an_answer_vote_for_nobody() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.where(x[:, 0] > 0, 1.0, torch.nan), torch.zeros(len(x))], dim=1)

    smoothed = SmoothedClassifier(Broken(), classes=2, sigma=1.0)
    votes = smoothed.votes(np.zeros(1, np.float32), draws=1000)
    assert 300 < votes.sum() < 700
    assert smoothed.certify(np.zeros((1, 1), np.float32), draws=1000)[0].label is None


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        SmoothedClassifier(Line(), classes=2, sigma=sigma)


def test_a_model_with_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="the model answers"):
        SmoothedClassifier(Line(), classes=3, sigma=1.0).votes(np.zeros(2, np.float32), draws=10)


@pytest.mark.slow
def test_no_adapted_attack_finds_anything_inside_a_certified_radius(net: nn.Sequential) -> None:
    """500 points, attacked by somebody who differentiates the vote itself.

    A breach needs a wrong certificate (probability 1e-9) or a wrong prediction (1e-9), so over 500 points, each
    attacked at one radius, a false alarm has probability 1e-6 at most. That the same search beyond the radius breaks
    more than half of the points shows that it can.
    """
    x, y = digits()
    x, y = x[1297:], y[1297:]
    smoothed = SmoothedClassifier(net, classes=10, sigma=SIGMA)
    certificates = smoothed.certify(x, draws=1000, alpha=1e-9)
    assert len(x) == 500
    reach = np.array([one.radius if one.label == label else 0.0 for one, label in zip(certificates, y, strict=True)])
    assert (reach > 0).mean() > 0.7
    steps = np.quantile(reach[reach > 0], [0.0, 0.25, 0.5, 0.75])
    tried = broken = beyond = 0
    for low, high in zip(steps, [*steps[1:], np.inf], strict=True):
        rows = (reach >= low) & (reach < high) & (reach > 0)
        inside = _attack(smoothed, x[rows], y[rows], radius=0.999 * low)
        outside = _attack(smoothed, x[rows], y[rows], radius=max(4 * low, 1.5))
        tried, broken, beyond = tried + int(rows.sum()), broken + inside, beyond + outside
    assert tried == (reach > 0).sum()
    assert broken == 0
    assert beyond > 0.5 * tried


def _attack(smoothed: SmoothedClassifier, x: np.ndarray, y: np.ndarray, *, radius: float) -> int:
    """How many points the adapted attack breaks: those whose prediction is surely another class."""
    vote = smoothed.network(draws=16, seeds=Seeds(0))
    target = Target(TorchPredictor(vote, classes=10), SPEC)
    pgd = Pgd(ball=Ball(norm="l2", radius=radius), steps=15, draws=2)
    changed = pgd.run(target, Labelled(x=x, y=y), Budget(batch=128), 0).examples["adversarial"]
    assert np.linalg.norm(changed - x, axis=1).max() <= radius * (1 + 1e-5) + 1e-6
    labels = smoothed.predict(changed, draws=500, alpha=1e-9)
    return int(((labels >= 0) & (labels != y)).sum())


def test_a_smoothed_classifier_is_a_target_like_any_other(net: nn.Sequential) -> None:
    x, y = digits()
    x, y = x[1300:1320], y[1300:1320]
    smoothed = SmoothedClassifier(net, classes=10, sigma=SIGMA)
    target = Target(SmoothedPredictor(smoothed, draws=100, alpha=0.01, attack_draws=8, seeds=Seeds(0)), SPEC)
    result = Pgd(ball=Ball(norm="l2", radius=3.0), steps=10, draws=2).run(target, Labelled(x=x, y=y), Budget(), 0)
    assert result.rate is not None
    assert result.rate > 0.5
