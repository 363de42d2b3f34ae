from __future__ import annotations

import pytest
from scipy.stats import mannwhitneyu

from wardline.attacks.intervals import auc_interval


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
