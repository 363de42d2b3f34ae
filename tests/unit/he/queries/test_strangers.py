"""Whatever JSON a stranger or a person writes, it is read or refused by an error that says so."""

from __future__ import annotations

import copy
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core.errors import DataError, IntegrityError, UsageError
from wardline.he.queries.choice import plan_table
from wardline.he.queries.circuit import plan_query
from wardline.he.queries.language import Query, query_from_person
from wardline.he.queries.plan import TablePlan
from wardline.he.queries.schema import CategoryColumn, NumberColumn, Schema

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1e9", "0.1"])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
names = st.sampled_from(["kind", "name", "unit", "low", "high", "edges", "sums", "missing", "categories", "x"])
columns = st.dictionaries(names, values | st.sampled_from(["number", "category", ["a"], [1, 2]]))

GOOD = Schema(
    columns=(
        CategoryColumn(name="sex", categories=("F", "M"), missing=True),
        NumberColumn(name="age", unit=Decimal(1), low=0, high=99, edges=(30,)),
    )
)
PLAN = plan_table(GOOD, 100, filters=1)


@settings(max_examples=150)
@given(st.lists(columns, max_size=2))
def test_schemas(found: list) -> None:
    try:
        schema = Schema.from_json({"columns": found})
    except DataError:
        return
    assert Schema.from_json(schema.to_json()) == schema


def places(value: object, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in places(one, (*path, key)))]


@settings(max_examples=150)
@given(st.data())
def test_plans_with_one_place_changed(data: st.DataObject) -> None:
    value = copy.deepcopy(PLAN.to_json())
    path = data.draw(st.sampled_from([one for one in places(value) if one]))
    at = value
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = data.draw(values)
    try:
        plan = TablePlan.from_json(value)
    except IntegrityError:
        return
    assert plan.to_json() == value


conditions = st.fixed_dictionaries(
    {
        "column": st.sampled_from(["sex", "age", "x"]) | leaves,
        "comparison": st.sampled_from(["=", "!=", "<", ">=", "in", "not in", "is missing", "is not missing"]) | leaves,
        "values": st.lists(st.sampled_from(["F", "M", "30", "1e30", "-1e30", "0.5", "NaN"]) | leaves, max_size=3)
        | leaves,
    }
)
queries = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["count", "sum", "mean", "histogram"]) | leaves,
        "column": st.sampled_from([None, "sex", "age"]) | leaves,
        "where": st.lists(conditions, max_size=3) | leaves,
    }
)


@settings(max_examples=250)
@given(queries)
def test_queries(value: dict) -> None:
    try:
        query = Query.from_json(value)
    except IntegrityError:
        return
    assert Query.from_json(query.to_json()) == query
    try:
        circuit = plan_query(PLAN, query)
    except UsageError:
        return
    assert circuit.depth <= PLAN.depth
    assert circuit.outputs


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["count", "sum", "mean", "where", "x"]), values | st.just("sex = F") | st.just(True)
    )
)
def test_queries_of_persons(value: dict) -> None:
    try:
        query = query_from_person(value)
    except UsageError:
        return
    assert Query.from_json(query.to_json()) == query


@pytest.mark.parametrize("value", [None, [], 3, "x", {}, {"rows": 1}])
def test_plans_of_another_shape(value: object) -> None:
    with pytest.raises(IntegrityError):
        TablePlan.from_json(value)
