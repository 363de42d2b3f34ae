"""Private selection of keys: thresholds hold their delta exactly and could not be lower."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wardline.core import SecureRandom
from wardline.dp.mechanisms import gaussian_partitions, geometric_partitions, partitions, threshold, truncation

EPSILONS = [0.01, 0.1, 0.5, 1.0, 3.0, 20.0]
DELTAS = [1e-10, 1e-6, 1e-3, 0.2]


def truncated_pmf(epsilon: float, most: int) -> np.ndarray:
    weights = np.exp(-epsilon * np.abs(np.arange(-most, most + 1)))
    return weights / weights.sum()


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("delta", DELTAS)
def test_truncated_noise_is_private_and_could_not_be_shorter(epsilon: float, delta: float) -> None:
    """The hockey-stick divergence of the two shifts of the noise, summed over all outcomes."""

    def spent(most: int) -> float:
        pmf = truncated_pmf(epsilon, most)
        one, other = np.append(pmf, 0.0), np.append(0.0, pmf)
        pairs = ((one, other), (other, one))
        return max(float(np.maximum(a - math.exp(epsilon) * (1 + 1e-12) * b, 0).sum()) for a, b in pairs)

    most = truncation(epsilon=epsilon, delta=delta)
    assert spent(most) <= delta * (1 + 1e-9)
    if most > 0:
        assert spent(most - 1) > delta * (1 - 1e-9)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 7.5, 300.0])
@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("groups", [1, 4, 100])
def test_the_threshold_holds_its_delta_and_could_not_be_lower(sigma: float, delta: float, groups: int) -> None:
    places = np.arange(-int(45 * sigma) - 50, int(45 * sigma) + 51)
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    weights /= weights.sum()

    def shown(above: int) -> float:
        one = float(weights[1 + places > above].sum())
        return -math.expm1(groups * math.log1p(-one))

    above = threshold(sigma=sigma, delta=delta, groups=groups)
    assert shown(above) <= delta * (1 + 1e-9)
    if above > 0:
        assert shown(above - 1) > delta * (1 - 1e-9)


@pytest.mark.parametrize("least", [0, 1, 3, 50, 400_000, 900_000])
def test_the_tail_of_wide_noise_is_bounded_from_above_and_closely(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    sigma = 200_000.0
    bound = partitions.gaussian_tail(least, sigma=sigma)
    monkeypatch.setattr(partitions, "_DIRECT", 1 << 20)
    summed = partitions.gaussian_tail(least, sigma=sigma)
    assert summed <= bound <= summed * 1.001


def test_figures_out_of_range_are_refused() -> None:
    random = SecureRandom()
    counts = np.array([3, 4])
    for epsilon, delta in ((0.0, 0.1), (1.0, 0.0), (1.0, 1.0), (float("nan"), 0.1), (1e-14, 1e-13)):
        with pytest.raises(ValueError, match=r"epsilon|delta"):
            geometric_partitions(counts, epsilon=epsilon, delta=delta, random=random)
    for sigma, delta, groups in ((0.0, 0.1, 1), (1.0, 0.0, 1), (1.0, 0.1, 0)):
        with pytest.raises(ValueError, match=r"sigma|delta|groups"):
            gaussian_partitions(counts, sigma=sigma, delta=delta, groups=groups, random=random)
    for wrong in (np.array([0.5]), np.array([[1]])):
        with pytest.raises(TypeError, match="whole numbers"):
            geometric_partitions(wrong, epsilon=1.0, delta=0.1, random=random)
    for wrong in (np.array([-1]), np.array([2**62])):
        with pytest.raises(ValueError, match="count"):
            gaussian_partitions(wrong, sigma=1.0, delta=0.1, groups=1, random=random)
    with pytest.raises(TypeError, match="SecureRandom"):
        geometric_partitions(counts, epsilon=1.0, delta=0.1, random=np.random.default_rng(0))  # type: ignore[arg-type]


def test_keys_that_nobody_has_are_never_shown_and_keys_of_many_always() -> None:
    counts = np.array([0] * 5000 + [10**6] * 5000)
    random = SecureRandom()
    for kept, noisy in (
        geometric_partitions(counts, epsilon=0.1, delta=0.3, random=random),
        gaussian_partitions(counts, sigma=3.0, delta=0.3, groups=2, random=random),
    ):
        assert not kept[:5000].any()
        assert kept[5000:].all()
        assert not noisy[:5000].any(), "a count that is not shown is not there"
        assert abs(noisy[5000:] - 10**6).max() < 1000
        assert len(np.unique(noisy[5000:])) > 3
    nothing = np.array([], dtype=np.int64)
    assert geometric_partitions(nothing, epsilon=1.0, delta=0.1, random=random)[0].shape == (0,)
    assert gaussian_partitions(nothing, sigma=1.0, delta=0.1, groups=1, random=random)[1].shape == (0,)
