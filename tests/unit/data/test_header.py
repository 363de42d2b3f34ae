"""CSV files without a line of names: the caller knows them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet
import pytest

from wardline.core import DataError
from wardline.data import fetch, parse_table, table_digest


def test_names_come_from_the_caller_and_space_belongs_to_no_value() -> None:
    table = parse_table(b"39, State-gov, 007\n50, Private, 011\n\n", name="adult.data", header=("age", "work", "code"))
    assert table.to_pydict() == {"age": [39, 50], "work": ["State-gov", "Private"], "code": ["007", "011"]}


def test_without_names_the_same_bytes_are_refused() -> None:
    with pytest.raises(DataError, match="not a header"):
        parse_table(b"39, State-gov\n", name="a.csv")


def test_a_row_with_another_number_of_fields_is_refused() -> None:
    with pytest.raises(DataError):
        parse_table(b"1,2\n1,2,3\n", name="a.csv", header=("a", "b"))


@pytest.mark.data
def test_the_published_adult_file_and_the_parquet_copy_are_one_table(data_root: Path, tmp_path: Path) -> None:
    """The publisher's bytes, put together again from the copy, have the digests known for them."""
    table = pyarrow.parquet.read_table(data_root / "adult" / "train.parquet")
    lines = [", ".join(str(value) for value in row.values()) for row in table.to_pylist()]
    published = ("\n".join(lines) + "\n\n").encode()
    assert hashlib.md5(published, usedforsecurity=False).hexdigest() == "5d7c39d7b8804f071cdd1f2a7c460872"
    (tmp_path / "adult.data").write_bytes(published)
    found = fetch(
        "file:adult.data",
        sha256="5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        base=tmp_path,
        header=table.column_names,
    )
    assert table_digest(found.table) == table_digest(table)
