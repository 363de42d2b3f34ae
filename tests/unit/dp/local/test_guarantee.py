"""The stated epsilon holds exactly: all output probabilities as fractions, worked out here from the whole numbers.

Nothing below uses a mechanism's own `ratio`, except to check it. The ratio of the probabilities of every output given
every pair of inputs is compared with a fraction that is proved to lie below e**epsilon.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.local import (
    HadamardResponse,
    NumericResponse,
    NumericVectorResponse,
    RandomisedResponse,
    Rappor,
    UnaryEncoding,
)
from wardline.dp.local._chance import MOST_EPSILON, ONE, exp_below
from wardline.dp.local._scores import POINTS, STEPS, Mixture, TwoPoints, Window

EPSILONS = st.one_of(st.floats(2.0**-20, 64.0), st.sampled_from([2.0**-20, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 64.0]))
Table = list[list[Fraction]]  # a row for each input, an entry for each output


def worst(table: Table) -> Fraction:
    assert all(sum(row) == 1 for row in table), "these are probabilities"
    if min(map(min, table)) <= 0:
        return Fraction(10**100)  # an output that only some inputs lead to gives them away
    return max(max(column) / min(column) for column in zip(*table, strict=True))


def is_private(table: Table, epsilon: float) -> bool:
    return worst(table) <= exp_below(epsilon)


def is_tight(table: Table, epsilon: float) -> bool:
    """Whether nothing worth mentioning was given away by rounding."""
    return worst(table) >= exp_below(epsilon) * (1 - Fraction(1, 10**6))


def responses(size: int, truth: int) -> Table:
    outright = Fraction(truth, ONE)
    return [[(1 - outright) / size + (outright if x == y else 0) for y in range(size)] for x in range(size)]


@given(st.integers(2, 6), EPSILONS)
def test_randomised_response(size: int, epsilon: float) -> None:
    mechanism = RandomisedResponse(size=size, epsilon=epsilon)
    table = responses(size, mechanism.truth)
    assert is_private(table, epsilon)
    assert worst(table) == mechanism.ratio
    # One step more would break the promise: the rounding is exact, and this test sees a difference of 2**-64.
    assert not is_private(responses(size, mechanism.truth + 1), epsilon)


def bits(size: int, own: Fraction, other: Fraction) -> Table:
    def chance(row: tuple[int, ...], value: int) -> Fraction:
        found = Fraction(1)
        for place, bit in enumerate(row):
            one = own if place == value else other
            found *= one if bit else 1 - one
        return found

    return [[chance(row, value) for row in itertools.product((0, 1), repeat=size)] for value in range(size)]


@given(st.integers(2, 4), EPSILONS, st.sampled_from(["optimised", "symmetric"]))
def test_unary_encoding(size: int, epsilon: float, flips: str) -> None:
    mechanism = UnaryEncoding(size=size, epsilon=epsilon, flips=flips)  # type: ignore[arg-type]
    own, other = Fraction(mechanism.own, ONE), Fraction(mechanism.other, ONE)
    table = bits(size, own, other)
    assert is_private(table, epsilon)
    assert worst(table) == mechanism.ratio
    assert epsilon > 30 or is_tight(table, epsilon)
    assert not is_private(bits(size, own, other - Fraction(2, ONE)), epsilon)


def hadamard(mechanism: HadamardResponse, truth: int) -> Table:
    matrix = np.array([[1]])
    while len(matrix) < mechanism.width:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    outright = Fraction(truth, ONE)
    table = []
    for value in range(mechanism.size):
        block, row = value % mechanism.blocks, value // mechanism.blocks + 1
        own = {block * mechanism.width + int(column) for column in np.flatnonzero(matrix[row] == 1)}
        beside = (1 - outright) / mechanism.symbols
        table.append([beside + (outright / len(own) if y in own else 0) for y in range(mechanism.symbols)])
    return table


@settings(deadline=None)
@given(st.integers(2, 9), EPSILONS)
def test_hadamard_response(size: int, epsilon: float) -> None:
    mechanism = HadamardResponse(size=size, epsilon=epsilon)
    table = hadamard(mechanism, mechanism.truth)
    assert is_private(table, epsilon)
    assert worst(table) == mechanism.ratio
    assert not is_private(hadamard(mechanism, mechanism.truth + 1), epsilon)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 3), EPSILONS, st.floats(0.05, 0.999))
def test_rappor_for_all_reports_and_for_one(size: int, epsilon: float, part: float) -> None:
    single = max(2.0**-20, epsilon * part)
    if single >= epsilon:
        return
    mechanism = Rappor(size=size, epsilon=epsilon, report_epsilon=single)
    flip, again = Fraction(mechanism.permanent, ONE), Fraction(mechanism.instant, ONE)
    kept = bits(size, 1 - flip, flip)
    assert is_private(kept, epsilon)
    assert worst(kept) == mechanism.ratio
    rows = list(itertools.product((0, 1), repeat=size))

    def copied(row: tuple[int, ...], report: tuple[int, ...]) -> Fraction:
        found = Fraction(1)
        for one, other in zip(row, report, strict=True):
            found *= again if one != other else 1 - again
        return found

    once = [
        [sum((kept[value][i] * copied(row, report) for i, row in enumerate(rows)), Fraction(0)) for report in rows]
        for value in range(size)
    ]
    assert is_private(once, single)
    assert worst(once) == mechanism.report_ratio
    # Two reports of one permanent row tell more than one, and less than the row itself.
    twice = [
        [
            sum((kept[value][i] * copied(row, one) * copied(row, two) for i, row in enumerate(rows)), Fraction(0))
            for one in rows
            for two in rows
        ]
        for value in range(size)
    ]
    assert worst(once) <= worst(twice) <= worst(kept)


def two_points(core: TwoPoints, slope: int) -> Table:
    uppers = [Fraction(ONE // 2 + step * slope, ONE) for step in (-STEPS, -STEPS // 3, 0, 1, STEPS)]
    return [[1 - upper, upper] for upper in uppers]


@given(EPSILONS)
def test_two_points(epsilon: float) -> None:
    core = TwoPoints(epsilon)
    table = two_points(core, core.slope)
    assert is_private(table, epsilon)
    assert worst(table) == core.ratio
    assert not is_private(two_points(core, core.slope + 1), epsilon) or epsilon > 30
    # The mean of the score is the number on the grid, exactly up to the two roundings of a double.
    low, high = core.scores
    for step, (below, above) in zip((-STEPS, -STEPS // 3, 0, 1, STEPS), table, strict=True):
        assert float(below) * low + float(above) * high == pytest.approx(step / STEPS, abs=1e-9 * high)


@pytest.mark.parametrize("epsilon", [2.0**-20, 0.5, 1.0, 4.0, 12.0, 30.0, MOST_EPSILON])
def test_window(epsilon: float) -> None:
    core = Window(epsilon)

    def probabilities(near: int) -> tuple[Fraction, Fraction]:
        """Of a symbol inside the window and of one outside; wherever the window starts, these are all there are."""
        beside = (1 - Fraction(near, ONE)) / POINTS
        return beside + Fraction(near, ONE) / core.width, beside

    inside, outside = probabilities(core.near)
    assert core.width * inside + (POINTS - core.width) * outside == 1
    assert inside / outside == core.ratio <= exp_below(epsilon)
    inside, outside = probabilities(core.near + 1)
    assert outside <= 0 or inside / outside > exp_below(epsilon)
    half = (POINTS - core.width) / 2
    inside, outside = map(float, probabilities(core.near))
    for start in (0, 17, POINTS - core.width):
        row = np.full(POINTS, outside)
        row[start : start + core.width] = inside
        mean = float(np.dot(row, core.scores))
        assert mean == pytest.approx((start - half) / half, abs=1e-9 * float(core.scores[-1]))


@given(EPSILONS)
def test_a_mixture_is_as_private_as_its_worse_half(epsilon: float) -> None:
    core = Mixture(epsilon)
    assert core.ratio <= exp_below(epsilon)
    assert 0 <= core.share <= ONE
    worst_of = [
        float(np.max(one.second_moment(np.array([0.0, 1.0])) - [0.0, 1.0])) for one in (core, core.window, core.points)
    ]
    assert worst_of[0] <= min(worst_of[1:]) * (1 + 1e-12), "never worse than its parts"


@given(EPSILONS, st.integers(1, 40))
def test_a_vector_splits_epsilon_over_what_it_reports(epsilon: float, count: int) -> None:
    mechanism = NumericVectorResponse(lower=(0.0,) * count, upper=(1.0,) * count, epsilon=epsilon, method="duchi")
    assert mechanism.ratio == mechanism.single.ratio**mechanism.sampled
    assert mechanism.ratio <= exp_below(epsilon)
    assert 1 <= mechanism.sampled <= count


@given(EPSILONS)
def test_the_claim_states_what_was_asked_for_and_what_it_comes_to(epsilon: float) -> None:
    for mechanism in (
        RandomisedResponse(size=5, epsilon=epsilon),
        UnaryEncoding(size=5, epsilon=epsilon),
        HadamardResponse(size=5, epsilon=epsilon),
        NumericResponse(lower=0.0, upper=1.0, epsilon=epsilon, method="duchi"),
    ):
        claim = mechanism.claim()
        assert claim.value == epsilon
        assert 0 < claim.parameters["exact_epsilon"] <= epsilon
        assert claim.direction == "at_most"
        assert "server" in claim.adversary
        assert mechanism.event.epsilon == epsilon
        assert type(claim).from_json(claim.to_json()) == claim
