"""The whole-number noise: what it accepts, and what it gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from wardline.core import SecureRandom, Seeds
from wardline.dp.mechanisms import discrete_gaussian, discrete_laplace

Noise = Callable[[int, float, SecureRandom], NDArray[np.int64]]


def laplace(count: int, scale: float, random: SecureRandom) -> NDArray[np.int64]:
    return discrete_laplace(count, scale=scale, random=random)


def gaussian(count: int, scale: float, random: SecureRandom) -> NDArray[np.int64]:
    return discrete_gaussian(count, sigma=scale, random=random)


BOTH = pytest.mark.parametrize("noise", [laplace, gaussian])


@BOTH
@pytest.mark.parametrize("count", [0, 1, 2, 8191, 8192, 8193, 20_000])
def test_as_many_whole_numbers_as_were_asked_for(noise: Noise, count: int) -> None:
    drawn = noise(count, 3.0, SecureRandom())
    assert drawn.shape == (count,)
    assert drawn.dtype == np.int64


@BOTH
@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 2.0**-101, 2.0**55])
def test_scales_out_of_range_are_refused(noise: Noise, scale: float) -> None:
    with pytest.raises(ValueError, match=r"scale|sigma"):
        noise(3, scale, SecureRandom())


@BOTH
def test_a_negative_count_is_refused(noise: Noise) -> None:
    with pytest.raises(ValueError, match="count"):
        noise(-1, 1.0, SecureRandom())


@BOTH
@pytest.mark.parametrize("source", [Seeds(0), np.random.default_rng(0), np.random.RandomState(0), 7, None])
def test_nothing_that_can_be_seeded_is_accepted(noise: Noise, source: SecureRandom) -> None:
    with pytest.raises(TypeError, match="SecureRandom"):
        noise(3, 1.0, source)


@BOTH
@pytest.mark.parametrize("scale", [2.0**-20, 0.01, 0.04])
def test_noise_far_below_one_is_zero(noise: Noise, scale: float) -> None:
    # The most likely of these is off with probability 2 * exp(-25) = 3e-11, a thousand times.
    assert not noise(1000, scale, SecureRandom()).any()


@BOTH
@pytest.mark.parametrize("scale", [2.0**24, 2.0**24 + 1, 2.0**30, 2.0**53])
def test_all_low_digits_of_wide_noise_are_used(noise: Noise, scale: float) -> None:
    """Noise that is scaled up from smaller noise would have low digits of zero."""
    drawn = noise(2000, scale, SecureRandom())
    for bit in range(8):
        # Binomial: outside with probability below 1e-10.
        assert 850 < int(((drawn >> bit) & 1).sum()) < 1150
    coarse = (drawn >> 6) << 6
    assert (coarse & 1).sum() == 0, "the control"
    assert len(np.unique(drawn)) > 1990


@BOTH
def test_two_draws_differ(noise: Noise) -> None:
    random = SecureRandom()
    assert not np.array_equal(noise(64, 10.0, random), noise(64, 10.0, random))
