"""Bounds of rates, against the binomial distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from wardline.core.rates import clopper_pearson, lower_bound


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
    with pytest.raises(ValueError):
        lower_bound(successes, trials, alpha=1 - level if level < 1 else 0.0)


@pytest.mark.parametrize("trials", [1, 20, 100])
def test_the_lower_bound_is_wrong_as_rarely_as_it_says_for_every_rate(trials: int) -> None:
    bounds = np.array([lower_bound(count, trials, alpha=0.01) for count in range(trials + 1)])
    for rate in np.linspace(0.01, 0.99, 99):
        wrong = binom.pmf(np.flatnonzero(bounds > rate), trials, rate).sum()
        assert wrong <= 0.01 + 1e-9
