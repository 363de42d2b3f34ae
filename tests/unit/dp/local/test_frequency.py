"""Estimates and post-processing: algebra that needs no luck."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import SecureRandom
from wardline.dp.local import (
    HadamardResponse,
    NumericResponse,
    NumericVectorResponse,
    RandomisedResponse,
    Rappor,
    Tally,
    UnaryEncoding,
    consistent,
    simulate,
)

FREQUENCY = [
    RandomisedResponse(size=7, epsilon=1.0),
    UnaryEncoding(size=7, epsilon=1.0),
    UnaryEncoding(size=70, epsilon=1.0, flips="symmetric"),
    HadamardResponse(size=7, epsilon=3.0),
    Rappor(size=65, epsilon=2.0, report_epsilon=1.0),
]
NAMES = ["randomised", "optimised", "symmetric", "hadamard", "rappor"]
ROWS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(ROWS, st.floats(0.1, 1e6), st.integers(0, 2**32))
def test_consistent_counts_are_the_nearest_that_add_up(counts: list[float], total: float, seed: int) -> None:
    found = consistent(counts, total=total)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(total, rel=1e-6, abs=1e-6 * max(map(abs, counts)))
    # The nearest point of a convex set: no other point of it lies at an acute angle.
    other = np.random.default_rng(seed).dirichlet(np.full(len(counts), 0.3)) * total
    scale = (np.abs(counts).max() + total) ** 2 * len(counts)
    assert float((np.array(counts) - found) @ (other - found)) <= 1e-9 * scale


def test_consistent_keeps_what_is_consistent() -> None:
    assert consistent([3.0, 0.0, 7.0], total=10.0) == pytest.approx([3, 0, 7])
    assert consistent([-5.0, 2.0, 8.0], total=6.0) == pytest.approx([0, 0, 6])


@pytest.mark.parametrize(
    ("counts", "total"), [([], 1.0), ([1.0, float("nan")], 1.0), ([1.0], 0.0), ([1.0], float("inf")), ([[1.0]], 1.0)]
)
def test_consistent_refuses(counts: list[float], total: float) -> None:
    with pytest.raises(ValueError):
        consistent(counts, total=total)


@pytest.mark.parametrize("mechanism", FREQUENCY, ids=NAMES)
def test_tallies_of_pieces_add_up_to_the_tally_of_the_whole(mechanism) -> None:
    reports = mechanism.randomise(np.arange(500) % mechanism.size, random=SecureRandom())
    whole = mechanism.tally(reports)
    parts = mechanism.tally(reports[:123]) + mechanism.tally(reports[123:]) + mechanism.tally(reports[:0])
    assert parts.reports == whole.reports == 500
    assert (parts.counts == whole.counts).all()
    with pytest.raises(ValueError, match="different"):
        whole + Tally(scheme="another", reports=1, counts=whole.counts)
    with pytest.raises(ValueError, match="another mechanism"):
        mechanism.estimate(Tally(scheme="another", reports=1, counts=whole.counts))
    with pytest.raises(ValueError, match="no report"):
        mechanism.estimate(mechanism.tally(reports[:0]))


@pytest.mark.parametrize("mechanism", FREQUENCY, ids=NAMES)
def test_the_mean_variance_is_that_of_evenly_spread_persons(mechanism) -> None:
    even = np.full(mechanism.size, 30.0)
    expected = mechanism.variance(even).mean()
    assert mechanism.mean_variance(30 * mechanism.size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mechanism", FREQUENCY, ids=NAMES)
def test_bad_values_are_refused_and_not_quoted(mechanism) -> None:
    random = SecureRandom()
    for values in ([mechanism.size], [-1], [2**40]):
        with pytest.raises(ValueError, match="outside of the domain") as told:
            mechanism.randomise(values, random=random)
        assert str(values[0]) not in str(told.value)
    for values in ([0.5], ["a"], [[0]], [True]):
        with pytest.raises(TypeError):
            mechanism.randomise(values, random=random)
    with pytest.raises(TypeError, match="SecureRandom"):
        mechanism.randomise([0], random=np.random.default_rng(0))
    assert len(mechanism.randomise([], random=random)) == 0


BAD = [
    (RandomisedResponse, {"size": 1, "epsilon": 1.0}),
    (RandomisedResponse, {"size": 2**24 + 1, "epsilon": 1.0}),
    (UnaryEncoding, {"size": 2**20 + 1, "epsilon": 1.0}),
    (UnaryEncoding, {"size": 5, "epsilon": 0.0}),
    (UnaryEncoding, {"size": 5, "epsilon": 1.0, "flips": "upside-down"}),
    (HadamardResponse, {"size": 5, "epsilon": float("nan")}),
    (Rappor, {"size": 5, "epsilon": 1.0, "report_epsilon": 1.0}),
    (Rappor, {"size": 5, "epsilon": 1.0, "report_epsilon": 0.5, "most_values": 0}),
    (NumericResponse, {"lower": 1.0, "upper": 1.0, "epsilon": 1.0}),
    (NumericResponse, {"lower": 0.0, "upper": float("inf"), "epsilon": 1.0}),
    (NumericResponse, {"lower": -1.7e308, "upper": 1.7e308, "epsilon": 1.0}),
    (NumericResponse, {"lower": 0.0, "upper": 1.0, "epsilon": 65.0}),
    (NumericResponse, {"lower": 0.0, "upper": 1.0, "epsilon": 1.0, "method": "laplace"}),
    (NumericVectorResponse, {"lower": (), "upper": (), "epsilon": 1.0}),
    (NumericVectorResponse, {"lower": (0.0,), "upper": (1.0, 2.0), "epsilon": 1.0}),
    (NumericVectorResponse, {"lower": (0.0,) * 257, "upper": (1.0,) * 257, "epsilon": 1.0}),
]


@pytest.mark.parametrize("index", range(len(BAD)))
def test_bad_parameters_are_refused(index: int) -> None:
    make, arguments = BAD[index]
    with pytest.raises(ValueError):
        make(**arguments)


@pytest.mark.parametrize("values", [[float("nan")], [float("inf")]])
def test_numbers_that_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        NumericResponse(lower=0.0, upper=1.0, epsilon=1.0).randomise(values, random=SecureRandom())
    with pytest.raises(ValueError, match="finite"):
        NumericVectorResponse(lower=(0.0,), upper=(1.0,), epsilon=1.0).randomise([values], random=SecureRandom())


def test_numbers_beyond_a_bound_count_as_the_bound() -> None:
    # At this epsilon hardly anything is randomised.
    mechanism = NumericResponse(lower=-10.0, upper=30.0, epsilon=60.0, method="duchi")
    reports = mechanism.randomise([-1e300, -10, 30, 1e300], random=SecureRandom())
    assert reports.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("mechanism", FREQUENCY, ids=NAMES)
def test_at_a_large_epsilon_estimates_are_the_counts(mechanism) -> None:
    import dataclasses

    more = {"report_epsilon": 63.0} if isinstance(mechanism, Rappor) else {}
    mechanism = dataclasses.replace(mechanism, epsilon=64.0, **more)
    values = np.repeat(np.arange(mechanism.size), np.arange(mechanism.size))
    estimate = mechanism.estimate(simulate(mechanism, values, random=SecureRandom()))
    if isinstance(mechanism, UnaryEncoding) and mechanism.flips == "optimised":
        # Its own bit is a fair coin whatever epsilon is, so n true supports vary by sqrt(n / 4), doubled: 7 deviations.
        assert np.abs(estimate.counts - np.arange(mechanism.size)).max() <= 7 * np.sqrt(mechanism.size)
    else:
        assert estimate.counts == pytest.approx(np.arange(mechanism.size), abs=1e-6)


def test_results_are_told_in_a_line_a_table_and_json() -> None:
    mechanism = RandomisedResponse(size=30, epsilon=1.0)
    estimate = mechanism.estimate(simulate(mechanism, np.zeros(1000, dtype=int), random=SecureRandom()))
    assert str(estimate).startswith("30 counts of 1,000 persons by randomised response, epsilon 1")
    assert estimate._repr_html_().count("<tr>") == 21
    assert "10 smaller ones" in estimate._repr_html_()
    assert len(estimate.to_json()["counts"]) == 30
    low, high = estimate.intervals(0.9)
    assert (low < estimate.counts).all()
    assert (estimate.counts < high).all()
    with pytest.raises(ValueError):
        estimate.intervals(1.0)
    numeric = NumericResponse(lower=0.0, upper=1.0, epsilon=1.0)
    mean = numeric.estimate(numeric.tally(numeric.randomise([0.5] * 50, random=SecureRandom())))
    assert "of 50 persons by hybrid" in str(mean)
    assert mean.std == pytest.approx(np.sqrt(numeric.worst_variance / 50)), "few reports are not trusted to tell"
