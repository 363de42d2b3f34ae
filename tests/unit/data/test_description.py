"""Describing a table: what is proposed for each sort of column, and what is not copied."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import DataError
from wardline.data import Contract, Encoder, describe, enforce
from wardline.data.description import rounded_out

N = 200


def table(**more) -> pa.Table:
    generator = np.random.default_rng(0)
    return pa.table({"y": ["no", "yes"] * (N // 2), "height": generator.uniform(151.37, 193.82, N), **more})


def proposed(name: str, values, **more):
    description = describe(table(**{name: values}, **more), target="y")
    return next(one for one in description.proposals if one.column.name == name)


def test_a_range_is_rounded_outwards():
    column = proposed("weight", np.linspace(43.21, 118.76, N)).column
    assert (column.kind, column.low, column.high) == ("number", 40, 120)


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_rounding_out_never_cuts(one, other):
    low, high = sorted((one, other))
    if low == high:
        return
    first, last = rounded_out(low, high, whole=False)
    assert first <= low < high <= last
    assert (last - first) <= 1.5 * (high - low) or math.isclose(low, high, rel_tol=1e-12)


@given(st.integers(-(2**52), 2**52), st.integers(-(2**52), 2**52))
def test_rounding_out_keeps_whole_numbers_whole(one, other):
    low, high = sorted((one, other))
    if low == high:
        return
    first, last = rounded_out(low, high, whole=True)
    assert first <= low < high <= last
    assert float(first).is_integer()
    assert float(last).is_integer()
    assert max(abs(first), abs(last)) <= 2**53


def test_the_exact_extremes_are_not_copied():
    heights = table().column("height").to_numpy()
    column = next(one.column for one in describe(table(), target="y").proposals if one.column.name == "height")
    assert column.low < heights.min()
    assert column.high > heights.max()
    # Another person's extreme within the same step gives the same proposal.
    nudged = table().set_column(1, "height", pa.array(np.where(heights == heights.max(), heights.max() + 0.5, heights)))
    assert describe(nudged, target="y").to_policy() == describe(table(), target="y").to_policy()


@pytest.mark.parametrize(
    ("name", "values", "kind", "reason"),
    [
        ("a", ["x"] * N, "ignore", "constant"),
        ("a", pa.nulls(N), "ignore", "missing throughout"),
        ("a", pa.nulls(N, pa.float64()), "ignore", "missing throughout"),
        ("a", [f"text {i}" for i in range(N)], "ignore", "own"),
        ("a", [f"text {i % 150}" for i in range(N)], "ignore", "150 different texts"),
        ("a", ["x", "y"] * (N // 2), "category", "2 categories"),
        ("a", [True, False] * (N // 2), "boolean", "truth"),
        ("a", [0, 1] * (N // 2), "boolean", "0 and 1"),
        ("a", [1, 2, 4, 8] * (N // 4), "integer", "codes"),
        ("a", [float(i % 50) for i in range(N)], "integer", "whole"),
        ("a", [i * 0.5 for i in range(N)], "number", "numbers"),
        ("row", list(range(1000, 1000 + N)), "ignore", "row number"),
        ("ID", [i * 17 % 100_003 for i in range(N)], "ignore", "identifier"),
        ("patientId", [f"p{i}" for i in range(N)], "ignore", "identifier"),
        ("PAID", [i % 150 for i in range(N)], "integer", "whole"),
        ("family", [i % 4 for i in range(N)], "integer", "codes"),
        ("a", [datetime.date(2020, 1, 1)] * N, "ignore", "derive"),
        ("a", [[1]] * N, "ignore", "derive"),
        ("a", [float("inf"), 1.0] * (N // 2), "ignore", "finite"),
        ("a", [2**60 + i * 7 for i in range(N)], "ignore", "too large"),
    ],
)
def test_kinds(name, values, kind, reason):
    proposal = proposed(name, values)
    assert proposal.column.kind == kind
    assert reason in proposal.reason


def test_amounts_of_many_magnitudes_get_a_log_scale():
    column = proposed("amount", [0] * (N - 2) + [500, 99_999]).column
    assert (column.kind, column.scale, column.low, column.high) == ("integer", "log", 0, 100_000)


def test_missing_values_are_allowed_where_they_occur():
    assert proposed("a", [None, 1.5, 2.5, float("nan")] * (N // 4)).column.missing
    assert proposed("a", [None, "x", "y", "x"] * (N // 4)).column.missing
    assert not proposed("a", [1.5, 2.5] * (N // 2)).column.missing


def test_a_column_that_names_persons_becomes_the_unit():
    description = describe(table(patient_id=[f"p{i // 3}" for i in range(N)]), target="y")
    assert description.to_policy()["unit"] == {"column": "patient_id", "max_rows": 4}
    assert description.contract.column("patient_id").kind == "ignore"
    assert any("patient_id" in note and "person" in note for note in description.notes)
    assert describe(table(), target="y").to_policy()["unit"] == "row"


def test_what_is_proposed_is_a_contract_that_the_table_keeps():
    whole = table(
        job=["a", "b", None, "c"] * (N // 4),
        age=[i % 77 for i in range(N)],
        patient_id=[i // 2 for i in range(N)],
        fixed=["x"] * N,
    )
    description = describe(whole, target="y")
    contract = Contract.from_policy(description.to_policy())
    assert contract == description.contract
    examples = Encoder(contract).encode(enforce(contract, whole))
    assert len(examples) == N
    assert examples.n_units == N // 2


def test_it_prints_as_a_table_with_the_warning():
    description = describe(table(job=["a", "b\x1b[31m"] * (N // 2)), target="y")
    text = str(description)
    assert "y (target)" in text
    assert "public knowledge" in text
    assert "\x1b" not in text
    assert text.splitlines()[0] == "200 rows, 3 columns"


def test_rare_categories_are_pointed_out_but_not_named():
    description = describe(table(job=["common", "other"] * (N // 2 - 1) + ["other", "astronaut"]), target="y")
    notes = [note for note in description.notes if "fewer than 10 rows" in note]
    assert len(notes) == 1
    assert "job" in notes[0]
    assert "astronaut" not in notes[0]


@pytest.mark.parametrize(
    ("target", "values", "message"),
    [
        ("z", ["no", "yes"] * (N // 2), "not a column"),
        ("y", ["no"] * N, "same in all rows"),
        ("y", [None, "yes"] * (N // 2), "without a value"),
        ("y", [i * 1.5 for i in range(N)], "200 different values"),
        ("y", [[1]] * N, "neither text nor numbers"),
    ],
)
def test_a_target_that_cannot_be_one_is_refused(target, values, message):
    whole = pa.table({"y": pa.array(values), "a": range(N)})
    with pytest.raises(DataError, match=message) as caught:
        describe(whole, target=target)
    assert caught.value.hint


def test_a_table_with_nothing_to_learn_from_is_refused():
    description = describe(pa.table({"y": ["no", "yes"], "a": [1, 1]}), target="y")
    with pytest.raises(DataError, match="no column to learn from"):
        _ = description.contract
