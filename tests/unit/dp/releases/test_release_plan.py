"""Plans: nothing wasted, nothing overspent, decided without data."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.dp.accounting import PureDp, compose
from wardline.dp.queries import (
    Aggregate,
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
    TopK,
    Variance,
)
from wardline.dp.releases import expected, plan_release

NOWHERE = Table("no-such-file.parquet")
SETS: list[tuple[Aggregate, ...]] = [
    (Count(),),
    (Count(), Mean("x", lower=0, upper=1)),
    (Persons(), Sum("x", lower=-1, upper=1), Sum("y", lower=0, upper=9)),
    (Mean("x"), Variance("x"), Quantiles("x", bins=100)),
    (Histogram("x", edges=[0, 1, 2]),),
]


def query(*aggregates: Aggregate, found: bool = False, bound: Bound | None = None) -> Query:
    key = Key("g") if found else Key("g", [1, 2, 3])
    return Query(table=NOWHERE, unit="who", bound=bound or Bound(rows=4), by=(key,), aggregates=aggregates)


@pytest.mark.parametrize("aggregates", SETS)
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 7.3])
def test_pure_prices_add_up_to_epsilon(aggregates: tuple[Aggregate, ...], epsilon: float) -> None:
    plan = plan_release(query(*aggregates), epsilon=epsilon)
    events = plan.events
    assert all(isinstance(event, PureDp) for event in events)
    total = sum(event.epsilon for event in events if isinstance(event, PureDp))
    assert epsilon * (1 - 1e-9) < total <= epsilon


@pytest.mark.parametrize("aggregates", SETS)
@pytest.mark.parametrize("found", [False, True])
def test_approximate_plans_use_what_they_were_given(aggregates: tuple[Aggregate, ...], found: bool) -> None:
    plan = plan_release(query(*aggregates, found=found), epsilon=0.7, delta=1e-6)
    spent = compose(plan.events, delta=1e-6)
    assert 0.7 * 0.995 < spent <= 0.7
    assert (plan.selection is not None) == found


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 20), st.integers(1, 50), st.integers(1, 8))
def test_noise_never_costs_more_than_its_price(epsilon: float, rows: int, groups: int) -> None:
    plan = plan_release(query(Count(), Persons(), bound=Bound(rows=rows, groups=groups)), epsilon=epsilon)
    spent = 0.0
    for measure in plan.layout.measures.values():
        sensitivity = measure.sensitivity(plan.query)
        assert sensitivity.l1 == (rows if measure.name == "rows" else min(groups, rows))
        spent += sensitivity.l1 / plan.noise(measure).scale
    assert spent <= epsilon * (1 + 1e-12)
    assert spent == pytest.approx(epsilon, rel=1e-9)


def test_many_groups_of_a_person_make_gaussian_noise_the_better_one() -> None:
    wide = query(Persons(), bound=Bound(groups=200, rows_per_group=1))
    assert plan_release(wide, epsilon=1, delta=1e-6).kind == "gaussian"
    assert plan_release(query(Count(), bound=Bound(rows=1)), epsilon=1, delta=1e-6).kind == "laplace"
    assert plan_release(wide, epsilon=1).kind == "laplace"


def test_shares_move_noise_from_one_aggregate_to_another() -> None:
    asked = query(Persons(), Sum("x", lower=-1, upper=1))
    even = {one.label: one.std for one in expected(plan_release(asked, epsilon=1))}
    shifted = {one.label: one.std for one in expected(plan_release(asked, epsilon=1, share={"x_sum": 3}))}
    assert shifted["x_sum"] == pytest.approx(even["x_sum"] * (1 / 2) / (3 / 4), rel=1e-3)  # type: ignore[operator]
    assert shifted["persons"] == pytest.approx(even["persons"] * 2, rel=1e-2)  # type: ignore[operator]
    with pytest.raises(ValueError, match="no label"):
        plan_release(asked, epsilon=1, share={"y": 1.0})
    with pytest.raises(ValueError, match="share"):
        plan_release(asked, epsilon=1, share={"x_sum": 0.0})


def test_a_plan_speaks_of_everything_it_will_do() -> None:
    text = str(plan_release(query(Persons(), Mean("x"), found=True), epsilon=1, delta=1e-6))
    for words in ("epsilon 1, delta 1e-06", "'who'", "persons", "x_mean", "found privately", "published if"):
        assert words in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: plan_release(query(Count(), found=True), epsilon=1), "delta above 0"),
        (lambda: plan_release(query(TopK("x", k=2)), epsilon=1), "need a delta above"),
        (lambda: plan_release(query(Count(), found=True), epsilon=1, delta=1e-6, totals=True), "listed values"),
        (lambda: plan_release(query(Persons()), epsilon=1, totals=True), "does not add up"),
        (lambda: plan_release(query(Quantiles("x", lower=0, upper=1, bins=20_000)), epsilon=1), "bins"),
        (lambda: plan_release(query(Count(), TopK("x", k=2)), epsilon=1, delta=1e-6), "on its own"),
    ],
)
def test_what_does_not_go_together_is_refused(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()


def test_totals_cost_what_their_levels_cost() -> None:
    keys = (Key("a", range(3)), Key("b", range(4)))
    asked = Query(table=Table(pa.table({"a": [0], "b": [0]})), unit=None, by=keys, aggregates=(Count(),))
    alone, together = (plan_release(asked, epsilon=1, totals=totals) for totals in (False, True))
    (measure,) = alone.layout.measures.values()
    assert together.noise(measure).scale == pytest.approx(3 * alone.noise(measure).scale)
