"""Bits of rows as integers: by Python's own integers, and back through the packing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from wardline.he.kernels.packing import pack
from wardline.he.kernels.splitting import split_bits


@settings(deadline=None, max_examples=100)
@given(data=st.binary(min_size=1, max_size=300), bits=st.integers(8, 56))
def test_integers_are_the_bits_of_the_row(data: bytes, bits: int) -> None:
    found = split_bits(np.frombuffer(data, dtype=np.uint8)[None], bits)
    whole, count = int.from_bytes(data, "little"), -(-8 * len(data) // bits)
    assert found.tolist() == [[whole >> (bits * i) & ((1 << bits) - 1) for i in range(count)]]
    back = pack(found[0].astype(np.uint64), bits)
    assert back[: len(data)] == data
    assert not any(back[len(data) :])


def test_what_cannot_be_split_is_refused() -> None:
    rows = np.zeros((2, 3), dtype=np.uint8)
    for bits in (7, 57):
        with pytest.raises(ValueError, match="bits"):
            split_bits(rows, bits)
    with pytest.raises(ValueError, match="count"):
        split_bits(rows[0], 8)
    with pytest.raises(TypeError, match="bytes"):
        split_bits(rows.astype(np.int64), 8)
    assert split_bits(rows[:0], 10).shape == (0, 3)
