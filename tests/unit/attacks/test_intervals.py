from __future__ import annotations

import pytest
from scipy.stats import binom, mannwhitneyu

from wardline.attacks.intervals import auc_interval, clopper_pearson


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 40), (10, 10), (1, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_clopper_pearson_ends_are_where_the_exact_tests_begin_to_reject(
    successes: int, trials: int, level: float
) -> None:
    interval = clopper_pearson(successes, trials, level=level)
    tail = (1 - level) / 2
    if successes:
        assert binom.sf(successes - 1, trials, interval.low) == pytest.approx(tail)
    else:
        assert interval.low == 0
    if successes < trials:
        assert binom.cdf(successes, trials, interval.high) == pytest.approx(tail)
    else:
        assert interval.high == 1


def test_clopper_pearson_never_covers_less_than_it_says() -> None:
    for rate in (0.001, 0.01, 0.3, 0.5):
        chosen = [clopper_pearson(k, 60) for k in range(61)]
        covered = sum(binom.pmf(k, 60, rate) for k in range(61) if chosen[k].low <= rate <= chosen[k].high)
        assert covered >= 0.95


@pytest.mark.parametrize(("successes", "trials", "level"), [(-1, 5, 0.95), (6, 5, 0.95), (0, 0, 0.95), (1, 5, 1.0)])
def test_clopper_pearson_refuses_nonsense(successes: int, trials: int, level: float) -> None:
    with pytest.raises(ValueError):
        clopper_pearson(successes, trials, level=level)


def test_auc_interval_agrees_with_the_mann_whitney_test_about_chance() -> None:
    """It leaves 0.5 out exactly where the test's normal approximation, without ties, rejects."""
    positives, negatives = 30, 50
    for wins in range(600, 1000):
        auc = wins / (positives * negatives)
        low = auc_interval(auc, positives, negatives, level=0.95).low
        centred = (wins - positives * negatives / 2) / (positives * negatives * (positives + negatives + 1) / 12) ** 0.5
        assert (low > 0.5) == (centred > 1.959964)


def test_the_normal_approximation_is_that_of_scipy() -> None:
    x, y = [1.5, 2.5, 3.5, 9.0, 8.0, 7.5], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5]
    result = mannwhitneyu(x, y, use_continuity=False, method="asymptotic")
    auc = float(result.statistic) / 42
    assert auc_interval(auc, 6, 7, level=1 - float(result.pvalue)).low == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("auc", [0.0, 1.0])
def test_auc_interval_keeps_a_width_at_the_ends(auc: float) -> None:
    interval = auc_interval(auc, 20, 20)
    assert interval.low <= auc <= interval.high
    assert interval.high - interval.low > 0.05


def test_auc_interval_refuses_nonsense() -> None:
    for arguments in ((1.1, 5, 5), (0.5, 0, 5), (0.5, 5, 0)):
        with pytest.raises(ValueError):
            auc_interval(*arguments)
