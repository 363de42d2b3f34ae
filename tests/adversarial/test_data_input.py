"""Bad data, each with one clear error that names place and remedy and quotes no value of a row."""

from __future__ import annotations

import io
import re
import traceback

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import DataError
from wardline.data import Column, Contract, enforce, parse_table, read_table

SECRET = "Zacharias"


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


GOOD = parquet(pa.table({"a": list(range(50)), "b": [SECRET, None] * 25}))


def outcome(work):
    """What a call returns, or the DataError that it raises; any other exception fails the test."""
    try:
        return work()
    except DataError as error:
        return error


def refused(data: bytes, name: str, message: str) -> DataError:
    with pytest.raises(DataError, match=message) as caught:
        parse_table(data, name=name)
    assert caught.value.hint
    assert caught.value.where.startswith(name)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return caught.value


# Files


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match="no such file") as caught:
        read_table(tmp_path / "gone.parquet")
    assert caught.value.where.endswith("gone.parquet")


def test_a_folder_instead_of_a_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path)


def test_parquet_cut_off_anywhere():
    for length in range(1, len(GOOD)):
        with pytest.raises(DataError, match=r"truncated or damaged|not a Parquet"):
            parse_table(GOOD[:length], name="t.parquet")
    assert parse_table(GOOD, name="t.parquet").num_rows == 50


def test_parquet_with_any_byte_changed_is_a_table_or_a_data_error():
    outcomes = {True: 0, False: 0}
    for index in range(len(GOOD)):
        data = bytearray(GOOD)
        data[index] ^= 0xFF
        # A table with a changed value is possible; the sha256 of the file is what tells.
        outcomes[isinstance(outcome(lambda data=data: parse_table(bytes(data), name="t.parquet")), pa.Table)] += 1
    assert outcomes[False] > len(GOOD) // 3


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_table_or_a_data_error(data):
    for name in ("t.parquet", "t.csv", "t.unknown"):
        found = outcome(lambda name=name: parse_table(data, name=name))
        assert found.hint if isinstance(found, DataError) else found.num_rows


def test_text_in_parquet_that_is_not_utf8():
    array = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], dtype=np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    refused(parquet(pa.table({"a": array})), "t.parquet", "damaged")


@pytest.mark.parametrize(
    ("data", "line", "byte"),
    [
        (b"a,b\n1,x\n2,Zacharias\xe9\n", 3, 19),
        (b"\xff\xfea\x00,\x00", 1, 0),
        (b"a,b\n1,\xed\xa0\x80\n", 2, 6),
    ],
)
def test_csv_that_is_not_utf8(data, line, byte):
    error = refused(data, "t.csv", f"byte {byte} \\(line {line}\\)")
    assert error.where == f"t.csv:{line}"
    assert "iconv" in error.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"a,b\n", "table is empty"),
        (b"\n", "first line is empty"),
        (b"\n\na,b\n1,2\n", "first line is empty"),
        (b"a,b\n1,2\n3\n4,5,Zacharias\n6,7\n", "2 rows do not have 2 fields.*rows 3, 4"),
        (b"a,b\n" + b"1\n" * 9, "9 rows .* and others"),
        (b"a,b,a\n1,2,3\n", "'a' occurs twice"),
        (b"a,,c\n1,2,3\n", "column 2 has no name"),
        (b"a;b\n1;Zacharias\n", "not separated by commas"),
        (b"39,Zacharias,77516\n50,other,83311\n", "entry 1 is a number"),
        (b'a,b\n1,"Zacharias\n2,x\n3,y\n', "quotation mark is not closed"),
    ],
)
def test_csv_that_cannot_be_a_table(data, message):
    refused(data, "t.csv", message)


def test_an_open_quotation_mark_would_swallow_rows_unseen():
    # The positive control: Arrow by itself takes the rest of the file for one value and says nothing.
    from pyarrow import csv

    data = b'a,b\n1,"x\n2,x\n3,y\n'
    options = csv.ParseOptions(newlines_in_values=True)
    assert csv.read_csv(io.BytesIO(data), parse_options=options).num_rows == 1


def test_doubled_names_in_parquet():
    refused(parquet(pa.table([[1], [2]], names=["a", "a"])), "t.parquet", "occurs twice")


def test_an_empty_table_in_parquet():
    refused(parquet(pa.table({"a": pa.array([], pa.int64())})), "t.parquet", "table is empty")


def test_an_unknown_format():
    refused(b"\x93NUMPY", "t.npy", "format of this file is not known")


# Contracts

