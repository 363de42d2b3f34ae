"""Poisson sampling: its rate, and that units join independently of each other and of earlier steps.

Every alarm is false with a probability of at most 1e-6; deviations that would be noticed are named in each test.
"""

import numpy as np
import pytest
from scipy import stats

from wardline.core import SecureRandom
from wardline.dp.training.sampling import PoissonSampler, poisson_sample

ALARM = 1e-6
UNITS = 2000
STEPS = 1000


@pytest.fixture(params=["blocks", "one by one"])
def joined(request):
    """A function that makes a table of who joined which step, drawn for many steps at once or for each alone."""

    def table_of(sample_rate):
        random = SecureRandom()
        sampler = PoissonSampler(UNITS, sample_rate=sample_rate, random=random)
        table = np.zeros((STEPS, UNITS), dtype=np.bool_)
        for step in table:
            if request.param == "blocks":
                step[sampler.draw()] = True
            else:
                step[poisson_sample(UNITS, sample_rate=sample_rate, random=random)] = True
        return table

    return table_of


# The deviations are at least ten standard deviations of the count, of which five alarm and the rest is for chance.
@pytest.mark.parametrize(("sample_rate", "deviation"), [(0.01, 0.1), (0.06, 0.05), (0.5, 0.05)])
def test_the_rate_is_right_and_a_little_more_or_less_would_be_noticed(joined, sample_rate, deviation):
    count = int(joined(sample_rate).sum())
    trials = UNITS * STEPS
    assert stats.binomtest(count, trials, sample_rate).pvalue > ALARM
    assert stats.binomtest(count, trials, (1 - deviation) * sample_rate).pvalue < ALARM
    assert stats.binomtest(count, trials, (1 + deviation) * sample_rate).pvalue < ALARM


def test_batch_sizes_vary_as_independent_coins_do_and_a_fixed_size_would_be_noticed(joined):
    rate = 0.06
    sizes = joined(rate).sum(axis=1)
    # Dispersion: squared deviations over the binomial variance, chi-squared in good approximation at a mean of 120.
    statistic = float(((sizes - rate * UNITS) ** 2).sum() / (UNITS * rate * (1 - rate)))
    assert 2 * min(stats.chi2.cdf(statistic, STEPS), stats.chi2.sf(statistic, STEPS)) > ALARM
    assert stats.chi2.cdf(0.0, STEPS) < ALARM


def test_every_unit_joins_equally_often_and_a_shuffled_partition_would_be_noticed(joined):
    rate = 0.06
    counts = joined(rate).sum(axis=0)
    statistic = float(((counts - rate * STEPS) ** 2).sum() / (STEPS * rate * (1 - rate)))
    assert 2 * min(stats.chi2.cdf(statistic, UNITS), stats.chi2.sf(statistic, UNITS)) > ALARM
    # Shuffled epochs, what most loaders call sampling, use every unit exactly equally often.
    assert stats.chi2.cdf(0.0, UNITS) < ALARM


def test_neighbours_and_successive_steps_are_independent(joined):
    rate = 0.06
    table = joined(rate)
    for one, other in ((table[:, 1:], table[:, :-1]), (table[1:], table[:-1])):
        both = int((one & other).sum())
        # 2 million pairs; the variance of overlapping pairs is a little larger than binomial: 2 rate added.
        std = np.sqrt(one.size * rate**2 * (1 - rate**2 + 2 * rate))
        z = (both - one.size * rate**2) / std
        assert 2 * stats.norm.sf(abs(z)) > ALARM
        # Joining with 1.1 times the rate after having joined would be noticed.
        assert 2 * stats.norm.sf(0.1 * one.size * rate**2 / std) < ALARM
