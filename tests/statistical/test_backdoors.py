"""Guarantees of the defences against poison, over many draws, and Neural Cleanse on ten clean models.

Each check of a rate compares a count with a quantile of the binomial distribution that it would have at the promised
rate; the quantile is taken at 1e-7, so a check alarms falsely with at most that probability. Seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from wardline.attacks.backdoors.poisons import Stamped
from wardline.core import Seeds
from wardline.models import Mlp
from wardline.models.learner import NetworkLearner
from wardline.robust.sanitise.partitions import certified_sizes, partition_of
from wardline.robust.sanitise.ranking import conformal_p_values, false_discovery_rows
from wardline.robust.sanitise.strip import strip_monitor
from wardline.robust.sanitise.trigger_search import neural_cleanse

ALARM = 1e-7
DRAWS = 4000


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("clean", [19, 99, 250])
def test_a_clean_score_gets_a_small_p_value_as_seldom_as_promised(rate, clean):
    generator = np.random.default_rng(1)
    small = 0
    for _ in range(DRAWS):
        scores = generator.exponential(size=clean + 1)
        small += int(conformal_p_values(scores[1:], scores[:1])[0] <= rate)
    assert small <= binom.isf(ALARM, DRAWS, rate)
    # And it is no larger than it must be: the achievable level just below the rate is used up.
    achievable = np.floor(rate * (clean + 1)) / (clean + 1)
    assert small >= binom.ppf(ALARM, DRAWS, achievable)


def test_an_off_by_one_in_the_p_value_would_be_noticed():
    """The effect: without the 1 that stands for the score itself, alarms exceed the rate."""
    generator = np.random.default_rng(2)
    wrong = 0
    for _ in range(DRAWS):
        scores = generator.exponential(size=26)
        wrong += int((scores[1:] >= scores[0]).mean() <= 0.05)
    assert wrong > binom.isf(ALARM, DRAWS, 0.05)


def test_the_share_of_clean_rows_among_those_called_poisoned_is_bounded():
    """Means of bounded numbers: above the rate plus Hoeffding's margin with a probability of at most 1e-7."""
    generator, rate, rounds = np.random.default_rng(3), 0.1, 1500
    shares, found = [], []
    for _ in range(rounds):
        trusted = generator.normal(size=300)
        scores = np.r_[generator.normal(size=80), generator.normal(4.0, 1.0, size=20)]
        called = false_discovery_rows(conformal_p_values(trusted, scores), rate=rate)
        shares.append((called < 80).mean() if len(called) else 0.0)
        found.append((called >= 80).sum() / 20)
    margin = np.sqrt(np.log(1 / ALARM) / (2 * rounds))
    assert np.mean(shares) <= rate + margin
    assert np.mean(found) > 0.8  # it does call what is there
    naive = np.flatnonzero(conformal_p_values(trusted, scores) <= rate)
    assert (naive < 80).mean() > rate  # what calling every small p-value would have given here


class _Fixed:
    """A made-up model: probabilities of three classes from the means of three stripes."""

    classes = 3
    gives = "logits"

    def answer(self, x):
        return (12 * np.stack([x[:, 0, :, part::3].mean(axis=(1, 2)) for part in range(3)], axis=1)).astype(np.float32)


def test_strip_keeps_its_false_alarm_rate_over_fresh_calibrations():
    generator, rate, alarms, draws = np.random.default_rng(4), 0.1, 0, 2000
    overlays = generator.uniform(size=(8, 1, 6, 6)).astype(np.float32)
    for _ in range(draws):
        images = generator.uniform(size=(31, 1, 6, 6)).astype(np.float32)
        monitor = strip_monitor(_Fixed(), overlays=overlays, calibration=images[1:], false_alarm_rate=rate)
        alarms += int(monitor.flags(images[:1])[0])
    assert alarms <= binom.isf(ALARM, draws, rate)
    bright = np.zeros((200, 1, 6, 6), dtype=np.float32)
    bright[..., 0::3] = 1.0
    assert monitor.flags(bright).mean() > 0.9


def test_no_random_poison_breaks_a_certificate_of_random_votes():
    """The vote itself, at sizes that cannot be enumerated: adversaries that turn the best votes and random ones."""
    generator = np.random.default_rng(5)
    votes = generator.multinomial(101, [0.5, 0.3, 0.2], size=3000)
    winners, sizes = certified_sizes(votes)
    for row, (vote, winner, size) in enumerate(zip(votes, winners, sizes, strict=True)):
        for rival in set(range(3)) - {int(winner)}:
            moved = vote.copy()
            moved[winner] -= size
            moved[rival] += size
            assert certified_sizes(moved[None])[0][0] == winner, row
    worst = votes.copy()
    every = np.arange(len(votes))
    worst[every, winners] = -1
    rivals = (worst - 0.1 * np.arange(3)).argmax(axis=1)
    moved = votes.copy()
    moved[every, winners] -= sizes + 1
    moved[every, rivals] += sizes + 1
    assert (certified_sizes(moved)[0] != winners).all()


def test_partitions_are_even():
    """The hash spreads rows like independent draws: a chi-squared test at 1e-7, both ways."""
    from scipy.stats import chi2

    where = partition_of(np.arange(20_000, dtype=np.float32)[:, None] / 7, 50)
    statistic = float((((np.bincount(where, minlength=50) - 400) ** 2) / 400).sum())
    assert chi2.ppf(ALARM, 49) < statistic < chi2.isf(ALARM, 49)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    given = load_digits()
    order = Seeds(5).numpy("split").permutation(len(given.target))
    return (given.images[order, None] / 16).astype(np.float32), given.target[order].astype(np.int64)


@pytest.mark.slow
def test_neural_cleanse_is_silent_on_ten_clean_models_and_names_the_class_of_four_backdoored_ones(digits):
    x, y = digits
    network = Mlp(inputs=64, hidden=(64,), classes=10)
    learner = NetworkLearner(architecture=network, epochs=20, batch=32, learning_rate=5e-3)
    silent, named = [], []
    for seed in range(10):
        clean = learner(x[:1000], y[:1000], seeds=Seeds(seed))
        silent.append(neural_cleanse(clean, x[1000:1400], seeds=Seeds(seed)).flagged)
    for seed in (0, 3, 6, 9):
        poisoned = Stamped(target=seed, share=0.1).poison(x[:1000], y[:1000], seeds=Seeds(seed))
        backdoored = learner(poisoned.x, poisoned.y, seeds=Seeds(seed))
        named.append(neural_cleanse(backdoored, x[1000:1400], seeds=Seeds(seed)).flagged)
    assert silent == [()] * 10
    assert named == [(0,), (3,), (6,), (9,)]
