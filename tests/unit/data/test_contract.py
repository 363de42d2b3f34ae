"""The contract as a value: what it refuses, and that a policy's form of it comes back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.data import Column, Contract

TARGET = Column(name="y", kind="category", values=("no", "yes"))
AGE = Column(name="age", kind="integer", low=0, high=120)

names = st.text(min_size=1, max_size=12)
finite = st.floats(-1e12, 1e12)


@st.composite
def columns(draw, name: str) -> Column:
    kind = draw(st.sampled_from(["number", "integer", "category", "boolean", "ignore"]))
    missing = draw(st.booleans()) if kind != "ignore" else False
    if kind == "category":
        values = draw(st.lists(st.text(max_size=8), min_size=2, max_size=6, unique=True))
        return Column(name=name, kind=kind, values=tuple(values), missing=missing)
    if kind in ("number", "integer"):
        ends = st.integers(-(2**53), 2**53) if kind == "integer" else finite
        low, high = sorted(draw(st.lists(ends, min_size=2, max_size=2, unique=True)))
        scale = draw(st.sampled_from(["linear", "log"]))
        return Column(name=name, kind=kind, low=low, high=high, scale=scale, missing=missing)
    return Column(name=name, kind=kind, missing=missing)


@st.composite
def contracts(draw) -> Contract:
    chosen = draw(st.lists(names.filter(lambda name: name not in ("y", "age", "who")), max_size=5, unique=True))
    parts = [TARGET, AGE, *(draw(columns(name)) for name in chosen)]
    person = draw(st.booleans())
    return Contract(
        columns=tuple(draw(st.permutations(parts))),
        target="y",
        unit_column="who" if person else None,
        max_rows_per_unit=draw(st.integers(1, 50)) if person else 1,
    )


@given(contracts())
def test_the_policy_form_comes_back_the_same(contract):
    assert Contract.from_policy(contract.to_policy()) == contract


def test_a_policy_may_write_categories_as_numbers_and_truth_values():
    column = Column.from_policy("c", {"kind": "category", "values": [1, 2.0, 0.5, True, "x"], "low": None})
    assert column.values == ("1", "2", "0.5", "true", "x")


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "number"},
        {"kind": "number", "low": 0},
        {"kind": "number", "low": 1, "high": 1},
        {"kind": "number", "low": 0, "high": float("inf")},
        {"kind": "number", "low": float("nan"), "high": 1},
        {"kind": "number", "low": -1.7e308, "high": 1.7e308},
        {"kind": "number", "low": 0, "high": 1, "values": ["a", "b"]},
        {"kind": "number", "low": 0, "high": 1, "scale": "cubic"},
        {"kind": "integer", "low": 0.5, "high": 3},
        {"kind": "integer", "low": 0, "high": 2**60},
        {"kind": "category"},
        {"kind": "category", "values": ["a"]},
        {"kind": "category", "values": ["a", "a"]},
        {"kind": "category", "values": ["1", 1]},
        {"kind": "category", "values": ["a", "b"], "low": 0, "high": 1},
        {"kind": "boolean", "scale": "log"},
        {"kind": "ignore", "missing": True},
        {"kind": "text"},
        {"kind": "number", "low": 0, "high": 1, "unit": "kg"},
        {},
    ],
)
def test_contradictory_columns_are_refused(spec):
    with pytest.raises(ValueError, match="'c'"):
        Column.from_policy("c", spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "z"}, "not among"),
        ({"target": "age"}, "category or a boolean"),
        ({"columns": (TARGET, AGE, AGE)}, "twice"),
        ({"columns": (TARGET, Column(name="id", kind="ignore"))}, "no column to learn from"),
        ({"unit_column": "age"}, "must be of kind ignore"),
        ({"max_rows_per_unit": 3}, "needs a unit column"),
        ({"unit_column": "who", "max_rows_per_unit": 0}, "at least 1"),
        ({"columns": (Column(name="y", kind="boolean", missing=True), AGE)}, "without missing"),
    ],
)
def test_contradictory_contracts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Contract(**{"columns": (TARGET, AGE), "target": "y", **changes})


def test_classes_of_a_boolean_target():
    contract = Contract(columns=(Column(name="y", kind="boolean"), AGE), target="y")
    assert contract.classes == ("false", "true")
    assert [column.name for column in contract.features] == ["age"]
