"""Reading Parquet and CSV, and the digest of a table."""

from __future__ import annotations

import csv
import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import canonical_json
from wardline.data import parse_table, read_table, table_digest

# No control characters: a lone carriage return ends a record in CSV. No surrogates: they have no UTF-8 form.
cells = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=10)


def to_csv(rows: list[list[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=20))
def test_text_comes_back_from_csv_as_it_was(rows):
    # A column with one word among its values is text, whatever the others look like.
    table = parse_table(to_csv([["a", "b"], ["word", "word"], *rows]), name="t.csv")
    assert table.column("a").to_pylist() == ["word", *(row[0] for row in rows)]
    assert table.column("b").to_pylist() == ["word", *(row[1] for row in rows)]


@given(st.lists(st.none() | st.integers(-(10**18) + 1, 10**18 - 1), min_size=1, max_size=20))
def test_whole_numbers_come_back_from_csv(values):
    table = parse_table(to_csv([["a", "b"], [7, 0], *([value, 1] for value in values)]), name="t.csv")
    assert table.schema.field("a").type == pa.int64()
    assert table.column("a").to_pylist() == [7, *values]


@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=20))
def test_numbers_come_back_from_csv_bit_for_bit(values):
    table = parse_table(to_csv([["a", "b"], [0.5, 0], *([value, 1] for value in values)]), name="t.csv")
    assert table.schema.field("a").type == pa.float64()
    assert table.column("a").to_pylist() == [0.5, *values]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "2", ""], [1, 2, None]),
        (["1", "NA", "nan"], [1, None, None]),
        ([" 1", "2 "], [1, 2]),
        (["+1.5", "-.5", "2.", "1e3", "1E-2"], [1.5, -0.5, 2.0, 1000.0, 0.01]),
        (["1.5", "inf", "-Infinity"], [1.5, float("inf"), float("-inf")]),
        (["007", "008"], ["007", "008"]),
        (["1", "x", "NA"], ["1", "x", "NA"]),
        (["NA", "NA"], ["NA", "NA"]),
        (["true", "FALSE", ""], [True, False, None]),
        (["9999999999999999999", "1"], [1e19, 1.0]),
        (["0x10", "1"], ["0x10", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
    ],
)
def test_how_text_is_taken(texts, expected):
    table = parse_table(to_csv([["a", "b"], *([text, "x"] for text in texts)]), name="t.csv")
    assert table.column("a").to_pylist() == expected


def test_csv_with_byte_order_mark_quotes_and_line_breaks():
    data = b'\xef\xbb\xbfa,b\r\n"x, ""y""\nz",1\r\nq,2\r\n'
    table = parse_table(data, name="T.CSV")
    assert table.to_pydict() == {"a": ['x, "y"\nz', "q"], "b": [1, 2]}


def test_parquet_is_recognised_by_its_bytes(tmp_path):
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.data").write_bytes((tmp_path / "t.parquet").read_bytes())
    assert read_table(tmp_path / "t.parquet").equals(table)
    assert read_table(tmp_path / "t.data").equals(table)


def test_the_digest_is_what_its_docstring_says():
    table = pa.table({"n": pa.array([1, None], pa.int32()), "s": ["é", None], "t": [True, False], "f": [0.5, None]})
    columns = [["n", "int32"], ["s", "text"], ["t", "bool"], ["f", "double"]]
    data = b"wardline.table/1\n" + canonical_json({"rows": 2, "columns": columns})
    data += b"\1\0" + b"\1\0\0\0" + b"\0\0\0\0"
    data += b"\1\0" + (2).to_bytes(8, "little") + (0).to_bytes(8, "little") + "é".encode()
    data += b"\1\1" + b"\1\0"
    data += b"\1\0" + bytes.fromhex("000000000000e03f") + bytes(8)
    assert table_digest(table) == hashlib.sha256(data).hexdigest()


def test_the_digest_ignores_layout_and_nothing_else():
    table = pa.table({"s": ["a", "b", None, "a"], "n": [1.0, float("nan"), 3.0, 4.0]})
    same = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert table_digest(same) == table_digest(table)
    assert table_digest(table.set_column(0, "s", table.column("s").dictionary_encode())) == table_digest(table)
    assert table_digest(table.set_column(0, "s", table.column("s").cast(pa.large_string()))) == table_digest(table)
    others = [
        table.rename_columns(["t", "n"]),
        table.select(["n", "s"]),
        table.take([1, 0, 2, 3]),
        table.slice(0, 3),
        table.set_column(0, "s", pa.array(["a", "b", "", "a"])),
        table.set_column(0, "s", pa.array(["ab", "", None, "a"])),
        table.set_column(1, "n", pa.array([1.0, float("nan"), 3.0, 5.0])),
        table.set_column(1, "n", pa.array([1.0, None, 3.0, 4.0])),
    ]
    assert len({table_digest(other) for other in [table, *others]}) == len(others) + 1
