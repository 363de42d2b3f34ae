"""Composition of all kinds: against exact enumeration, against dp-accounting, and against closed forms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.accounting import (
    ApproximateDp,
    DiscreteLaplace,
    DpEvent,
    PoissonGaussian,
    PureDp,
    ZeroConcentrated,
    calibrate,
    compose,
    compose_delta,
)
from wardline.dp.accounting.curves import losses_of, zero_concentrated_delta
from wardline.dp.accounting.grid import compose_losses, connect_dots, delta_at
from wardline.dp.accounting.pld import compose_coarsely
from wardline.dp.accounting.renyi import conversion


def _exact(atoms: Sequence[tuple[np.ndarray, np.ndarray]], epsilon: float) -> float:
    """Delta of a product of pairs of distributions over few outcomes, by listing all outcomes."""
    first, second = np.ones(1), np.ones(1)
    for p, q in atoms:
        first, second = np.outer(first, p).ravel(), np.outer(second, q).ravel()
    return float(np.maximum(first - math.exp(epsilon) * second, 0).sum())


def _response(epsilon: float, delta: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    rest = (1 - delta) * np.array([p, 1 - p])
    return np.array([delta, *rest, 0.0]), np.array([0.0, *rest[::-1], delta])


def _laplace(scale: float, sensitivity: int, reach: int = 60) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(-reach, reach + sensitivity + 1)
    norm = math.tanh(1 / (2 * scale))
    p, q = (norm * np.exp(-np.abs(x - shift) / scale) for shift in (0, sensitivity))
    return p, q


@pytest.mark.parametrize("delta", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(
    ("events", "atoms"),
    [
        ([PureDp(epsilon=0.7, steps=3)], [_response(0.7)] * 3),
        ([PureDp(epsilon=0.7), PureDp(epsilon=0.31), PureDp(epsilon=1.13)], [_response(e) for e in (0.7, 0.31, 1.13)]),
        (
            [ApproximateDp(epsilon=0.5, delta=1e-7, steps=4), PureDp(epsilon=0.9)],
            [*[_response(0.5, 1e-7)] * 4, _response(0.9)],
        ),
        ([DiscreteLaplace(scale=1.5), PureDp(epsilon=0.4)], [_laplace(1.5, 1), _response(0.4)]),
        ([DiscreteLaplace(scale=2.5, sensitivity=4, steps=2)], [_laplace(2.5, 4)] * 2),
        (
            [DiscreteLaplace(scale=2.0, sensitivity=3), DiscreteLaplace(scale=1.2), PureDp(epsilon=0.3, steps=2)],
            [_laplace(2.0, 3), _laplace(1.2, 1), _response(0.3), _response(0.3)],
        ),
    ],
)
def test_never_below_the_exact_composition_and_tight(
    events: list[DpEvent], atoms: list[tuple[np.ndarray, np.ndarray]], delta: float
) -> None:
    epsilon = compose(events, delta=delta)
    lost = sum(max(0.0, 1 - p.sum()) for p, _ in atoms)  # what the cut tails of Laplace noise hold
    assert lost < 1e-9
    assert _exact(atoms, epsilon) <= delta * (1 + 1e-9)
    if epsilon > 0:
        assert _exact(atoms, 0.999 * epsilon) > 0.999 * delta, "and it is tight"
    at = max(epsilon, 0.1)
    assert _exact(atoms, at) * (1 - 1e-9) <= compose_delta(events, epsilon=at) <= _exact(atoms, 0.999 * at) + 1e-9


def test_one_step_laplace_noise_is_randomised_response_and_a_wider_one_costs_less() -> None:
    pure, narrow = (
        compose([PureDp(epsilon=0.1)] * 20, delta=1e-6),
        compose([DiscreteLaplace(scale=10)] * 20, delta=1e-6),
    )
    assert narrow == pytest.approx(pure, rel=1e-6)
    wide = compose([DiscreteLaplace(scale=1000, sensitivity=100)] * 20, delta=1e-6)
    assert 0.9 * pure < wide < 0.995 * pure


@pytest.mark.crosscheck
@pytest.mark.parametrize("delta", [1e-5, 1e-8])
def test_equal_to_dp_accounting(delta: float) -> None:
    from dp_accounting.pld import common, privacy_loss_distribution

    h, pld = 1e-4, privacy_loss_distribution

    def response(epsilon: float, slack: float) -> object:
        parameters = common.DifferentialPrivacyParameters(epsilon, slack)
        return pld.from_privacy_parameters(parameters, value_discretization_interval=h)

    pairs = [
        (PureDp(epsilon=0.11), response(0.11, 0.0), 20),
        (ApproximateDp(epsilon=0.07, delta=1e-10), response(0.07, 1e-10), 12),
        (DiscreteLaplace(scale=25), pld.from_discrete_laplace_mechanism(1 / 25, value_discretization_interval=h), 15),
        (
            PoissonGaussian(sample_rate=0.03, noise_multiplier=1.4),
            pld.from_gaussian_mechanism(1.4, sampling_prob=0.03, value_discretization_interval=h),
            80,
        ),
        (
            PoissonGaussian(sample_rate=1, noise_multiplier=9.0),
            pld.from_gaussian_mechanism(9.0, value_discretization_interval=h),
            3,
        ),
    ]
    total = None
    for event, theirs, steps in pairs:
        repeated = theirs.self_compose(steps)
        ours = compose([dataclasses.replace(event, steps=steps)], delta=delta)
        assert ours == pytest.approx(repeated.get_epsilon_for_delta(delta), rel=1e-3)
        total = repeated if total is None else total.compose(repeated)
    events = [dataclasses.replace(event, steps=steps) for event, _, steps in pairs]
    assert compose(events, delta=delta) == pytest.approx(total.get_epsilon_for_delta(delta), rel=5e-4)


@pytest.mark.crosscheck
def test_many_different_releases_cost_no_more_than_dp_accounting_says() -> None:
    """What `compose` does to be quick (short sums first, one transform for all) costs next to no tightness."""
    from dp_accounting.pld import common, privacy_loss_distribution

    pld = privacy_loss_distribution
    rng = np.random.default_rng(5)
    events: list[DpEvent] = []
    total = None
    for index in range(24):
        size = float(rng.uniform(0.02, 0.2))
        if index % 2:
            events.append(PureDp(epsilon=size))
            parameters = common.DifferentialPrivacyParameters(size, 0.0)
            theirs = pld.from_privacy_parameters(parameters, value_discretization_interval=1e-4)
        else:
            events.append(PoissonGaussian(sample_rate=size, noise_multiplier=2.0 + size))
            theirs = pld.from_gaussian_mechanism(2.0 + size, sampling_prob=size, value_discretization_interval=1e-4)
        total = theirs if total is None else total.compose(theirs)
    assert compose(events, delta=1e-6) == pytest.approx(total.get_epsilon_for_delta(1e-6), rel=1e-3)


# Zero-concentrated differential privacy


def _best_conversion(rho: float, delta: float) -> float:
    orders = 1 + np.exp(np.linspace(-6, 14, 200_001))
    return min(order * rho + conversion(float(order), delta) for order in orders[::50])


@pytest.mark.parametrize("rho", [1e-4, 0.01, 0.2, 3.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_zero_concentrated_mechanisms_are_added_up_and_converted_once(rho: float, delta: float) -> None:
    quarters = [ZeroConcentrated(rho=rho / 4)] * 2 + [ZeroConcentrated(rho=rho / 8, steps=4)]
    assert compose(quarters, delta=delta) == compose([ZeroConcentrated(rho=rho)], delta=delta)
    best = _best_conversion(rho, delta)
    assert compose(quarters, delta=delta) == pytest.approx(best, rel=2e-3)
    assert compose(quarters, delta=delta) >= compose([_gaussian(rho)], delta=delta)


def _gaussian(rho: float) -> PoissonGaussian:
    return PoissonGaussian(sample_rate=1, noise_multiplier=math.sqrt(1 / (2 * rho)))


@pytest.mark.parametrize("rho", [1e-3, 0.05, 0.5, 4.0])
def test_the_pair_dominates_mechanisms_that_are_zero_concentrated(rho: float) -> None:
    """Gaussian noise, discrete Gaussian noise and a randomised response with this rho, at epsilons of both signs."""
    interval = 0.003
    pair, _ = losses_of(ZeroConcentrated(rho=rho), interval=interval, tail=1e-15)
    gaussian, _ = losses_of(_gaussian(rho), interval=interval / 3, tail=1e-15)
    response, _ = losses_of(PureDp(epsilon=math.sqrt(2 * rho)), interval=interval / 3, tail=1e-15)
    x = np.arange(-2000, 2001)
    sigma = max(1.0, math.sqrt(1 / (2 * rho)))
    noise = np.exp(-((x - 0.0) ** 2) / (2 * sigma**2))
    moved = np.exp(-((x - sigma * math.sqrt(2 * rho)) ** 2) / (2 * sigma**2))
    whole = round(sigma * math.sqrt(2 * rho))
    for epsilon in np.linspace(-3, 3, 61):
        bound = delta_at(pair, float(epsilon), interval=interval)
        assert delta_at(gaussian, float(epsilon), interval=interval / 3) <= bound + 1e-10
        assert delta_at(response, float(epsilon), interval=interval / 3) <= bound + 1e-10
        if abs(sigma * math.sqrt(2 * rho) - whole) < 1e-9:
            p, q = noise / noise.sum(), moved / moved.sum()
            assert np.maximum(p - math.exp(epsilon) * q, 0).sum() <= bound + 1e-10
    assert delta_at(pair, 0.0, interval=interval) < 1 or rho > 3


def test_the_curve_is_the_best_over_all_orders() -> None:
    epsilons = np.array([0.0, 0.3, 1.0, 2.5])
    found = zero_concentrated_delta(0.05, epsilons)
    above = np.exp(np.linspace(-8, 4.5, 100_001))
    order = 1 + above
    for epsilon, delta in zip(epsilons, found, strict=True):
        listed = np.exp(above * (order * 0.05 - epsilon)) / above * (1 - 1 / order) ** order
        assert delta <= listed.min() * (1 + 1e-9)
        if epsilon > 0.5:
            assert delta == pytest.approx(listed.min(), rel=1e-6)


def test_mixed_with_others_the_pair_is_an_upper_bound() -> None:
    others = [PureDp(epsilon=0.2, steps=5), PoissonGaussian(sample_rate=0.05, noise_multiplier=1.1, steps=30)]
    truth = compose([_gaussian(0.03), *others], delta=1e-6)
    bound = compose([ZeroConcentrated(rho=0.01, steps=3), *others], delta=1e-6)
    apart = compose(others, delta=5e-7) + compose([ZeroConcentrated(rho=0.03)], delta=5e-7)
    assert truth < bound < 1.1 * truth
    assert bound < 0.8 * apart


def test_points_that_are_not_convex_are_raised_not_lowered() -> None:
    deltas = np.array([0.9, 0.6, 0.59, 0.2, 0.19, 0.0])
    losses = connect_dots(-2, deltas, interval=0.5)
    for index, delta in enumerate(deltas):
        assert delta_at(losses, (index - 2) * 0.5, interval=0.5) >= delta - 1e-12


# What does not depend on anything, and what does


MIXED: list[DpEvent] = [
    PureDp(epsilon=0.2),
    DiscreteLaplace(scale=20, sensitivity=3),
    ApproximateDp(epsilon=0.1, delta=1e-8),
    ZeroConcentrated(rho=0.01),
    PoissonGaussian(sample_rate=0.02, noise_multiplier=1.0, steps=50),
    PoissonGaussian(sample_rate=1, noise_multiplier=8.0),
]


def test_the_order_of_releases_cannot_change_a_digit() -> None:
    told = {compose(list(order), delta=1e-6) for order in list(permutations(MIXED))[::90]}
    assert len(told) == 1


def test_every_further_release_costs() -> None:
    costs = [compose(MIXED[:count], delta=1e-6) for count in range(len(MIXED) + 1)]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
    assert compose_coarsely(MIXED, delta=1e-6) >= costs[-1] * (1 - 1e-3)


def test_deltas_that_leave_nothing_give_no_finite_epsilon() -> None:
    assert compose([ApproximateDp(epsilon=0.1, delta=1e-6, steps=2)], delta=1e-6) == math.inf
    assert compose([ApproximateDp(epsilon=0, delta=1e-7)], delta=1e-6) == 0
    assert compose_delta([ApproximateDp(epsilon=0, delta=1e-7, steps=3)], epsilon=1.0) == pytest.approx(3e-7, rel=1e-3)
    assert compose_delta([], epsilon=1.0) == 0


def test_extremes_are_answered() -> None:
    assert compose([PureDp(epsilon=3000.0, steps=5)], delta=1e-6) == 15_000
    assert compose([PureDp(epsilon=1e-9)], delta=1e-6) == 0
    assert compose([ZeroConcentrated(rho=1e6)], delta=1e-6) > 1e6
    assert compose([DiscreteLaplace(scale=1e12, sensitivity=10**9)], delta=1e-6) == pytest.approx(0.001, rel=0.01)
    assert compose([PureDp(epsilon=1e-4, steps=10**6)], delta=1e-6) == pytest.approx(
        compose([_gaussian(0.5e-8 * 10**6)], delta=1e-6), rel=0.01
    ), "a million tiny steps look like Gaussian noise"


@given(st.lists(st.sampled_from(MIXED), min_size=2, max_size=6), st.sampled_from([1e-4, 1e-7]))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_together_is_less_than_one_by_one_and_more_than_each(events: list[DpEvent], delta: float) -> None:
    together = compose(events, delta=delta)
    shares = sum(compose([event], delta=delta / len(events)) for event in events)
    assert together <= shares * (1 + 1e-3)
    assert together >= max(compose([event], delta=delta) for event in events) * (1 - 1e-3)


def test_no_probability_is_lost() -> None:
    for event in MIXED:
        for losses in losses_of(event, interval=0.01, tail=1e-14):
            assert losses.probs.sum() + losses.infinity == pytest.approx(1, abs=1e-9)
        pair = losses_of(event, interval=0.01, tail=1e-14)
        for total in compose_losses([(pair, 7)], interval=0.01, tail=1e-14):
            assert total.probs.sum() + total.infinity == pytest.approx(1, abs=1e-9)


# Calibration


@pytest.mark.parametrize(
    "make",
    [
        lambda scale: [DiscreteLaplace(scale=scale)] * 3,
        lambda scale: [ZeroConcentrated(rho=1 / (2 * scale**2)), ApproximateDp(epsilon=0.1, delta=1e-8)],
        lambda scale: [
            PoissonGaussian(sample_rate=0.02, noise_multiplier=max(scale, 0.05), steps=100),
            PureDp(epsilon=0.1),
        ],
    ],
    ids=["laplace", "zcdp", "training"],
)
@pytest.mark.parametrize("epsilon", [0.3, 2.0])
def test_a_calibrated_plan_spends_what_was_allowed_and_hardly_less(make: object, epsilon: float) -> None:
    scale = calibrate(make, epsilon=epsilon, delta=1e-6)  # type: ignore[arg-type]
    assert 0.995 * epsilon <= compose(make(scale), delta=1e-6) <= epsilon  # type: ignore[operator]
    assert float(f"{scale:.6g}") == scale


def test_a_plan_that_no_noise_makes_cheap_enough_is_refused() -> None:
    with pytest.raises(ValueError, match="no scale up to"):
        calibrate(lambda scale: [PureDp(epsilon=1 / scale), PureDp(epsilon=2)], epsilon=1.5, delta=1e-6)
    with pytest.raises(ValueError, match="hardly any noise"):
        calibrate(lambda scale: [ApproximateDp(epsilon=0, delta=1e-9)], epsilon=1, delta=1e-6)
