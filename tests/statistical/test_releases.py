"""Figures of releases are unbiased, their noise is as wide as they say, and their intervals cover what they should.

Each check fails by chance with a probability of at most 1e-6, and each is run against a twin whose noise is wrong by a
tenth (or whose interval ignores what it must not), which it has to notice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import stats

from wardline.attacks.auditing.mechanism_audit import audit_mechanism
from wardline.core import SecureRandom
from wardline.dp.mechanisms import geometric_partitions
from wardline.dp.queries import (
    Aggregate,
    Bound,
    Count,
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
from wardline.dp.releases import plan_release
from wardline.dp.releases.plan import Price, ReleasePlan
from wardline.dp.releases.selection import Selection
from wardline.dp.releases.tabulate import published_table

FALSE_ALARM = 1e-6
GROUPS, EACH = 3000, 25
COLUMN = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """3,000 groups of 25 rows each; values bunch near the lower end of their range."""
    rng = np.random.default_rng(5)
    value = np.round(20 * rng.beta(1.2, 3.0, GROUPS * EACH), 3)
    return pa.table({"g": np.repeat(np.arange(GROUPS), EACH), "x": value})


def asked(rows: pa.Table, *aggregates: Aggregate) -> Query:
    return Query(table=Table(rows), unit=None, by=(Key("g", range(GROUPS)),), aggregates=aggregates)


def released(plan: ReleasePlan) -> pa.Table:
    return published_table(plan, plan.query, collect(plan.query), SecureRandom())


def truth(rows: pa.Table) -> npt.NDArray[np.float64]:
    return rows.column("x").to_numpy().reshape(GROUPS, EACH)


def least_covered(trials: int, level: float) -> int:
    """Fewer than this many intervals of such a level cover their figure with a probability of at most 1e-6."""
    return int(stats.binom.ppf(FALSE_ALARM, trials, level))


def covered(table: pa.Table, label: str, exact: COLUMN) -> int:
    low, high = (table.column(f"{label}_{end}").to_numpy() for end in ("low", "high"))
    return int(((low <= exact + 1e-9) & (exact <= high + 1e-9)).sum())


def weakened(plan: ReleasePlan) -> ReleasePlan:
    """The same plan at a price that is a tenth lower, so that its noise is wider than the intervals of `plan` know."""
    prices = {
        name: Price(kind=price.kind, amount=price.amount * (0.9 if price.kind == "laplace" else 0.81))
        for name, price in plan.prices.items()
    }
    return dataclasses.replace(plan, prices=prices)


def intervals_of(label: str, narrow: pa.Table, wide: pa.Table) -> pa.Table:
    """Values with noise a tenth too wide, with intervals of the width that the narrow noise would have."""
    half = (narrow.column(f"{label}_high").to_numpy() - narrow.column(f"{label}_low").to_numpy()) / 2
    value = wide.column(label).to_numpy()
    return pa.table({label: value, f"{label}_low": value - half, f"{label}_high": value + half})


@pytest.mark.parametrize(("sums", "delta", "kind"), [(2, 0.0, "laplace"), (2, 1e-6, "laplace"), (40, 1e-6, "gaussian")])
def test_counts_and_sums_are_unbiased_and_as_noisy_as_they_say(
    rows: pa.Table, sums: int, delta: float, kind: str
) -> None:
    """Means of at least 6,000 errors and of their squares; noise wrong by a tenth changes the latter by a fifth."""
    # Sums of values of either sign, so that nothing is clipped and each is measured by itself.
    query = asked(rows, *(Sum("x", lower=-1 - i, upper=20, label=f"s{i}") for i in range(sums)))
    plan = plan_release(query, epsilon=0.1, delta=delta)
    assert plan.kind == kind
    found, wrong = released(plan), released(weakened(plan))
    errors, noisier = [], []
    for i in range(sums):
        exact = np.clip(truth(rows), -1 - i, 20).sum(axis=1)
        noise = found.column(f"s{i}_noise").to_numpy()
        errors.append((found.column(f"s{i}").to_numpy() - exact) / noise)
        noisier.append((wrong.column(f"s{i}").to_numpy() - exact) / noise)
    unit, wider = np.concatenate(errors), np.concatenate(noisier)
    limit = stats.norm.isf(FALSE_ALARM / 2)
    assert abs(unit.mean()) * np.sqrt(len(unit)) < limit
    # The fourth moment of a Laplace number is 6 times its squared variance, of a Gaussian 3 times.
    deviation = np.sqrt((6 - 1 if plan.kind == "laplace" else 3 - 1) / len(unit))
    assert abs((unit**2).mean() - 1) < limit * deviation * 1.05
    assert abs((wider**2).mean() - 1) > limit * deviation * 1.05 or plan.kind == "laplace"
    # Sharper for Laplace: its mean absolute error is exponential.
    if plan.kind == "laplace":
        scaled = np.sqrt(2) * np.abs(wider)
        assert abs(scaled.mean() - 1) * np.sqrt(len(scaled)) > limit
        assert abs((np.sqrt(2) * np.abs(unit)).mean() - 1) * np.sqrt(len(unit)) < limit


@pytest.mark.parametrize(("epsilon", "delta"), [(0.2, 0.0), (0.2, 1e-6), (1.0, 0.0)])
def test_intervals_cover(rows: pa.Table, epsilon: float, delta: float) -> None:
    """Counts and sums 95 %, means, variances and quantiles at least that; groups are small, so the noise is strong."""
    query = asked(
        rows,
        Count(),
        Mean("x", lower=0, upper=20, label="mean"),
        Variance("x", lower=0, upper=20, label="variance"),
        Sum("x", lower=0, upper=15, label="total"),
        Quantiles("x", lower=0, upper=20, probs=(0.1, 0.5, 0.9), bins=64, label="q"),
    )
    plan = plan_release(query, epsilon=10 * epsilon, delta=delta)
    found = released(plan)
    values = truth(rows)
    exact = {
        "count": np.full(GROUPS, float(EACH)),
        "mean": values.mean(axis=1),
        "variance": values.var(axis=1),
        "total": np.clip(values, 0, 15).sum(axis=1),
    }
    exact |= {f"q_{100 * p:g}": np.sort(values, axis=1)[:, int(np.ceil(p * EACH)) - 1] for p in (0.1, 0.5, 0.9)}
    for label, figure in exact.items():
        assert covered(found, label, figure) >= least_covered(GROUPS, 0.95), label
    # Exact intervals are no wider than needed either: they miss about one in twenty.
    missed = GROUPS - covered(found, "total", exact["total"])
    assert missed >= stats.binom.ppf(FALSE_ALARM, GROUPS, 0.035)
    # And means do not hide behind intervals that say nothing.
    wide = (found.column("mean_high").to_numpy() - found.column("mean_low").to_numpy()) > 19
    assert wide.mean() < 0.5 or epsilon < 1


def test_intervals_for_noise_that_is_wider_by_a_tenth_are_noticed() -> None:
    """Positive control: 40,000 counts, of which 93.3 % instead of 95 % are covered: > 10 deviations."""
    groups = 40_000
    table = pa.table({"g": np.arange(groups)})
    query = Query(
        table=Table(table), unit=None, by=(Key("g", range(groups)),), aggregates=(Sum("g", lower=-1, upper=1),)
    )
    plan = plan_release(query, epsilon=0.05)
    exact = np.clip(np.arange(groups), -1, 1).astype(float)
    narrow, wide = released(plan), released(weakened(plan))
    assert covered(narrow, "g_sum", exact) >= least_covered(groups, 0.95)
    assert covered(intervals_of("g_sum", narrow, wide), "g_sum", exact) < least_covered(groups, 0.95)


def test_consistent_totals_cover_and_have_less_noise() -> None:
    regions, districts, each = 400, 8, 6
    place = np.repeat(np.arange(regions * districts), each)
    table = pa.table({"r": place // districts, "d": place % districts})
    keys = (Key("r", range(regions)), Key("d", range(districts)))
    query = Query(table=Table(table), unit=None, by=keys, aggregates=(Count(),))
    plan = plan_release(query, epsilon=1.0, totals=True)
    found = released(plan)
    values = found.column("count").to_numpy()
    exact = np.concatenate([[len(place)], np.full(regions, districts * each), np.full(regions * districts, each)])
    assert covered(found, "count", exact.astype(float)) >= least_covered(len(exact), 0.95)
    # They add up, whatever the noise was.
    np.testing.assert_allclose(values[1 + regions :].reshape(regions, districts).sum(axis=1), values[1 : 1 + regions])
    assert values[1 : 1 + regions].sum() == pytest.approx(values[0])
    # Districts gain from being consistent, as least squares says.
    error = values - exact
    noise = found.column("count_noise").to_numpy()
    for part in (slice(1, 1 + regions), slice(1 + regions, None)):
        ratio = (error[part] ** 2).mean() / (noise[part] ** 2).mean()
        assert abs(ratio - 1) < stats.norm.isf(FALSE_ALARM / 2) * np.sqrt(5 / (len(error[part]) / districts)) + 0.05
    raw = plan.noise(plan.layout.measures["rows"]).std
    assert noise[-1] < raw


@pytest.mark.parametrize("kind", ["geometric", "gaussian"])
def test_published_counts_of_persons_are_covered_among_those_that_are_published(kind: str) -> None:
    """Groups near the threshold show only when noise favours them: an interval that ignores it covers far too few."""
    rule = Selection(
        kind=kind,  # type: ignore[arg-type]
        groups=1 if kind == "geometric" else 4,
        epsilon=0.5 if kind == "geometric" else 0.0,
        sigma=0.0 if kind == "geometric" else 6.0,
        delta=1e-4,
    )
    true = np.full(30_000, rule.threshold - (3 if kind == "geometric" else 5), dtype=np.int64)
    places, noisy = rule.run(true, SecureRandom())
    assert 2000 < len(places) < 15_000
    answer = rule.answer("persons", noisy)
    inside = (answer.low <= true[places]) & (true[places] <= answer.high)
    assert inside.sum() >= least_covered(len(places), 0.95)
    half = rule.noise.half_width([1.0], miss=0.05)
    naive = np.abs(noisy - true[places]) <= half
    assert naive.sum() < least_covered(len(places), 0.95)


def test_groups_with_a_single_person_hardly_ever_show() -> None:
    """With delta 0.01 a hundredth of them may; the same test notices a threshold that is too low by two."""
    delta, trials = 0.01, 20_000
    ones = np.ones(trials, dtype=np.int64)
    rule = Selection(kind="geometric", groups=1, epsilon=1.0, sigma=0.0, delta=delta)
    shown = len(rule.run(ones, SecureRandom())[0])
    most = stats.binom.isf(FALSE_ALARM, trials, delta)
    assert shown <= most
    kept, _ = geometric_partitions(ones + 2, epsilon=1.0, delta=delta, random=SecureRandom())
    assert kept.sum() > most


def test_persons_with_several_rows_are_counted_with_the_noise_that_they_need() -> None:
    rng = np.random.default_rng(3)
    table = pa.table({"who": rng.integers(0, 50_000, 120_000), "g": rng.integers(0, 2000, 120_000)})
    keys = (Key("g", range(2000)),)
    query = Query(
        table=Table(table),
        unit="who",
        bound=Bound(groups=5, rows_per_group=1),
        by=keys,
        aggregates=(Count(), Persons()),
    )
    plan = plan_release(query, epsilon=1.0)
    exact = collect(query).groups.statistics["persons"].values.astype(float)
    found = released(plan)
    assert plan.noise(plan.layout.measures["persons"]).scale == pytest.approx(10.0)
    for label in ("count", "persons"):
        assert covered(found, label, exact) >= least_covered(2000, 0.95)


def test_an_audit_finds_no_more_than_epsilon_and_finds_noise_for_half_of_it() -> None:
    """A whole release, 40,000 times: each group is one, on a table with a person and on the one without."""
    trials = 40_000
    full = pa.table({"g": np.repeat(np.arange(trials), 3), "x": np.tile([20.0, 1.0, 20.0], trials)})
    lacking = pa.table({"g": np.repeat(np.arange(trials), 2), "x": np.tile([20.0, 1.0], trials)})

    def run(table: pa.Table, epsilon: float) -> Callable[[int], npt.NDArray[np.float64]]:
        keys = (Key("g", range(trials)),)
        aggregates = (Count(), Sum("x", lower=-10, upper=20, label="total"))
        plan = plan_release(Query(table=Table(table), unit=None, by=keys, aggregates=aggregates), epsilon=epsilon)

        def outputs(count: int) -> npt.NDArray[np.float64]:
            found = released(plan)
            return np.stack(
                [found.column(name).to_numpy()[:count].astype(float) for name in ("count", "total")], axis=1
            )

        return outputs

    found = audit_mechanism(
        run(full, 2.0),
        run(lacking, 2.0),
        claim=(2.0, 0.0),
        trials=trials,
        confidence=1 - FALSE_ALARM,
        broken=(run(full, 4.0), run(lacking, 4.0)),
    )
    assert found.value is not None
    assert found.value <= 2.0
    assert found.value > 1.0  # the audit has teeth: it proves more than half of what is promised
    assert found.control is not None
    assert found.control.passed
    assert found.control.value > 2.0
