"""The local model: estimates are unbiased, vary as they say, and intervals cover as often as they say.

Every alarm below is false with a probability of at most 1e-6 (two-sided, shared among the values of a test), and every
test shows that it would have noticed the deviation named in it; deviations are chosen at least five standard deviations
beyond the alarm.
"""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from wardline.core import SecureRandom
from wardline.dp.local import (
    HadamardResponse,
    NumericResponse,
    NumericVectorResponse,
    RandomisedResponse,
    Rappor,
    UnaryEncoding,
    compare_counts,
    simulate,
)
from wardline.dp.local._chance import below, coins, packed_coins

ALARM = 1e-6
SIZE = 12
NAMES = ["randomised", "optimised", "symmetric", "hadamard-1-block", "hadamard-blocks", "rappor"]
MECHANISMS = [
    RandomisedResponse(size=SIZE, epsilon=1.0),
    UnaryEncoding(size=SIZE, epsilon=1.0),
    UnaryEncoding(size=SIZE, epsilon=1.0, flips="symmetric"),
    HadamardResponse(size=SIZE, epsilon=0.3),
    HadamardResponse(size=SIZE, epsilon=2.0),
    Rappor(size=SIZE, epsilon=2.0, report_epsilon=1.0),
]
TRUE = np.array([3000, 1500, 700, 300, 150, 80, 40, 20, 10, 5, 1, 0])
VALUES = np.repeat(np.arange(SIZE), TRUE)


def less_private(mechanism):
    """The same with a larger epsilon: as much larger as leaves the reports' form as it is."""
    if isinstance(mechanism, Rappor):
        return dataclasses.replace(mechanism, epsilon=3.0, report_epsilon=1.3)
    factor = 1.1 if isinstance(mechanism, HadamardResponse) and mechanism.blocks > 1 else 1.3
    return dataclasses.replace(mechanism, epsilon=factor * mechanism.epsilon)


def draws(mechanism, count, decoder=None):
    """Estimates from `count` independent collections, and their standard errors; read by another mechanism if given."""
    decoder = decoder or mechanism
    found = []
    for _ in range(count):
        tally = simulate(mechanism, VALUES, random=SecureRandom())
        found.append(decoder.estimate(dataclasses.replace(tally, scheme=decoder.scheme)))
    return np.array([one.counts for one in found]), np.array([one.std for one in found])


def test_hadamard_response_is_tried_with_one_block_and_with_several():
    assert MECHANISMS[3].blocks == 1
    assert MECHANISMS[4].blocks > 1


@pytest.mark.parametrize("index", range(len(MECHANISMS)), ids=NAMES)
def test_estimates_are_unbiased_and_a_wrong_epsilon_would_be_noticed(index):
    mechanism, count = MECHANISMS[index], 400
    std = np.sqrt(mechanism.variance(TRUE) / count)
    alarm = stats.norm.isf(ALARM / SIZE / 2)
    estimates, _ = draws(mechanism, count)
    assert (np.abs(estimates.mean(axis=0) - TRUE) < alarm * std).all()
    # A client that randomises too little, or a server that has the probabilities wrong.
    estimates, _ = draws(less_private(mechanism), count, decoder=mechanism)
    assert np.max(np.abs(estimates.mean(axis=0) - TRUE) / std) > alarm + 5


@pytest.mark.parametrize("index", range(len(MECHANISMS)), ids=NAMES)
def test_variances_are_as_stated_and_intervals_cover_as_often_as_they_say(index):
    # Of 1500 normal errors the mean square varies by 3.7 per cent, and alarms beyond 18.
    mechanism, count, level = MECHANISMS[index], 1500, 0.9
    estimates, stds = draws(mechanism, count)
    expected = mechanism.variance(TRUE)
    reach = stats.norm.isf((1 - level) / 2)
    for value in (0, 3, SIZE - 1):
        square = float(((estimates[:, value] - TRUE[value]) ** 2).sum() / expected[value])
        assert 2 * min(stats.chi2.sf(square, count), stats.chi2.cdf(square, count)) > ALARM / 3
        # A half more would be noticed, and a third less.
        assert stats.chi2.sf(square * 1.5, count) < ALARM / 6
        assert stats.chi2.cdf(square / 1.5, count) < ALARM / 6
        # The standard error that is told with an estimate is the same, up to what it estimates.
        assert np.median(stds[:, value]) == pytest.approx(np.sqrt(expected[value]), rel=0.05)
        # The normal approximation is good to about half a per cent here; it is allowed one.
        off = np.abs(estimates[:, value] - TRUE[value]) / stds[:, value]
        covered = int((off < reach).sum())
        assert stats.binom.cdf(covered, count, level - 0.01) > ALARM / 6
        assert stats.binom.sf(covered - 1, count, level + 0.01) > ALARM / 6
        # With two thirds of the width they would cover 73 per cent.
        assert stats.binom.cdf(int((off < reach / 1.5).sum()), count, level - 0.01) < ALARM / 6


