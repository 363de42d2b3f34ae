"""DuckDB, PostgreSQL and Spark give the same whole numbers for the same table, however odd the table is."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from everywhere import Everywhere
from wardline.dp.queries import (
    Bound,
    Collected,
    Count,
    Histogram,
    Key,
    Mean,
    Persons,
    Quantiles,
    Sum,
    TopK,
    Variance,
)

# Texts that collations order or equate in ways of their own, and that quoting goes wrong on.
TRAPS = [
    "",
    " ",
    "a",
    "A",
    "ä",
    "a\u0308",
    "Z",
    "ß",
    "ss",
    "é",
    "e\u0301",
    "I",
    "\u0131",
    "\u0130",
    "'",
    '"',
    "\\",
    "a|b",
    "😀",
    "\u202e",
    "0",
]
VALUES = [0.0, -0.0, 1.0, 0.5, 99.99999, 100.0, 100.1, -3.0, 5e-324, -5e-324, 1e-310, 1e308, -1e308]
numbers = st.one_of(
    st.sampled_from([*VALUES, math.inf, -math.inf, math.nan]), st.floats(), st.floats(-10, 110, allow_nan=False)
)
rows = st.lists(
    st.tuples(
        st.integers(-3, 3),
        st.sampled_from(TRAPS),
        st.sampled_from(TRAPS),
        st.dates(datetime.date(1969, 12, 30), datetime.date(1970, 1, 3)),
        st.booleans(),
        st.none() | numbers,
        st.none() | st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=60,
).flatmap(
    lambda found: (
        st.lists(st.sampled_from(found), max_size=60).map(lambda more: found + more) if found else st.just(found)
    )
)

AGGREGATES = (
    Count(),
    Persons(),
    Sum("income", lower=-1, upper=100),
    Sum("age", lower=-3, upper=4, quantum=0.1, label="tenths"),
    Mean("income", lower=0, upper=100),
    Variance("income", lower=0.1, upper=99.7),
    Quantiles("income", lower=0, upper=100, bins=7),
    Histogram("age", edges=[-4, -1, 0, 0.5, 3]),
    TopK("name", k=2),
    TopK("area", k=2, values=["a", "A", "ä", "z\0"]),
)
bounds = st.sampled_from(
    [
        Bound(rows=1),
        Bound(rows=3),
        Bound(rows=1000),
        Bound(groups=1, rows_per_group=1),
        Bound(groups=2, rows_per_group=3),
        Bound(groups=2, rows_per_group=3, rows=4),
    ]
)
keys = st.sampled_from(
    [
        (),
        (Key("area"),),
        (Key("area", TRAPS[:7]), Key("adult", [True, False])),
        (Key("day"), Key("age", [0, 1, -1])),
        (Key("day", [datetime.date(1970, 1, 1), datetime.date(1969, 12, 31)]),),
        (Key("adult"), Key("name")),
        (Key("income", [-1, 0, 1, 33], cell=3.0),),
        (Key("age", [-1, 0], cell=0.7),),
    ]
)
conditions = st.sampled_from(
    [
        None,
        "income >= 0.5",
        "NOT (area = 'a') AND (age IN (1, 2, -3) OR adult)",
        "name <> '\\' OR income IS NULL",
        "day BETWEEN DATE '1969-12-31' AND DATE '1970-01-01' AND age < 2.5",
    ]
)


def plain(found: Collected) -> dict[str, Any]:
    """Everything of a result that can be compared."""
    frames = {"groups": found.groups, **{str(place): frame for place, frame in found.candidates.items()}}
    return {
        name: {
            "keys": frame.keys.to_pydict(),
            "size": frame.size,
            "found": frame.found,
            **{label: (one.values.tolist(), one.per_unit, one.quantum) for label, one in frame.statistics.items()},
        }
        for name, frame in frames.items()
    }


def same(everywhere: Everywhere, engines: list[str], rows: Any, **parts: Any) -> None:
    if any(key.column == parts["unit"] for key in parts["by"]):
        parts["unit"] = "person"
    parts["aggregates"] = [one for one in parts["aggregates"] if parts["unit"] != getattr(one, "column", None)]
    first, *others = map(plain, everywhere.collect(rows, engines, **parts).values())
    for other in others:
        assert other == first


questions = {
    "rows": rows,
    "bound": bounds,
    "by": keys,
    "where": conditions,
    "unit": st.sampled_from(["person", "name", "day"]),
    "aggregates": st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=5, unique_by=lambda one: one.label),
}
# No shrinking: with Spark it would take an hour.
quietly = settings(deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@settings(quietly, max_examples=40)
@given(**questions)
def test_postgres_gives_what_duckdb_gives(everywhere, rows, **parts):
    same(everywhere, ["duckdb", "postgres"], rows, **parts)


@pytest.mark.slow
@settings(quietly, max_examples=6)
@given(**questions)
def test_spark_gives_what_duckdb_gives(everywhere, rows, **parts):
    same(everywhere, ["duckdb", "spark"], rows, **parts)
