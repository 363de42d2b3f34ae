"""Schemas: what is public of a table, as a person writes it and as files carry it."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest

from wardline.core.errors import DataError
from wardline.he.queries.derivation import derive_schema, in_units
from wardline.he.queries.schema import MISSING, CategoryColumn, NumberColumn, Schema


def test_a_schema_comes_back_and_may_be_written_by_a_person() -> None:
    written = {
        "columns": [
            {"kind": "category", "name": "sex", "categories": ["F", "M"], "missing": True},
            {"kind": "number", "name": "debt", "unit": 0.1, "low": -5, "high": "100.5", "edges": [0, 50.5]},
        ]
    }
    schema = Schema.from_json(written)
    sex, debt = schema.columns
    assert sex.levels == ("F", "M", MISSING)
    assert isinstance(debt, NumberColumn)
    assert (debt.low, debt.high, debt.edges) == (-50, 1005, (0, 505))
    assert debt.levels == ("-5.0 to below 0.0", "0.0 to below 50.5", "50.5 to 100.5")
    assert (debt.sums, debt.missing) == (True, False)
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again == schema
    assert again.to_json() == schema.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "text"}, "another kind"),
        ({"colour": 1}, "field too many"),
        ({"unit": "0"}, "above 0"),
        ({"unit": "NaN"}, "finite"),
        ({"unit": True}, "a number is missing"),
        ({"low": 0.05}, "no multiple"),
        ({"low": 200}, "low <= high"),
        ({"high": "1e25"}, "low <= high"),
        ({"edges": [50, 0]}, "rise"),
        ({"edges": [-5]}, "rise"),
        ({"edges": 5}, "a list"),
        ({"edges": list(range(1, 300)), "high": 1000}, "more than"),
        ({"sums": 1}, "true or false"),
        ({"name": ""}, "characters"),
        ({"name": 5}, "with a name"),
    ],
)
def test_schemas_that_make_no_sense_are_refused(change: dict, message: str) -> None:
    column = {"kind": "number", "name": "debt", "unit": 0.1, "low": -5, "high": 100, "edges": [0]}
    with pytest.raises(DataError, match=message) as caught:
        Schema.from_json({"columns": [{**column, **change}]})
    assert caught.value.hint


@pytest.mark.parametrize(
    "value", [None, [], {"columns": {}}, {"columns": []}, {"columns": [1]}, {"columns": [], "x": 1}]
)
def test_other_json_is_refused(value: object) -> None:
    with pytest.raises(DataError):
        Schema.from_json(value)


def test_categories_are_checked() -> None:
    for categories in ((), ("a", "a"), (MISSING,), ("x" * 300,), tuple(map(str, range(300)))):
        with pytest.raises(ValueError, match="categor"):
            CategoryColumn(name="c", categories=categories)
    one = CategoryColumn(name="c", categories=("a",))
    with pytest.raises(ValueError, match="a name of its own"):
        Schema(columns=(one, one))


def test_a_schema_is_taken_from_the_data() -> None:
    columns = {
        "sex": np.array(["M", "F", None, "M"], dtype=object),
        "ok": np.array([True, False, True, True]),
        "few": np.array([5, 1, 5, 7]),
        "debt": np.array([1.25, np.nan, -3.5, 0.0]),
        "empty": np.array([None] * 4, dtype=object),
        "odd": np.array([1 / 3, 0.1, 0.2, 0.3]),
        "day": np.array(["2020-01-01"] * 4, dtype="datetime64[D]"),
        "large": np.array([1e15, 0.0, 1.0, 2.0]),
    }
    schema, left_out = derive_schema(columns)
    assert set(left_out) == {"empty", "odd", "large", "day"}
    sex, ok, few, debt = schema.columns
    assert isinstance(sex, CategoryColumn)
    assert (sex.categories, sex.missing) == (("F", "M"), True)
    assert isinstance(ok, CategoryColumn)
    assert ok.categories == ("false", "true")
    assert isinstance(few, NumberColumn)
    assert few.edges == (2, 5, 6, 7), "each of few values is a range of its own"
    assert isinstance(debt, NumberColumn)
    assert (debt.unit, debt.low, debt.high, debt.missing) == (Decimal("0.01"), -350, 125, True)


def test_edges_cut_columns_into_buckets_of_about_equal_size() -> None:
    generator = np.random.default_rng(0)
    skewed = np.where(generator.random(8000) < 0.9, 0, generator.integers(1, 5000, 8000))
    columns = {"even": generator.integers(0, 1000, 8000), "skewed": skewed}
    even, other = derive_schema(columns, buckets=4)[0].columns
    assert isinstance(even, NumberColumn)
    assert isinstance(other, NumberColumn)
    assert np.abs(np.array(even.edges) - [250, 500, 750]).max() < 25
    assert other.edges[0] == 1
    assert len(other.edges) == 4


def test_tables_without_content_are_refused() -> None:
    for columns in ({}, {"a": np.array([])}, {"a": np.array([None], dtype=object)}):
        with pytest.raises(DataError) as caught:
            derive_schema(columns)
        assert caught.value.hint
    with pytest.raises(ValueError, match="one length"):
        derive_schema({"a": np.array([1]), "b": np.array([1, 2])})
    many = {"name": np.array([f"person {i}" for i in range(100)], dtype=object), "age": np.arange(100)}
    assert "100 categories" in derive_schema(many)[1]["name"]


def test_columns_of_lists_and_records_are_left_out() -> None:
    lists, records = np.empty(2, dtype=object), np.empty(2, dtype=object)
    lists[:] = [np.array([1, 2]), np.array([3, 4])]
    records[:] = [{"a": 1}, {"a": 2}]
    schema, left_out = derive_schema({"lists": lists, "records": records, "age": np.array([1, 2])})
    assert [one.name for one in schema.columns] == ["age"]
    assert left_out == dict.fromkeys(("lists", "records"), "it holds neither texts nor numbers")


def test_sums_and_limits_in_units_of_many_digits_are_not_rounded() -> None:
    unit = "0.1234567890123456789012345678901"
    column = NumberColumn(name="x", unit=Decimal(unit), low=0, high=10)
    assert int(column.text(3**40).replace(".", "")) == int(unit.replace(".", "")) * 3**40
    almost = {"kind": "number", "name": "x", "unit": unit, "low": 0, "high": f"{unit[:-1]}2"}
    with pytest.raises(DataError, match="no multiple"):
        Schema.from_json({"columns": [almost]})


def test_units_are_exact() -> None:
    assert in_units(np.array([0.1, 0.2, 0.1 + 0.2]), Decimal("0.1")).tolist() == [1, 2, 3]
    assert in_units(np.array([123456789.01]), Decimal("0.01")).tolist() == [12345678901]
    assert in_units(np.array([0.05]), Decimal("0.1")) is None
    assert in_units(np.array([1e9 + 1e-4]), Decimal(1)) is None
    assert in_units(np.array([np.inf]), Decimal(1)) is None
