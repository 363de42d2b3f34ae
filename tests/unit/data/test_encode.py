"""The encoder: by the contract, row by row, and nothing of the data's statistics."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import DataError
from wardline.data import Column, Contract, Encoder, enforce

CONTRACT = Contract(
    columns=(
        Column(name="age", kind="integer", low=0, high=100),
        Column(name="gain", kind="number", low=10, high=1009, scale="log", missing=True),
        Column(name="job", kind="category", values=("b", "a"), missing=True),
        Column(name="vip", kind="boolean"),
        Column(name="note", kind="ignore"),
        Column(name="y", kind="category", values=("no", "yes")),
    ),
    target="y",
    unit_column="who",
    max_rows_per_unit=3,
)


def table(**changes) -> pa.Table:
    columns = {
        "age": [0, 50, 100, 25],
        "gain": [10.0, None, 1009.0, 41.0],
        "job": ["a", "b", None, "a"],
        "vip": [True, False, True, False],
        "note": ["x", "y", "z", "w"],
        "y": ["no", "yes", "yes", "no"],
        "who": ["p", "q", "p", "r"],
    }
    return pa.table({**columns, **changes})


def test_each_kind_by_hand():
    examples = Encoder(CONTRACT).encode(enforce(CONTRACT, table()))
    assert examples.features == (
        "age", "gain", "gain is missing", "job=b", "job=a", "job is missing", "vip",
    )  # fmt: skip
    quarter = 2 * math.log1p(31) / math.log1p(999) - 1
    expected = [
        [-1.0, -1.0, 0, 0, 1, 0, 1],
        [0.0, 0.0, 1, 1, 0, 0, 0],
        [1.0, 1.0, 0, 0, 0, 1, 1],
        [-0.5, quarter, 0, 0, 1, 0, 0],
    ]
    np.testing.assert_allclose(examples.x, expected, atol=1e-6)
    assert examples.y.tolist() == [0, 1, 1, 0]
    assert examples.unit.tolist() == [0, 1, 0, 2]
    assert examples.classes == ("no", "yes")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 100),
            st.none() | st.floats(10, 1009),
            st.sampled_from([None, "a", "b"]),
            st.booleans(),
            st.sampled_from(["no", "yes"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_row_is_encoded_alike_in_any_company(rows):
    whole = table(
        **{
            name: list(values)
            for name, values in zip(["age", "gain", "job", "vip", "y"], zip(*rows, strict=True), strict=True)
        },
        note=["x"] * len(rows),
        who=list(range(len(rows))),
    )
    encoder = Encoder(CONTRACT)
    together = encoder.encode(whole)
    assert np.abs(together.x).max() <= 1.0
    for index in range(len(rows)):
        alone = encoder.encode(whole.slice(index, 1))
        assert alone.x.tobytes() == together.x[index : index + 1].tobytes()
        assert alone.y[0] == together.y[index]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": [0, 1, 2, 101]}, "outside"),
        ({"age": [0, 1, 2, None]}, "no value"),
        ({"gain": [10.0, 11.0, 12.0, float("inf")]}, "outside"),
        ({"job": ["a", "b", "c", "a"]}, "does not list"),
        ({"y": ["no", "yes", "maybe", "no"]}, "no class"),
        ({"who": ["p", None, "q", "r"]}, "no person"),
        ({"vip": [0, 1, 2, 0]}, "neither 0 nor 1"),
    ],
)
def test_what_the_contract_forbids_is_refused_here_too(changes, message):
    with pytest.raises(DataError, match=message):
        Encoder(CONTRACT).encode(table(**changes))
    with pytest.raises(DataError):
        Encoder(CONTRACT).encode(table().drop_columns(next(iter(changes))))


def test_nan_is_missing():
    values = [10.0, float("nan"), 1009.0, 41.0]
    by_nan, by_null = (Encoder(CONTRACT).encode(table(gain=column)) for column in (values, [10.0, None, 1009.0, 41.0]))
    assert by_nan.x.tobytes() == by_null.x.tobytes()


def test_many_blocks_equal_one(monkeypatch):
    import wardline.data.encode as module

    generator = np.random.default_rng(0)
    n = 5000
    big = table(
        age=generator.integers(0, 101, n),
        gain=pa.array(generator.uniform(10, 1009, n), mask=generator.random(n) < 0.2),
        job=pa.array(np.array(["a", "b"])[generator.integers(0, 2, n)], mask=generator.random(n) < 0.2),
        vip=generator.random(n) < 0.5,
        note=["x"] * n,
        y=np.array(["no", "yes"])[generator.integers(0, 2, n)],
        who=np.arange(n),
    )
    whole = Encoder(CONTRACT).encode(big)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 7 * 4 * 33)
    assert Encoder(CONTRACT).encode(big).x.tobytes() == whole.x.tobytes()


def test_features_of_one_name_are_refused():
    clash = Contract(
        columns=(
            Column(name="a", kind="category", values=("b", "c")),
            Column(name="a=b", kind="number", low=0, high=1),
            Column(name="y", kind="boolean"),
        ),
        target="y",
    )
    with pytest.raises(ValueError, match="one name"):
        Encoder(clash)


@pytest.mark.crosscheck
def test_equal_to_scikit_learn_where_it_is_told_the_contract():
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

    examples = Encoder(CONTRACT).encode(table())
    scaler = MinMaxScaler(feature_range=(-1, 1)).fit([[0.0], [100.0]])
    np.testing.assert_allclose(examples.x[:, :1], scaler.transform([[0], [50], [100], [25]]), atol=1e-6)
    hot = OneHotEncoder(categories=[["b", "a"]], handle_unknown="ignore", sparse_output=False)
    jobs = np.array([["a"], ["b"], ["?"], ["a"]], dtype=object)
    np.testing.assert_array_equal(examples.x[:, 3:5], hot.fit(jobs[:2]).transform(jobs))
