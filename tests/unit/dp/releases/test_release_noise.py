"""How wide noise is: against sums over the exact distribution, and against numerical inversion for weighted sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import SecureRandom
from wardline.dp.releases.noise import Noise, tail_of_two


def masses(noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """The distribution, far enough out."""
    reach = math.ceil(60 * noise.scale) + 5
    places = np.arange(-reach, reach + 1)
    if noise.kind == "laplace":
        weights = np.exp(-np.abs(places) / noise.scale)
    else:
        weights = np.exp(-0.5 * (places / noise.scale) ** 2)
    return places, weights / weights.sum()


@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0, 2.5, 17.0])
@pytest.mark.parametrize("miss", [0.1, 0.05, 0.001])
def test_one_number_strays_as_far_as_its_distribution_says(kind: str, scale: float, miss: float) -> None:
    noise = Noise(kind=kind, scale=scale)  # type: ignore[arg-type]
    places, prob = masses(noise)
    half = noise.half_width([1.0], miss=miss)
    assert half == int(half)
    assert prob[np.abs(places) > half].sum() <= miss * (1 + 1e-9)
    assert half == 0 or prob[np.abs(places) > half - 1].sum() > miss  # and no wider than needed
    std = math.sqrt((prob * places**2).sum())
    assert noise.std == pytest.approx(std, rel=1e-6) if kind == "laplace" or scale >= 1 else noise.std >= std
    assert noise.half_width([-3.0], miss=miss) == 3 * half


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1.0, 0.5), (3.0, 0.01), (1.0, 0.9995)])
def test_the_tail_of_two_laplace_numbers(scales: tuple[float, float]) -> None:
    step = 0.002
    x = np.arange(-40, 40, step)
    density = [np.exp(-np.abs(x) / scale) / (2 * scale) * step for scale in scales]
    both = np.convolve(*[one / one.sum() for one in density])
    places = (np.arange(len(both)) - (len(both) - 1) / 2) * step
    for distance in (0.5, 2.0, 5.0):
        expected = both[np.abs(places) > distance].sum()
        assert tail_of_two(max(scales), min(scales), distance) == pytest.approx(expected, rel=6e-3)


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.floats(0.05, 1.0), min_size=2, max_size=6),
    miss=st.sampled_from([0.05, 0.025, 0.01, 0.001]),
)
def test_no_sum_of_laplace_numbers_has_a_wider_quantile_than_one_of_the_same_deviation(
    weights: list[float], miss: float
) -> None:
    """The claim in `Noise.factor`: checked by inverting the characteristic function (Gil-Pelaez 1951)."""
    sizes = np.array(weights) / np.linalg.norm(weights) / math.sqrt(2)  # a deviation of 1
    distance = Noise(kind="laplace", scale=1.0).factor(miss)
    step = 0.01
    t = (np.arange(200_000) + 0.5) * step
    characteristic = np.prod(1 / (1 + np.outer(sizes**2, t**2)), axis=0)
    beyond = 1 - 2 / math.pi * np.sum(np.sin(t * distance) / t * characteristic) * step
    assert beyond <= miss + 2e-6


@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
@pytest.mark.parametrize("scale", [0.3, 1.0, 8.0])
def test_weighted_sums_of_discrete_numbers_stay_within_their_width(kind: str, scale: float) -> None:
    """Exactly, by convolution: the slack for rounding to steps is enough."""
    noise = Noise(kind=kind, scale=scale)  # type: ignore[arg-type]
    _, prob = masses(noise)
    both = np.convolve(prob, prob)
    places = np.arange(len(both)) - (len(both) - 1) / 2
    half = noise.half_width([1.0, 1.0], miss=0.05)
    assert both[np.abs(places) > half].sum() <= 0.05
    wide = noise.factor(0.05) * noise.padded_std(2, miss=0.05) * math.sqrt(2)
    assert both[np.abs(places) > wide].sum() <= 0.05
    if scale == 8.0:
        assert both[np.abs(places) > 0.9 * half].sum() > 0.05  # a tenth less would be too little


def test_drawing_has_the_shape_that_was_asked_for() -> None:
    drawn = Noise(kind="laplace", scale=3.0).draw((4, 5), SecureRandom())
    assert drawn.shape == (4, 5)
    assert drawn.dtype == np.int64


@pytest.mark.parametrize("miss", [0.0, 0.11, 1.0, -1.0, math.nan])
def test_a_probability_out_of_range_is_refused(miss: float) -> None:
    with pytest.raises(ValueError, match="miss"):
        Noise(kind="laplace", scale=1.0).half_width([1.0], miss=miss)
