"""The noise that training adds: its size, its shape, its independence.

Every alarm below is false with a probability of at most 1e-6, and every test also shows that it would have
noticed the deviation named in it, which fails by chance less often than that: deviations are chosen at least five
standard deviations beyond the alarm.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from wardline.core import SecureRandom, Seeds
from wardline.data import Examples
from wardline.dp import DpSgdConfig, noisy_sum, train_dp
from wardline.dp.training.noise import ROUNDING_MARGIN
from wardline.models import Logistic

ALARM = 1e-6
DRAWS = 400_000


def standardised(*, noise_multiplier=1.3, clip_norm=0.7, value=5.0):
    """Noise on equal sums, divided by the standard deviation that it should have."""
    total = {"a": torch.full((DRAWS // 2,), value, dtype=torch.float64), "b": torch.full((DRAWS // 2, 1), value)}
    found = noisy_sum(
        {name: one.double() for name, one in total.items()},
        noise_multiplier=noise_multiplier,
        clip_norm=clip_norm,
        random=SecureRandom(),
    )
    noise = torch.cat([one.double().flatten() for one in found.values()]).numpy() - value
    return noise / (noise_multiplier * clip_norm * (1 + ROUNDING_MARGIN))


def variance_p_value(noise):
    """Two-sided: the sum of squares of n standard normal numbers is chi-squared with n degrees of freedom."""
    total = float((noise**2).sum())
    return 2 * min(stats.chi2.cdf(total, len(noise)), stats.chi2.sf(total, len(noise)))


@pytest.mark.parametrize(("noise_multiplier", "clip_norm"), [(1.3, 0.7), (0.4, 1e-3), (50.0, 10.0)])
def test_the_standard_deviation_is_right_and_three_percent_less_or_more_would_be_noticed(noise_multiplier, clip_norm):
    noise = standardised(noise_multiplier=noise_multiplier, clip_norm=clip_norm)
    assert variance_p_value(noise) > ALARM
    assert variance_p_value(0.97 * noise) < ALARM
    assert variance_p_value(1.03 * noise) < ALARM


def test_the_distribution_is_gaussian_and_a_uniform_or_shifted_one_would_be_noticed():
    noise = standardised()
    assert stats.kstest(noise, "norm").pvalue > ALARM
    # A shift moves the distribution function by 0.012: 7.6 over sqrt(n), where 2.7 alarms and 0.5 is chance.
    assert stats.kstest(noise + 0.03, "norm").pvalue < ALARM
    uniform = (2 * SecureRandom().uniform(DRAWS) - 1) * np.sqrt(3)
    assert stats.kstest(uniform, "norm").pvalue < ALARM


def test_the_tails_are_there():
    # Of 400,000 normal numbers, 25.3 lie beyond 4 on average. A binomial test; tails cut at 4 would be noticed.
    noise = standardised()
    beyond = int((np.abs(noise) > 4).sum())
    prob = 2 * stats.norm.sf(4)
    assert stats.binomtest(beyond, DRAWS, prob).pvalue > ALARM
    assert stats.binomtest(0, DRAWS, prob).pvalue < ALARM


def test_numbers_of_one_call_and_of_two_calls_are_uncorrelated_and_a_reused_stream_would_be_noticed():
    one, two = standardised(), standardised()
    # The scaled sum of n products of independent standard normal numbers is normal to well below what matters here.
    for a, b in ((one, two), (one[1:], one[:-1]), (one[::2], one[1::2]), (one[: DRAWS // 2], one[DRAWS // 2 :])):
        z = float((a * b).sum() / np.sqrt(len(a)))
        assert 2 * stats.norm.sf(abs(z)) > ALARM
    z = float((one * (0.02 * one + two)).sum() / np.sqrt(DRAWS))
    assert 2 * stats.norm.sf(abs(z)) < ALARM


def noise_in_weights(seeds):
    """What one step on rows of zeros leaves in 2,000 weights: noise and nothing else."""
    columns = 1000
    data = Examples(
        x=np.zeros((10, columns), np.float32),
        y=np.arange(10, dtype=np.int64) % 2,
        unit=np.arange(10),
        features=tuple(map(str, range(columns))),
        classes=("no", "yes"),
    )
    config = DpSgdConfig(
        epsilon=1.0, delta=1e-3, clip_norm=1.0, noise_multiplier=3.0, sample_rate=0.5, steps=1, learning_rate=5 / 3
    )
    architecture = Logistic(inputs=columns, classes=2)
    model = train_dp(architecture, data, config=config, random=SecureRandom(), seeds=seeds)
    return model.parameters["head.weight"].ravel().astype(np.float64) / (1 + ROUNDING_MARGIN)


def test_noise_reaches_the_model_at_its_full_size_and_has_nothing_to_do_with_the_seeds():
    # learning_rate / (sample_rate * units) * noise_multiplier * clip_norm = 1: the weights are standard normal.
    runs = [noise_in_weights(Seeds(0)) for _ in range(20)]
    together = np.concatenate(runs)
    assert variance_p_value(together) > ALARM
    assert variance_p_value(0.95 * together) < ALARM
    for other in runs[1:]:
        z = float((runs[0] * other).sum() / np.sqrt(len(other)))
        assert 2 * stats.norm.sf(abs(z)) > ALARM / 19
    # The control: noise that follows from the seeds would be the same each time.
    z = float((runs[0] * runs[0]).sum() / np.sqrt(len(runs[0])))
    assert 2 * stats.norm.sf(abs(z)) < ALARM
