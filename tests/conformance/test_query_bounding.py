"""The suite's check of sensitivity, pointed at the statistics that real queries collect, and at broken twins of them.

No chance is involved: a unit either moves a figure by more than is claimed, or it does not.
"""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wardline.attacks.auditing.mechanism_conformance import check_sensitivity
from wardline.dp.queries import Bound, Count, Histogram, Key, Mean, Persons, Query, Sum, Table, bounding, collect

GROUPS = ("a", "b", "c")
BOUNDS = {
    "rows": Bound(rows=2),
    "groups and rows in each": Bound(groups=2, rows_per_group=2),
    "all three": Bound(rows=3, groups=2, rows_per_group=2),
}
AGGREGATES = (
    Count(),
    Persons(),
    Sum("value", lower=-3, upper=7),
    Mean("value", lower=-3, upper=7),
    Histogram("value", edges=(-3, 0, 7)),
)
ROW = st.tuples(st.integers(0, 3), st.sampled_from(GROUPS), st.sampled_from([-100.0, -3.0, 0.25, 6.5, 7.0, 1e9]))
TABLES = st.lists(st.lists(ROW, min_size=1, max_size=14), min_size=20, max_size=40)
Rows = list[tuple[int, str, float]]


def query(tables: list[Rows], bound: Bound) -> Query:
    """One question about many small tables: each has persons and groups of its own, so that none touches another."""
    rows = [(f"{place}-{p}", f"{place}-{g}", v) for place, table in enumerate(tables) for p, g, v in table]
    people, groups, values = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            "person": pa.array(people, pa.string()),
            "group": pa.array(groups, pa.string()),
            "value": pa.array(values, pa.float64()),
        }
    )
    names = tuple(f"{place}-{group}" for place in range(len(tables)) for group in GROUPS)
    return Query(table=Table(table), unit="person", bound=bound, by=(Key("group", names),), aggregates=AGGREGATES)


def failures(tables: list[Rows], bound: Bound) -> dict[str, str]:
    """The statistics that some person of some table moves by more than is claimed, and by how much."""
    whole = collect(query(tables, bound)).groups.statistics
    found = {}
    for person in sorted({row[0] for table in tables for row in table}):
        rests = [[row for row in table if row[0] != person] for table in tables]
        without = collect(query(rests, bound)).groups.statistics
        for name, statistic in whole.items():
            split = [values.reshape(len(tables), -1) for values in (statistic.values, without[name].values)]
            check = check_sensitivity(lambda values: values, zip(*split, strict=True), statistic.per_unit)
            if not check.passed:
                found[name] = check.says
    return found


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
@given(tables=TABLES)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_person_moves_a_statistic_by_more_than_is_claimed(bound: Bound, tables: list[Rows]) -> None:
    assert failures(tables, bound) == {}


# A person who reaches every bound, and one who stays below.
FULL: Rows = [(1, group, 7.0) for group in GROUPS for _ in range(4)] + [(2, "a", 1.0)]


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_bounding_that_is_off_by_one_is_caught(monkeypatch: pytest.MonkeyPatch, bound: Bound) -> None:
    assert failures([FULL], bound) == {}
    sound = bounding._stage

    def off_by_one(*arguments, limit):
        return sound(*arguments, limit=limit + 1)

    monkeypatch.setattr(bounding, "_stage", off_by_one)
    caught = failures([FULL], bound)
    assert "rows" in caught
    assert len(caught) >= 4, "every statistic of rows is moved too far"


def test_bounding_that_counts_from_the_wrong_side_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person with one row more than the bound is not looked at: > where >= belongs, in the count of suspects."""
    rows: Rows = [(1, "a", 7.0)] * 3 + [(2, "b", 1.0)]
    bound = Bound(rows=2)
    assert failures([rows], bound) == {}
    monkeypatch.setattr(bounding, "min", lambda limits: min(limits) + 1, raising=False)
    assert failures([rows], bound) != {}


def test_a_sensitivity_that_forgets_a_group_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from wardline.dp.queries import sensitivity

    bound = BOUNDS["groups and rows in each"]
    assert failures([FULL], bound) == {}
    sound = sensitivity.reach

    def forgetful(asked: Query) -> sensitivity.Reach:
        found = sound(asked)
        return sensitivity.Reach(
            rows=found.rows - found.rows_per_group,
            groups=found.groups - 1,
            rows_per_group=found.rows_per_group,
        )

    monkeypatch.setattr(sensitivity, "reach", forgetful)
    assert len(failures([FULL], bound)) >= 5


def test_bounding_by_the_place_of_a_row_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are numbered through the table, rather than from each person's first: one person moves all others."""
    rows: Rows = [(person, group, 7.0) for person in range(8) for group in GROUPS]
    bound = Bound(rows=1)
    assert failures([rows], bound) == {}

    def through_the_table(function, partition, order=()):
        return sound(function, [] if order else partition, order)

    sound = bounding._over
    monkeypatch.setattr(bounding, "_over", through_the_table)
    assert failures([rows], bound) != {}