NUMBERS = np.concatenate((np.full(3000, -2.0), np.full(1000, 7.9), np.linspace(-2, 8, 2000)))
METHODS = ["duchi", "piecewise", "hybrid"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_means_are_unbiased_vary_as_stated_and_are_covered(method, epsilon):
    mechanism, count = NumericResponse(lower=-2.0, upper=8.0, epsilon=epsilon, method=method), 600
    expected = float(mechanism.variance(NUMBERS).mean()) / len(NUMBERS)
    random = SecureRandom()
    found = [mechanism.estimate(mechanism.tally(mechanism.randomise(NUMBERS, random=random))) for _ in range(count)]
    off = np.array([one.value for one in found]) - NUMBERS.mean()
    alarm = stats.norm.isf(ALARM / 6)
    assert abs(off.mean()) < alarm * np.sqrt(expected / count)
    # A mean that is off by half a standard error of one collection would be noticed.
    assert abs(off.mean() + np.sqrt(expected) / 2) > alarm * np.sqrt(expected / count)
    square = float((off**2).sum() / expected)
    assert 2 * min(stats.chi2.sf(square, count), stats.chi2.cdf(square, count)) > ALARM / 3
    # Twice as much would be noticed, and half as much.
    assert stats.chi2.sf(square * 2, count) < ALARM / 3
    assert stats.chi2.cdf(square / 2, count) < ALARM / 3
    # Intervals cover at least as often as they say: they also hold the spread among the persons.
    covered = sum(one.interval(0.9).low < NUMBERS.mean() < one.interval(0.9).high for one in found)
    assert stats.binom.cdf(covered, count, 0.89) > ALARM / 3


def test_means_of_several_numbers_are_unbiased():
    generator = np.random.default_rng(5)
    rows = np.column_stack((generator.uniform(0, 1, 2000), generator.uniform(90, 100, 2000), np.full(2000, -1.0)))
    mechanism = NumericVectorResponse(lower=(0.0, 0.0, -1.0), upper=(1.0, 100.0, 1.0), epsilon=6.0)
    assert mechanism.sampled == 2
    random = SecureRandom()
    tallies = [mechanism.tally(mechanism.randomise(rows, random=random)) for _ in range(150)]
    found = [mechanism.estimate(one) for one in tallies]
    other = dataclasses.replace(mechanism, epsilon=7.4)  # what a server with another epsilon would make of them
    wrong = [other.estimate(dataclasses.replace(one, scheme=other.scheme)) for one in tallies]
    noticed = 0
    for index in range(3):
        true = rows[:, index].mean()
        alarm = stats.norm.isf(ALARM / 6) * np.mean([one[index].std for one in found]) / np.sqrt(len(found))
        assert abs(np.mean([one[index].value for one in found]) - true) < alarm
        noticed += abs(np.mean([one[index].value for one in wrong]) - true) > 2 * alarm
        covered = sum(one[index].interval(0.9).low < true < one[index].interval(0.9).high for one in found)
        assert stats.binom.cdf(covered, len(found), 0.89) > ALARM / 3
    assert noticed == 2, "the first number lies in the middle of its range, where no factor changes it"


def test_which_numbers_are_reported_is_drawn_evenly():
    mechanism = NumericVectorResponse(lower=(0.0,) * 5, upper=(1.0,) * 5, epsilon=5.0)
    reports = mechanism.randomise(np.zeros((60_000, 5)), random=SecureRandom())
    pairs = np.bincount(reports[:, 0, 0] * 5 + reports[:, 1, 0], minlength=25).reshape(5, 5)
    chosen = pairs[np.triu_indices(5, 1)]
    assert chosen.sum() == 60_000
    assert stats.chisquare(chosen).pvalue > ALARM
    chosen[0] -= 600
    chosen[1] += 600  # one pair a tenth rarer: 7.7 standard deviations
    assert stats.chisquare(chosen).pvalue < ALARM


@pytest.mark.parametrize("prob", [0.2689414213699951, 0.5, 0.997, 2.0**-12])
def test_packed_coins_show_as_often_as_they_should_in_every_place(prob):
    threshold = int(prob * 2**64)
    words = packed_coins(40_000, threshold, SecureRandom())
    shown = ((words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).sum(axis=0)
    assert min(stats.binomtest(int(one), 40_000, prob).pvalue for one in shown) > ALARM / 64
    total = int(shown.sum())
    assert stats.binomtest(total, 2_560_000, prob).pvalue > ALARM
    assert stats.binomtest(total, 2_560_000, prob * 1.6 if prob < 0.1 else prob * 0.99).pvalue < ALARM
    single = coins(2_560_000, threshold, SecureRandom())
    assert stats.binomtest(int(single.sum()), 2_560_000, prob).pvalue > ALARM


def test_coins_of_neighbouring_bits_and_words_are_independent():
    words = packed_coins(40_000, int(0.3 * 2**64), SecureRandom())
    bits = ((words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).astype(float)
    z = (bits - 0.3) / np.sqrt(0.21)
    for one, other in ((z[:, :-1], z[:, 1:]), (z[:-1], z[1:])):
        assert abs(float((one * other).sum() / np.sqrt(one.size))) < stats.norm.isf(ALARM / 4)
    copied = np.where(SecureRandom().bernoulli(z[:, 1:].size, 0.01).reshape(z[:, 1:].shape), z[:, :-1], z[:, 1:])
    assert abs(float((z[:, :-1] * copied).sum() / np.sqrt(copied.size))) > stats.norm.isf(ALARM / 4)


@pytest.mark.parametrize("bound", [3, 7, 12, 1000])
def test_uniform_numbers_are_uniform(bound):
    found = np.bincount(below(600_000, bound, SecureRandom()), minlength=bound)
    assert stats.chisquare(found).pvalue > ALARM
    tilted = found * np.where(np.arange(bound) < bound / 2, 0.94, 1.06)
    assert stats.chisquare(tilted, np.full(bound, tilted.sum() / bound)).pvalue < ALARM


def test_expected_errors_of_a_comparison_are_the_ones_that_are_measured():
    values = np.random.default_rng(3).zipf(1.3, 4000) % 40
    found = compare_counts(size=40, people=4000, epsilons=[1.0], values=values, draws=60)
    for one in found.contenders:
        # 2400 squared errors; those of Laplace noise vary as much as 480 normal ones. Allowed: six deviations.
        assert one.measured is not None
        assert one.measured.rmse == pytest.approx(one.rmse, rel=0.2)
        assert one.measured.largest == pytest.approx(one.largest, rel=0.2)
