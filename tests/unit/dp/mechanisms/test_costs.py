"""From sensitivity to event and back: exact, and rounded to the safe side where it cannot be."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.accounting.events import ApproximateDp, DiscreteLaplace, PureDp, ZeroConcentrated
from wardline.dp.mechanisms import (
    choice_event,
    gaussian_event,
    gaussian_partition_events,
    geometric_partition_event,
    laplace_event,
    scale_for,
    sigma_for,
)

FIGURES = st.floats(1e-6, 1e6)
STEPS = st.integers(1, 10**9)


def test_events_say_what_the_noise_costs() -> None:
    assert laplace_event(scale=8.0, linf=4) == DiscreteLaplace(scale=8.0, sensitivity=4)
    assert laplace_event(scale=8.0, linf=4, numbers=3) == DiscreteLaplace(scale=8.0, sensitivity=4, steps=3)
    assert laplace_event(scale=8.0, linf=4, numbers=3, l1=12) == DiscreteLaplace(scale=8.0, sensitivity=4, steps=3)
    assert laplace_event(scale=8.0, linf=4, numbers=3, l1=6) == PureDp(epsilon=0.75)
    assert gaussian_event(sigma=2.0, l2_squared=4) == ZeroConcentrated(rho=0.5)
    assert choice_event(epsilon=2.0) == PureDp(epsilon=2.0)
    assert choice_event(epsilon=2.0, as_="zero-concentrated") == ZeroConcentrated(rho=0.5)
    assert geometric_partition_event(epsilon=1.0, delta=1e-6, groups=3) == ApproximateDp(
        epsilon=1.0, delta=1e-6, steps=3
    )
    assert gaussian_partition_events(sigma=2.0, delta=1e-6, groups=4) == (
        ZeroConcentrated(rho=0.5),
        ApproximateDp(epsilon=0.0, delta=1e-6),
    )


@given(epsilon=FIGURES, l1=STEPS)
@settings(derandomize=True, deadline=None)
def test_the_scale_is_the_least_that_keeps_epsilon(epsilon: float, l1: int) -> None:
    scale = scale_for(epsilon=epsilon, l1=l1)
    assert Fraction(l1) / Fraction(scale) <= Fraction(epsilon)
    assert Fraction(l1) / Fraction(math.nextafter(scale, 0)) > Fraction(epsilon)


@given(rho=FIGURES, square=STEPS)
@settings(derandomize=True, deadline=None)
def test_sigma_keeps_rho_and_is_hardly_larger_than_need_be(rho: float, square: int) -> None:
    sigma = sigma_for(rho=rho, l2_squared=square)
    assert Fraction(square) / (2 * Fraction(sigma) ** 2) <= Fraction(rho)
    assert Fraction(square) / (2 * Fraction(sigma * (1 - 1e-14)) ** 2) > Fraction(rho)


@given(sigma=FIGURES, square=STEPS)
@settings(derandomize=True, deadline=None)
def test_events_never_say_too_little(sigma: float, square: int) -> None:
    event = gaussian_event(sigma=sigma, l2_squared=square)
    assert isinstance(event, ZeroConcentrated)
    truth = Fraction(square) / (2 * Fraction(sigma) ** 2)
    assert truth <= Fraction(event.rho) <= truth * (1 + Fraction(1, 10**15))
    pure = laplace_event(scale=sigma, linf=square, numbers=2, l1=square)
    assert isinstance(pure, PureDp)
    assert Fraction(square) / Fraction(sigma) <= Fraction(pure.epsilon)


def test_figures_out_of_range_are_refused() -> None:
    for scale, linf, numbers, l1 in ((0.0, 1, 1, None), (1.0, 0, 1, None), (1.0, 1, 0, None), (1.0, 3, 2, 2)):
        with pytest.raises(ValueError, match=r"scale|linf|numbers|l1"):
            laplace_event(scale=scale, linf=linf, numbers=numbers, l1=l1)
    with pytest.raises(ValueError, match="pure"):
        choice_event(epsilon=1.0, as_="approximate")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="range"):
        scale_for(epsilon=1e-300, l1=10**300)
    with pytest.raises(ValueError, match="groups"):
        geometric_partition_event(epsilon=1.0, delta=0.1, groups=0)
