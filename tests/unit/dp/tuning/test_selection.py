"""The best of a random number of private runs: its cost against the exact loss, and what the naive version costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wardline.core import SecureRandom, Seeds
from wardline.dp.tuning import PrivateSelection, select_privately, selection_cost

ORDERS = np.concatenate([np.linspace(1.05, 3, 60), np.linspace(3.5, 60, 114), [80, 128, 256]])
REACH = 40


def _mechanism(value: int, epsilon: float) -> np.ndarray:
    """Probabilities of the outputs 0 .. 2 * REACH of a truncated geometric mechanism on a count; higher is better."""
    outputs = np.arange(2 * REACH + 1)
    weights = np.exp(-epsilon * np.abs(outputs - REACH - value))
    weights[0] /= 1 - math.exp(-epsilon)
    weights[-1] /= 1 - math.exp(-epsilon)
    return weights / weights.sum()


def _divergence(p: np.ndarray, q: np.ndarray, order: float) -> float:
    terms = order * np.log(p) + (1 - order) * np.log(q)
    most = terms.max()
    return float((most + np.log(np.exp(terms - most).sum())) / (order - 1))


def _curve(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.array([max(_divergence(p, q, a), _divergence(q, p, a), 0.0) for a in ORDERS])


def _best_of_poisson(p: np.ndarray, mean: float) -> np.ndarray:
    """Exact distribution of the best of Poisson(mean) runs; the last entry is that there was no run."""
    reached = np.exp(mean * (np.cumsum(p) - 1))
    nothing = math.exp(-mean)
    return np.append(np.diff(np.append(nothing, reached)), nothing)


def _exact_epsilon(p: np.ndarray, q: np.ndarray, delta: float) -> float:
    low, high = 0.0, 50.0
    for _ in range(80):
        middle = (low + high) / 2
        spent = max(np.maximum(p - math.exp(middle) * q, 0).sum(), np.maximum(q - math.exp(middle) * p, 0).sum())
        low, high = (middle, high) if spent > delta else (low, middle)
    return high


@pytest.mark.parametrize("mean_runs", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_the_cost_bounds_the_exact_loss(epsilon: float, mean_runs: float) -> None:
    p, q = _mechanism(0, epsilon), _mechanism(1, epsilon)
    delta = 1e-4
    cost = selection_cost(ORDERS, _curve(p, q), selection=PrivateSelection(mean_runs=mean_runs), delta=delta)
    exact = _exact_epsilon(_best_of_poisson(p, mean_runs), _best_of_poisson(q, mean_runs), delta)
    assert exact <= cost < 2 * exact
    # A choice is not free: the exact loss is above that of a single run.
    assert exact > 1.3 * _exact_epsilon(p, q, delta)


def test_many_runs_for_the_price_of_one_would_be_a_lie() -> None:
    epsilon, delta = 0.5, 1e-4
    p, q = _mechanism(0, epsilon), _mechanism(1, epsilon)
    naive = _exact_epsilon(*(np.diff(np.append(0, np.cumsum(one) ** 30)) for one in (p, q)), delta)
    assert _exact_epsilon(p, q, delta) <= epsilon
    assert naive > 10 * epsilon


def test_the_best_result_is_given_out_and_the_number_of_runs_is_poisson() -> None:
    random = SecureRandom()
    rng = Seeds(1).numpy("scores")
    selection = PrivateSelection(mean_runs=4.0)
    seen: list[float] = []

    def run() -> tuple[str, float]:
        seen.append(float(rng.normal()))
        return f"run {len(seen)}", seen[-1]

    for _ in range(50):
        seen.clear()
        best = select_privately(run, selection=selection, random=random)
        if seen:
            assert best.score == max(seen)
            assert best.result == f"run {int(np.argmax(seen)) + 1}"
        else:
            assert best.result is None
            assert best.score is None
    # Mean and variance of a Poisson number are both 4: 10,000 draws, six standard errors (false alarm about 1e-8).
    draws = np.array([selection.draw_runs(random) for _ in range(10_000)])
    assert abs(draws.mean() - 4) < 6 * 2 / 100
    assert abs(draws.var() - 4) < 6 * math.sqrt((4 + 2 * 16) / 10_000)
    # A fixed number of runs, or a geometric one (variance 20), would be noticed.
    assert 6 * math.sqrt((4 + 2 * 16) / 10_000) < 1 < 20 - 4


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="mean_runs"):
        PrivateSelection(mean_runs=0)
    with pytest.raises(ValueError, match="mean_runs"):
        PrivateSelection(mean_runs=1e9)
    with pytest.raises(TypeError, match="SecureRandom"):
        PrivateSelection(mean_runs=2).draw_runs(np.random.default_rng(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="score is a number"):
        select_privately(lambda: ("x", math.nan), selection=PrivateSelection(mean_runs=100), random=SecureRandom())
    fine = PrivateSelection(mean_runs=2)
    for orders, curve in (([], []), ([2.0], [1.0, 2.0]), ([1.0], [1.0]), ([3.0, 2.0], [1.0, 1.0]), ([2.0], [-1.0])):
        with pytest.raises(ValueError, match="orders"):
            selection_cost(orders, curve, selection=fine, delta=1e-5)
    assert selection_cost([2.0], [40.0], selection=fine, delta=1e-5) == math.inf
