"""A query is checked when it is made, and comes back from JSON as it was."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import PolicyError
from wardline.dp.queries import (
    Bound,
    Count,
    Histogram,
    Key,
    Magnitudes,
    Mean,
    Persons,
    Quantiles,
    Query,
    Sum,
    Table,
    TopK,
    Variance,
)

EIGHT = Bound(rows=8)


def query(**parts):
    return Query(**{"table": Table("people.csv"), "unit": "person", "bound": EIGHT, "aggregates": (Count(),), **parts})


@pytest.mark.parametrize("make", [Mean, Sum, Variance, Quantiles])
@pytest.mark.parametrize(
    ("lower", "upper"),
    [(1, 0), (1, 1), (math.nan, 1), (0, math.inf), (-math.inf, 0), (0, None), (None, 0), (1e308, -1e308), (0, 1e-200)],
)
def test_ranges_that_are_none(make, lower, upper):
    with pytest.raises(ValueError, match="income"):
        make("income", lower=lower, upper=upper)


@pytest.mark.parametrize("part", ["rows", "groups", "rows_per_group"])
@pytest.mark.parametrize("value", [0, -1, 2**31])
def test_bounds_that_are_none(part, value):
    with pytest.raises(ValueError, match=part):
        Bound(**{part: value})
    with pytest.raises(TypeError):
        Bound(**{part: 1.5})


def test_a_bound_bounds_something():
    with pytest.raises(ValueError, match="names rows"):
        Bound()


@pytest.mark.parametrize(
    ("number", "parts", "says"),
    [
        (number, *case)
        for number, case in enumerate(
            [
                ({"aggregates": ()}, "at least one"),
                ({"aggregates": (Count(), Count())}, "same label"),
                ({"by": (Key("a"), Key("a", [1]))}, "once"),
                ({"by": (Key("person"),)}, "one person's"),
                ({"unit": None}, "exactly if"),
                ({"bound": None}, "exactly if"),
                ({"by": (Key("a"),), "bound": Bound(rows_per_group=2)}, "how many groups"),
                ({"by": (Key("a"),), "bound": Bound(groups=2)}, "how many rows"),
                ({"bound": Bound(groups=2)}, "how many rows"),
                ({"unit": ""}, "1 to 1024"),
                ({"unit": "\ud800"}, "Unicode"),
                ({"by": (Key("a", range(4000)), Key("b", range(4000)))}, "more than"),
                ({"where": "a = (SELECT 1)"}, "not allowed"),
            ]
        )
    ],
)
def test_parts_that_do_not_fit(number, parts, says):
    with pytest.raises(ValueError, match=says):
        query(**parts)


@pytest.mark.parametrize(
    ("number", "make", "error"),
    [
        (number, *case)
        for number, case in enumerate(
            [
                (lambda: Key("a", []), ValueError),
                (lambda: Key("a", "abc"), TypeError),
                (lambda: Key("a", [1, "b"]), TypeError),
                (lambda: Key("a", [1, True]), TypeError),
                (lambda: Key("a", [1, 1]), ValueError),
                (lambda: Key("a", [1.5]), TypeError),
                (lambda: Key("a", [2**63]), ValueError),
                (lambda: Key("a", ["\udc80"]), ValueError),
                (lambda: Key("a", [datetime.datetime(2020, 1, 1)]), TypeError),  # noqa: DTZ001
                (lambda: Key("a", cell=0.0), ValueError),
                (lambda: Key("a", cell=math.nan), ValueError),
                (lambda: Key("a", ["x"], cell=1.0), TypeError),
                (lambda: Histogram("a", edges=[0]), ValueError),
                (lambda: Histogram("a", edges=[0, 0]), ValueError),
                (lambda: Histogram("a", edges=[1, 0]), ValueError),
                (lambda: Histogram("a", edges=[0, math.inf]), ValueError),
                (lambda: Histogram("a", edges=[0, math.nan]), ValueError),
                (lambda: TopK("a", k=0), ValueError),
                (lambda: TopK("a", k=3, values=[1, 2]), ValueError),
                (lambda: Quantiles("a", probs=()), ValueError),
                (lambda: Quantiles("a", probs=(0.0,)), ValueError),
                (lambda: Quantiles("a", probs=(0.5, 0.2)), ValueError),
                (lambda: Quantiles("a", bins=1), ValueError),
                (lambda: Sum("a", lower=0, upper=1, quantum=2), ValueError),
                (lambda: Sum("a", lower=0, upper=1, quantum=1e-30), ValueError),
                (lambda: Sum("a", quantum=1), ValueError),
                (lambda: Table(7), TypeError),
                (lambda: Table(""), ValueError),
            ]
        )
    ],
)
def test_parts_that_are_none(number, make, error):
    with pytest.raises(error):
        make()


def test_numpy_values_become_plain_ones():
    assert Key("a", np.arange(3)).values == (0, 1, 2)
    assert type(Key("a", np.arange(3)).values[0]) is int


FULL = Query(
    table=Table("postgresql://ann:secret@host/db?password=hidden#public.people", name="people"),
    unit="person",
    bound=Bound(groups=3, rows_per_group=2),
    by=(
        Key("state", ["CA", "'; DROP TABLE people; --", "\u202e😀"]),
        Key("day", [datetime.date(2020, 1, 31)]),
        Key("x", cell=0.005),
        Key("id", [2**60, -1]),
        Key("adult", [True]),
    ),
    aggregates=(
        Count(),
        Persons(),
        Sum("income", lower=-1, upper=2.5, quantum=0.01),
        Mean("income", lower=0, upper=1),
        Variance("age"),
        Quantiles("age", lower=0, upper=1, probs=[0.5], bins=10),
        Histogram("age", edges=[0, 1, 2]),
        TopK("word", k=1, values=["a", "b"]),
        TopK("other", k=2),
        Magnitudes("income"),
    ),
    where="age >= 18 AND NOT (word = 'x')",
)


def test_json_gives_the_query_back_but_for_passwords():
    text = json.dumps(FULL.to_json())
    assert "secret" not in text
    assert "hidden" not in text
    back = Query.from_json(json.loads(text))
    assert back.to_json() == FULL.to_json()
    assert back.digest == FULL.digest
    assert (back.by, back.aggregates, back.bound, back.where) == (FULL.by, FULL.aggregates, FULL.bound, FULL.where)


def test_a_table_in_memory_is_found_by_its_name():
    table = pa.table({"person": [1]})
    asked = query(table=Table(table, name="mine"))
    assert Query.from_json(asked.to_json(), tables={"mine": table}) == asked
    with pytest.raises(PolicyError, match="in memory"):
        Query.from_json(asked.to_json())


def test_every_part_changes_the_digest():
    digests = {
        query(**parts).digest
        for parts in [
            {},
            {"bound": Bound(rows=9)},
            {"unit": "other"},
            {"by": (Key("a"),)},
            {"by": (Key("a", [1]),)},
            {"by": (Key("a", cell=1.0),)},
            {"aggregates": (Persons(),)},
            {"aggregates": (Mean("a", lower=0, upper=1),)},
            {"aggregates": (Mean("a", lower=0, upper=2),)},
            {"where": "a = 1"},
            {"table": Table("other.csv")},
        ]
    }
    assert len(digests) == 11
    same = [query(aggregates=(Mean("a", lower=zero, upper=1),)).digest for zero in (0, 0.0)]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    ("number", "change", "where"),
    [
        (number, *case)
        for number, case in enumerate(
            [
                ({"extra": 1}, "query"),
                ({"schema": 2}, "query.schema"),
                ({"table": "people.csv"}, "query.table"),
                ({"by": {}}, "query.by"),
                ({"by": [{"values": [1]}]}, "query.by[0]"),
                ({"by": [{"column": "a", "values": [{"date": "yesterday"}]}]}, "query.by[0].values[0]"),
                ({"by": [{"column": "a", "values": [{"when": "2020"}]}]}, "query.by[0].values[0]"),
                ({"by": [{"column": "a", "cell": "wide"}]}, "query.by[0]"),
                ({"aggregates": [{"kind": "mode"}]}, "query.aggregates[0].kind"),
                ({"aggregates": [{"kind": "mean", "column": "a", "lower": 1, "upper": 0}]}, "query.aggregates[0]"),
                ({"aggregates": [{"kind": "count", "column": "a"}]}, "query.aggregates[0]"),
                ({"bound": {"rows": 0}}, "query"),
                ({"unit": None}, "query"),
            ]
        )
    ],
)
def test_json_that_is_no_query(number, change, where):
    with pytest.raises(PolicyError) as caught:
        Query.from_json({**query().to_json(), **change})
    assert caught.value.where == where
    assert caught.value.hint


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_arbitrary_json_is_refused_in_words(value):
    with pytest.raises(PolicyError):
        Query.from_json(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a",
        "a =",
        "a = b",
        "a = 1; DROP TABLE t",
        "t.a = 1",
        "lower(a) = 'x'",
        "a IN (SELECT 1)",
        "EXISTS (SELECT 1)",
        "a = $1",
        "a LIKE 'x'",
        "a = 1e999",
        "a = DATE 'x'",
        "a + 1 = 2",
        "a IS TRUE",
        "a = 'x\0'",
        "count(*) > 1",
        "random() < 0.5",
        "CAST(a AS int) = 1",
        "a = 1 UNION SELECT 1",
        "(" * 3000 + "a = 1" + ")" * 3000,
    ],
)
def test_conditions_that_are_none(text):
    if text == "a":
        query(where=text)  # a column of truth values
        return
    with pytest.raises(ValueError, match="where"):
        query(where=text)
