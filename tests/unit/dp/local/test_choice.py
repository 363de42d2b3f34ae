"""The choice of a mechanism: against the published crossover, and against every candidate's variance."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.local import (
    HadamardResponse,
    NumericResponse,
    RandomisedResponse,
    UnaryEncoding,
    candidates,
    choose,
    choose_numeric,
)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 3.0])
def test_randomised_response_is_best_up_to_the_published_crossover(epsilon: float) -> None:
    # Wang et al. 2017, section 5.1: d < 3 e^epsilon + 2, for values that are rare. On average over all values one
    # counts as frequent, which moves the border a little.
    border = 3 * math.exp(epsilon) + 2
    assert isinstance(
        choose(size=max(2, int(border * 0.8)), epsilon=epsilon, people=1000).mechanism, RandomisedResponse
    )
    assert not isinstance(choose(size=int(border * 1.4), epsilon=epsilon, people=1000).mechanism, RandomisedResponse)


@pytest.mark.parametrize(("size", "epsilon"), [(100, 1.0), (1000, 2.0)])
def test_variances_are_the_published_ones(size: int, epsilon: float) -> None:
    # Wang et al. 2017, table 1, for a value that nobody has: per person, approximate in the paper, exact up to 2**-60.
    e = math.exp(epsilon)
    nobody = [0.0] * (size - 1) + [1.0]
    expected = {
        RandomisedResponse(size=size, epsilon=epsilon): (size - 2 + e) / (e - 1) ** 2,
        UnaryEncoding(size=size, epsilon=epsilon): 4 * e / (e - 1) ** 2,
        UnaryEncoding(size=size, epsilon=epsilon, flips="symmetric"): math.exp(epsilon / 2)
        / (math.exp(epsilon / 2) - 1) ** 2,
    }
    for mechanism, variance in expected.items():
        assert mechanism.variance(nobody)[0] == pytest.approx(variance, rel=1e-9)


def test_hadamard_response_with_one_block_has_the_published_variance() -> None:
    # Acharya, Sun and Zhang 2019, section 4: ((e + 1) / (e - 1))^2 per person for a value that nobody has.
    mechanism = HadamardResponse(size=100, epsilon=0.5)
    assert (mechanism.blocks, mechanism.width) == (1, 128)
    e = math.exp(0.5)
    assert mechanism.variance([0.0] * 99 + [1.0])[0] == pytest.approx(((e + 1) / (e - 1)) ** 2, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5000), st.floats(0.05, 10.0))
def test_the_choice_has_the_least_variance_or_is_shorter_and_as_good(size: int, epsilon: float) -> None:
    choice = choose(size=size, epsilon=epsilon, people=10_000)
    found = candidates(size=size, epsilon=epsilon, people=10_000)
    assert choice.candidates == found
    assert [one.rmse for one in found] == sorted(one.rmse for one in found)
    chosen = next(one for one in found if one.mechanism == choice.mechanism)
    assert chosen.rmse**2 <= 1.01 * found[0].rmse ** 2
    assert chosen.name in choice.reason
    assert str(choice) == choice.reason
    # Errors of counts grow with the root of the persons: the choice is the same for every number of them.
    assert choose(size=size, epsilon=epsilon, people=7).mechanism == choice.mechanism


def test_unary_encoding_is_left_out_where_reports_would_be_too_long() -> None:
    found = candidates(size=2**21, epsilon=1.0, people=1000)
    assert {type(one.mechanism) for one in found} == {RandomisedResponse, HadamardResponse}


@pytest.mark.parametrize("arguments", [{"size": 1}, {"epsilon": 0.0}, {"people": 0}])
def test_bad_figures_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        choose(**{"size": 5, "epsilon": 1.0, "people": 10, **arguments})


@pytest.mark.parametrize("epsilon", [0.3, 0.6, 0.7, 1.0, 1.29, 2.0, 5.0])
def test_worst_variances_of_means_are_the_published_ones(epsilon: float) -> None:
    # Wang et al. 2019: equations 4 (Duchi), lemma 1 (piecewise) and corollary 1 (hybrid), on [-1, 1].
    e, half = math.exp(epsilon), math.exp(epsilon / 2)
    duchi = ((e + 1) / (e - 1)) ** 2
    piecewise = 4 * half / (3 * (half - 1) ** 2)
    hybrid = duchi
    if epsilon > 0.61:
        hybrid = (half + 3) / (3 * half * (half - 1)) + (e + 1) ** 2 / (half * (e - 1) ** 2)
    made = {
        method: NumericResponse(lower=-1.0, upper=1.0, epsilon=epsilon, method=method).worst_variance
        for method in ("duchi", "piecewise", "hybrid")
    }
    assert made == pytest.approx({"duchi": duchi, "piecewise": piecewise, "hybrid": hybrid}, rel=2e-3)
    chosen = choose_numeric(lower=-3.0, upper=5.0, epsilon=epsilon)
    assert chosen.method == ("duchi" if epsilon < 0.61 else "hybrid")
    assert chosen.worst_variance == pytest.approx(min(made.values()) * 16, rel=1e-9)