CONTRACT = Contract(
    columns=(
        Column(name="age", kind="integer", low=0, high=120),
        Column(name="pay", kind="number", low=0, high=1e6),
        Column(name="job", kind="category", values=("a", "b")),
        Column(name="vip", kind="boolean", missing=True),
        Column(name="note", kind="ignore"),
        Column(name="y", kind="category", values=("no", "yes")),
    ),
    target="y",
    unit_column="who",
    max_rows_per_unit=2,
)


def table(**changes) -> pa.Table:
    columns = {
        "age": [1, 2, 3, 4],
        "pay": [1.0, 2.0, 3.0, 4.0],
        "job": ["a", "b", "a", "b"],
        "vip": [True, None, False, True],
        "note": [SECRET] * 4,
        "y": ["no", "yes", "no", "yes"],
        "who": ["p", "q", "r", "s"],
    }
    return pa.table({name: values for name, values in {**columns, **changes}.items() if values is not None})


def breach(data: pa.Table, contract: Contract = CONTRACT) -> DataError:
    with pytest.raises(DataError) as caught:
        enforce(contract, data)
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert SECRET not in shown
    assert "31337" not in shown
    assert caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def test_the_good_table_is_taken():
    kept = enforce(CONTRACT, table())
    assert kept.column_names == ["age", "pay", "job", "vip", "y", "who"]
    assert [str(kind) for kind in kept.schema.types] == ["int64", "double", "string", "bool", "string", "string"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": None}, r"'age': is missing from the data"),
        ({"who": None}, r"'who': is missing from the data"),
        ({"more": [1, 2, 3, 4]}, r"'more': is not in the contract"),
        ({"age": [1, 2, None, 4]}, r"'age': 1 of 4 rows have no value"),
        ({"pay": [1.0, float("nan"), None, 4.0]}, r"'pay': 2 of 4 rows have no value \(empty or NaN\)"),
        ({"age": [1, 2, 121, -31337]}, r"'age': 2 of 4 rows lie outside \[0, 120\]"),
        ({"pay": [1.0, 2.0, float("inf"), -31337.0]}, r"'pay': 2 of 4 rows lie outside \[0, 1000000\], 1 of them inf"),
        ({"age": [1.0, 2.5, 3.0, float("inf")]}, r"'age': 1 of 4 rows hold numbers that are infinite"),
        ({"age": [1.0, 2.5, 3.0, 4.0]}, r"'age': 1 of 4 rows hold numbers that are not whole"),
        ({"age": ["1", SECRET, "3", "4"]}, r"'age': 1 of 4 rows hold text that is not a whole number"),
        ({"pay": ["1", SECRET, SECRET, "4"]}, r"'pay': 2 of 4 rows hold text that is not a number"),
        ({"pay": [True, False, True, True]}, r"'pay': is of type bool, where the contract has kind number"),
        ({"pay": [[1.0]] * 4}, r"'pay': is of type list"),
        ({"age": pa.array([1, 2, 3, 2**63 + 5], pa.uint64())}, r"'age': 1 of 4 rows hold numbers beyond 64 bits"),
        ({"job": ["a", "b", SECRET, "b"]}, r"'job': 1 of 4 rows hold a category that the contract does not list"),
        ({"job": ["a", "b", None, "b"]}, r"'job': 1 of 4 rows have no value"),
        ({"vip": [0, 1, 2, 1]}, r"'vip': 1 of 4 rows hold neither 0 nor 1"),
        ({"vip": ["true", "false", SECRET, "true"]}, r"'vip': 1 of 4 rows hold text that is neither"),
        ({"y": ["no"] * 4}, r"'y': all rows are of one class"),
        ({"y": ["no", "yes", None, "yes"]}, r"'y': 1 of 4 rows have no value"),
        ({"age": [7, 7, 7, 7]}, r"'age': is constant"),
        ({"job": ["a"] * 4}, r"'job': is constant"),
        ({"vip": [True] * 4}, r"'vip': is constant"),
        ({"vip": [None] * 4}, r"'vip': is missing throughout"),
        ({"who": ["p", None, "r", "s"]}, r"'who': 1 of 4 rows name no person"),
        ({"who": [1.0, float("nan"), 2.0, 3.0]}, r"'who': 1 of 4 rows name no person"),
        ({"who": [[1]] * 4}, r"'who': cannot name a person"),
    ],
)
def test_each_breach_names_column_count_and_remedy(changes, message):
    data = table(**{name: values for name, values in changes.items() if values is not None})
    data = data.drop_columns([name for name, values in changes.items() if values is None])
    error = breach(data)
    assert re.search(message, error.message)
    assert "ways" not in error.message


