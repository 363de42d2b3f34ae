"""Records through coefficients and back, and rows of tables as records."""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from wardline.core.errors import DataError, IntegrityError
from wardline.he.lookup.plan import plan_lookup
from wardline.he.lookup.records import decode_row, encode_rows, from_coefficients, to_coefficients


@settings(deadline=None, max_examples=30)
@given(data=st.binary(min_size=1, max_size=400), plain_bits=st.integers(8, 45))
def test_bytes_come_back(data: bytes, plain_bits: int) -> None:
    plan = plan_lookup(3, len(data))
    plan = replace(plan, rows=1, doublings=11, parameters=replace(plan.parameters, plain_modulus=1 << plain_bits))
    found = to_coefficients(np.frombuffer(data * 3, dtype=np.uint8).reshape(3, -1), plan)
    assert found.shape == (3, plan.coefficients)
    assert found.min() >= -(1 << plain_bits - 1)
    assert found.max() < 1 << plain_bits - 1
    assert from_coefficients(found[1], plan) == data
    assert from_coefficients(found[1] + (1 << plain_bits), plan) == data


def test_bits_beyond_a_record_are_noticed() -> None:
    plan = plan_lookup(10, 10)  # 80 bits in coefficients of 45
    garbage = np.full(plan.coefficients, (1 << plan.plain_bits - 1) - 1, dtype=np.int64)
    with pytest.raises(IntegrityError, match="no record"):
        from_coefficients(garbage, plan)
    with pytest.raises(ValueError, match="bytes"):
        to_coefficients(np.zeros((2, 11), dtype=np.uint8), plan)


def test_rows_come_back() -> None:
    rows = [("Tea", 20, 1.5, True, None), ("Söl\0", -3, float("nan"), False, ""), ("x", 2**60, 0.1, None, "long" * 9)]
    records = encode_rows(rows)
    assert len(records) == 3
    columns = ("a", "b", "c", "d", "e")
    found = [tuple(decode_row(one.tobytes(), columns).values()) for one in records]
    assert found[0] == rows[0]
    assert found[1] == ("Söl\0", -3, None, False, "")
    assert found[2] == ("x", str(2**60), 0.1, None, "long" * 9)
    assert decode_row(encode_rows([[datetime.date(2020, 2, 3)]])[0].tobytes(), ["day"]) == {"day": "2020-02-03"}


@pytest.mark.parametrize("record", [b"[1,2]", b"\xff\xff", b"", b"{}", b"[" * 5000, b"[1"])
def test_what_is_no_row_is_refused(record: bytes) -> None:
    with pytest.raises(IntegrityError, match="no row"):
        decode_row(record, ("only",))


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError):
        encode_rows([])
