"""Sensitivities of measures: no person, added to any table, moves them farther than they say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.queries import (
    Bound,
    Count,
    Histogram,
    Key,
    Mean,
    Persons,
    Quantiles,
    Query,
    Sum,
    Table,
    Variance,
    collect,
)
from wardline.dp.releases.answers import per_row
from wardline.dp.releases.layout import layout
from wardline.dp.releases.measures import Moments, Total
from wardline.dp.releases.plan import plan_release

AGGREGATES = (
    Count(),
    Persons(),
    Mean("x", lower=-3, upper=11),
    Variance("y", lower=0, upper=7),
    Sum("x", lower=1, upper=9, label="positive"),
    Sum("x", lower=-9, upper=-1, label="negative"),
    Sum("y", lower=-2, upper=5, label="either"),
    Quantiles("x", lower=0, upper=10, bins=20),
)

VALUES = st.one_of(st.none(), st.floats(-20, 20), st.sampled_from([float("nan"), float("inf"), -3.0, 11.0, 7.0, 0.0]))
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), VALUES, VALUES), min_size=1, max_size=25)
BOUNDS = st.sampled_from([Bound(rows=3), Bound(groups=2, rows_per_group=2), Bound(rows=3, groups=2, rows_per_group=2)])


def table(rows: list[tuple[int, int, float | None, float | None]]) -> pa.Table:
    names, kinds = ("who", "g", "x", "y"), (pa.int64(), pa.int64(), pa.float64(), pa.float64())
    columns = list(zip(*rows, strict=True)) or [()] * 4
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)})


def query(rows: list[tuple[int, int, float | None, float | None]], bound: Bound, *aggregates: object) -> Query:
    keys = (Key("g", [0, 1, 2]),)
    return Query(table=Table(table(rows)), unit="who", bound=bound, by=keys, aggregates=aggregates)  # type: ignore[arg-type]


@settings(max_examples=12, deadline=None)
@given(rows=ROWS, bound=BOUNDS)
def test_one_person_moves_no_measure_farther_than_its_sensitivity(rows: list, bound: Bound) -> None:
    with_person = query(rows, bound, *AGGREGATES)
    without = query([row for row in rows if row[0] != rows[0][0]], bound, *AGGREGATES)
    frames = [collect(one).groups for one in (with_person, without)]
    # Trees differ between the two kinds of noise, everything else does not.
    found = {
        **layout(with_person, "laplace").measures,
        "tree": layout(with_person, "gaussian").measures["bins x_quantiles"],
    }
    for measure in found.values():
        moved = (measure.exact(frames[0]) - measure.exact(frames[1])).astype(object)
        most = measure.sensitivity(with_person)
        assert np.abs(moved).sum() <= most.l1, measure.name
        assert (moved**2).sum() <= most.l2_squared, measure.name
        assert np.abs(moved).max() <= most.linf, measure.name


def test_a_person_who_reaches_the_bounds_moves_measures_nearly_as_far_as_they_say() -> None:
    """The sensitivities are not only safe but tight: nothing of the budget is wasted."""
    bound = Bound(rows=3)
    extreme = [(1, 0, 11.0, 7.0)] * 3
    full, empty = query(extreme, bound, *AGGREGATES), query([(1, 0, 11.0, 7.0)], bound, *AGGREGATES)
    frames = [collect(one).groups for one in (full, empty)]
    for measure in layout(full, "laplace").measures.values():
        moved = np.abs((measure.exact(frames[0]) - measure.exact(frames[1])).astype(object)).sum()
        if "negative" not in measure.name and measure.name != "persons":
            assert moved * 1.5 >= measure.sensitivity(full).l1 * (1 - 1e-3), measure.name


def test_noise_for_one_group_less_would_be_caught() -> None:
    """Positive control of the property above: a sensitivity that forgets a group is exceeded."""
    bound = Bound(groups=2, rows_per_group=2)
    rows = [(1, 0, 1.0, 1.0), (1, 0, 2.0, 1.0), (1, 1, 3.0, 1.0), (1, 1, 4.0, 1.0)]
    full = query([*rows, (2, 0, 0.0, 0.0)], bound, Count())
    frames = [collect(one).groups for one in (full, query([(2, 0, 0.0, 0.0)], bound, Count()))]
    measure = layout(full, "laplace").measures["rows"]
    moved = np.abs(measure.exact(frames[0]) - measure.exact(frames[1])).sum()
    assert moved == measure.sensitivity(full).l1 == 4
    forgetful = query(rows, Bound(groups=1, rows_per_group=2), Count())
    assert moved > measure.sensitivity(forgetful).l1


@settings(max_examples=12, deadline=None)
@given(rows=ROWS, squares=st.booleans())
def test_without_noise_the_parts_give_count_sum_and_squares(rows: list, squares: bool) -> None:
    """The parts are another way to write the same statistics: weighted sums of them restore these."""
    mean = Variance("x", lower=-3, upper=11) if squares else Mean("x", lower=-3, upper=11)
    asked = query(rows, Bound(rows=100), Count(), mean)
    frame = collect(asked).groups
    measure = next(iter(layout(asked, "laplace").measures.values()))
    assert isinstance(measure, Moments)
    parts = measure.exact(frame) / per_row(measure)
    for group in range(3):
        values = [row[2] for row in rows if row[1] == group and row[2] is not None and row[2] == row[2]]
        clipped = np.clip(np.array(values, dtype=float), -3, 11)
        assert parts[group, : measure.parts].sum() == pytest.approx(len(values), abs=1e-4)
        shares = (clipped - measure.span[0]) / (measure.span[1] - measure.span[0])
        weights = np.linspace(0, 1, measure.parts)
        assert parts[group, : measure.parts] @ weights == pytest.approx(shares.sum(), abs=1e-4)
        if squares:
            assert parts[group, 2] == pytest.approx((shares**2).sum(), abs=1e-4)
        missing = measure.exact(frame)[group, -1] / measure.per_row
        assert missing == sum(row[1] == group for row in rows) - len(values)


def test_statistics_are_shared() -> None:
    rows = [(1, 0, 1.0, 1.0)]
    shared = layout(
        query(rows, Bound(rows=1), Count(), Mean("x", lower=0, upper=1), Variance("x", lower=0, upper=1),
              Sum("x", lower=0, upper=1)),
        "laplace",
    )  # fmt: skip
    assert list(shared.measures) == ["values x_variance"]
    alone = layout(query(rows, Bound(rows=1), Sum("x", lower=-1, upper=1), Count()), "laplace")
    assert list(alone.measures) == ["sum x_sum", "rows"]
    total = layout(query(rows, Bound(rows=1), Sum("x", lower=0, upper=1), Count()), "laplace")
    assert [type(one) for one in total.measures.values()] == [Total]
    assert total.rows_from == ("sum x_sum",)


def test_histograms_stand_alone() -> None:
    with pytest.raises(ValueError, match="on its own"):
        layout(query([(1, 0, 1.0, 1.0)], Bound(rows=1), Count(), Histogram("x", edges=[0, 1])), "laplace")


def test_a_mean_costs_no_more_noise_than_its_count() -> None:
    """The point of the parts: with a budget divided between count and centred sum, both would be noisier."""
    asked = query([(1, 0, 1.0, 1.0)], Bound(rows=1), Count(), Mean("x", lower=0, upper=1))
    plan = plan_release(asked, epsilon=1.0)
    (measure,) = plan.layout.measures.values()
    assert plan.noise(measure).scale / per_row(measure) == pytest.approx(1.0, rel=1e-9)
