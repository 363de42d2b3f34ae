from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from wardline.attacks.auditing.one_run import (
    Guesses,
    audit_p_value,
    best_lower_bound,
    canaries_needed,
    default_guesses,
    epsilon_lower_bound,
    guess,
    largest_bound,
)


def _guesses(canaries: int, made: int, correct: int) -> Guesses:
    return Guesses(canaries=canaries, made=made, correct=correct)


@pytest.mark.parametrize(
    ("canaries", "made", "correct", "delta", "published"),
    [(1000, 100, 75, 1e-4, 0.673), (100_000, 1510, 1439, 1e-5, 2.675)],
)
def test_published_bounds_are_reproduced(
    canaries: int, made: int, correct: int, delta: float, published: float
) -> None:
    """Steinke, Nasr, Jagielski 2023, appendix D (page 46) and section 7; the second is printed truncated."""
    bound = epsilon_lower_bound(_guesses(canaries, made, correct), delta=delta, confidence=0.95)
    assert bound == pytest.approx(published, abs=1e-3)


def _by_linear_programme(one: Guesses, epsilon: float, delta: float) -> float:
    """The theorem read literally: the worst distribution of F on 0..m with mean at most 2 m delta, W binomial."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    pmf = [math.comb(one.made, k) * q**k * (1 - q) ** (one.made - k) for k in range(one.made + 1)]
    reach = [math.fsum(pmf[max(0, one.correct - f) :]) for f in range(one.canaries + 1)]
    solution = linprog(
        c=[-value for value in reach],
        A_ub=[list(range(one.canaries + 1))],
        b_ub=[2 * one.canaries * delta],
        A_eq=[[1] * (one.canaries + 1)],
        b_eq=[1],
        bounds=(0, 1),
    )
    assert solution.success
    return -float(solution.fun)


@pytest.mark.parametrize("delta", [0.0, 1e-6, 1e-4, 1e-3])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("canaries", "made", "correct"), [(60, 40, 30), (40, 40, 40), (50, 10, 3), (30, 20, 0)])
def test_p_value_is_that_of_the_worst_distribution(
    canaries: int, made: int, correct: int, epsilon: float, delta: float
) -> None:
    one = _guesses(canaries, made, correct)
    expected = _by_linear_programme(one, epsilon, delta)
    # The closed form spends the whole mean on one value; the programme cannot do better than that, and where the
    # mean would be below its own use the closed form is larger, never smaller.
    found = audit_p_value(one, epsilon=epsilon, delta=delta)
    assert found >= expected - 1e-9
    assert found == pytest.approx(expected, abs=1e-7)


@given(made=st.integers(1, 60), spared=st.integers(0, 40), data=st.data())
def test_more_correct_guesses_never_prove_less(made: int, spared: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, made - 1))
    delta = data.draw(st.sampled_from([0.0, 1e-5, 1e-2]))
    less, more = (
        epsilon_lower_bound(_guesses(made + spared, made, right), delta=delta) for right in (correct, correct + 1)
    )
    assert more >= less - 1e-6


@given(made=st.integers(1, 80), delta=st.sampled_from([0.0, 1e-6, 1e-3]), data=st.data())
def test_everything_below_the_bound_is_rejected_and_the_bound_is_not(
    made: int, delta: float, data: st.DataObject
) -> None:
    one = _guesses(100, made, data.draw(st.integers(0, made)))
    bound = epsilon_lower_bound(one, delta=delta)
    for share in (0.1, 0.5, 0.99):
        assert bound == 0 or audit_p_value(one, epsilon=share * bound, delta=delta) < 0.05
    assert audit_p_value(one, epsilon=bound + 1e-6, delta=delta) >= 0.05 - 1e-6


def test_chance_proves_nothing() -> None:
    assert epsilon_lower_bound(_guesses(1000, 1000, 500), delta=1e-5) == 0.0


def test_the_best_of_several_pays_for_the_choice() -> None:
    several = [_guesses(1000, 500, 400), _guesses(1000, 250, 210), _guesses(1000, 124, 108)]
    bound, best = best_lower_bound(several, delta=1e-5, confidence=0.95)
    assert best in several
    assert bound < max(epsilon_lower_bound(one, delta=1e-5, confidence=0.95) for one in several)
    assert bound == epsilon_lower_bound(best, delta=1e-5, confidence=1 - 0.05 / 3)


def test_guesses_are_counted_right() -> None:
    scores = np.array([0.9, -2.0, 0.1, 3.0, 0.0, -1.0])
    coins = np.array([True, False, True, True, False, True])
    assert guess(scores, coins, made=2) == _guesses(6, 2, 2)  # 3.0 in, -2.0 out
    assert guess(scores, coins, made=4) == _guesses(6, 4, 3)  # and 0.9 in, but -1.0 was in too
    for made in (0, 3, 8):
        with pytest.raises(ValueError):
            guess(scores, coins, made=made)
    with pytest.raises(ValueError):
        guess(scores, coins[:5], made=2)


@given(canaries=st.integers(16, 5000))
def test_default_guesses_can_be_made(canaries: int) -> None:
    made = default_guesses(canaries)
    assert all(2 <= one <= canaries and one % 2 == 0 for one in made)
    assert list(made) == sorted(set(made), reverse=True)


def test_the_number_of_canaries_needed_is_enough_and_hardly_too_large() -> None:
    for epsilon in (1.0, 3.0, 5.0):
        needed = canaries_needed(epsilon, delta=1e-5)
        assert needed is not None
        assert largest_bound(needed, delta=1e-5) > epsilon
        assert needed == 16 or largest_bound(int(needed / 1.2), delta=1e-5) <= epsilon


def test_some_claims_cannot_be_contradicted_by_any_number() -> None:
    assert canaries_needed(9.0, delta=1e-3) is None


def test_nonsense_is_refused() -> None:
    for arguments in ((10, 5, 6), (10, 11, 3), (10, 0, 0), (10, 5, -1)):
        with pytest.raises(ValueError):
            _guesses(*arguments)
    for keywords in ({"epsilon": -1.0, "delta": 0.1}, {"epsilon": 1.0, "delta": 1.0}):
        with pytest.raises(ValueError):
            audit_p_value(_guesses(10, 5, 4), **keywords)