def test_constant_and_all_missing_columns_are_told_to_be_ignored():
    assert "kind: ignore" in breach(table(age=[7] * 4)).hint
    assert "kind: ignore" in breach(table(vip=[None] * 4)).hint
    assert enforce(CONTRACT, table(age=[7] * 4), constant_features="keep").num_rows == 4
    with pytest.raises(DataError, match="missing throughout"):
        enforce(CONTRACT, table(vip=[None] * 4), constant_features="keep")


def test_all_breaches_come_in_one_error():
    error = breach(table(age=[1, 2, 31337, 4], job=["a", SECRET, "a", SECRET], more=[1, 2, 3, 4], y=["no"] * 4))
    assert error.message.startswith("the data breaks its contract in 4 ways:")
    assert len(error.message.splitlines()) == 5
    for name in ("age", "job", "more", "y"):
        assert f"column {name!r}" in error.message
        assert f"{name!r}: " in error.hint


def test_a_class_that_no_row_has():
    contract = Contract(
        columns=(*CONTRACT.columns[:-1], Column(name="y", kind="category", values=("no", "yes", "maybe"))),
        target="y",
        unit_column="who",
    )
    assert "no row is of class 'maybe'" in breach(table(), contract).message


def test_doubled_columns_in_memory():
    doubled = pa.table([*table().columns, table().column("age")], names=[*table().column_names, "age"])
    assert "'age': occurs twice" in breach(doubled).message


def test_no_rows():
    with pytest.raises(DataError, match="empty"):
        enforce(CONTRACT, table().slice(0, 0))


def test_many_unknown_columns_do_not_flood_the_message():
    error = breach(table(**{f"x{index}": [1, 2, 3, 4] for index in range(500)}))
    assert "488 more columns" in error.message
    assert len(error.message.splitlines()) == 14


def test_a_name_with_control_characters_is_shown_harmlessly():
    assert "\x1b" not in str(breach(table(**{"\x1b[2Jevil": [1, 2, 3, 4]})))


@pytest.mark.parametrize("variable", ["PANDERA_VALIDATION_ENABLED", "PANDERA_VALIDATION_DEPTH"])
def test_pandera_cannot_be_switched_off_from_outside(variable, tmp_path):
    import os
    import subprocess
    import sys

    code = """
import pyarrow as pa, pandera.pyarrow as pandera
from wardline.core import DataError
from wardline.data import Column, Contract, enforce
columns = (Column(name="a", kind="number", low=0, high=1), Column(name="y", kind="boolean"))
contract = Contract(columns=columns, target="y")
bad = pa.table({"a": [0.5, 7.0], "y": [True, False]})
# The positive control: pandera by itself lets the bad table through.
pandera.DataFrameSchema({"a": pandera.Column(float, pandera.Check.in_range(0, 1))}).validate(bad)
try:
    enforce(contract, bad)
except DataError as error:
    print("refused")
"""
    value = {"PANDERA_VALIDATION_ENABLED": "False", "PANDERA_VALIDATION_DEPTH": "SCHEMA_ONLY"}[variable]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, variable: value}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "refused"


@pytest.mark.parametrize("name", ["check_output", "*", "^a.*$", "c0", "index", "", "__check__"])
def test_names_that_the_libraries_below_use_themselves(name):
    contract = Contract(
        columns=(
            Column(name=name, kind="number", low=0, high=1),
            Column(name="other", kind="number", low=0, high=9),
            Column(name="y", kind="boolean"),
        ),
        target="y",
    )
    good = pa.table({name: [0.5, 0.6], "other": [5.0, 6.0], "y": [True, False]})
    assert enforce(contract, good).num_rows == 2
    bad = pa.table({name: [0.5, 7.0], "other": [5.0, 6.0], "y": [True, False]})
    with pytest.raises(DataError, match="1 of 2 rows lie outside"):
        enforce(contract, bad)


@given(st.lists(st.floats(width=64), min_size=2, max_size=30), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_exactly_what_lies_outside_is_counted(values, low, width):
    high = low + width
    contract = Contract(
        columns=(Column(name="a", kind="number", low=low, high=high, missing=True), Column(name="y", kind="boolean")),
        target="y",
    )
    data = pa.table({"a": values, "y": [index % 2 == 0 for index in range(len(values))]})
    array = np.array(values)
    outside = int(((array < low) | (array > high)).sum())
    found = outcome(lambda: enforce(contract, data, constant_features="keep"))
    if outside:
        assert f"{outside} of {len(values)} rows lie outside" in found.message
    elif np.isnan(array).all():
        assert "missing throughout" in found.message
    else:
        assert found.num_rows == len(values)
