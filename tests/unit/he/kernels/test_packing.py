"""Bit packing: the stream by its definition, and every malformed one refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core.errors import IntegrityError
from wardline.he.kernels.packing import MOST_BITS, pack, packed_bytes, unpack


def stream(values: list[int], bits: int) -> bytes:
    whole = sum(value << (place * bits) for place, value in enumerate(values))
    return whole.to_bytes((len(values) * bits + 7) // 8, "little")


@pytest.mark.parametrize("bits", range(1, MOST_BITS + 1))
def test_every_width_by_definition(bits: int) -> None:
    generator = np.random.default_rng(bits)
    for count in (0, 1, 7, 64, 131):
        values = generator.integers(0, 1 << bits, count, dtype=np.uint64)
        values[:1] = (1 << bits) - 1
        data = pack(values, bits)
        assert data == stream([int(one) for one in values], bits)
        found = unpack(data, count, bits=bits)
        assert found.dtype == (np.uint32 if bits <= 32 else np.uint64)
        assert (found == values).all()
        if bits <= 32:
            assert pack(values.astype(np.uint32), bits) == data


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, MOST_BITS), st.data())
def test_there_and_back(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=70))
    packed = pack(np.array(values, dtype=np.uint64), bits)
    assert unpack(packed, len(values), bits=bits).tolist() == values


@settings(deadline=None)  # the first call compiles
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(1, MOST_BITS), st.integers(1, 1 << MOST_BITS))
def test_hostile_bytes_are_what_pack_would_have_written_or_refused(
    data: bytes, count: int, bits: int, bound: int
) -> None:
    bound = min(bound, 1 << bits)
    try:
        found = unpack(data, count, bits=bits, bound=bound)
    except IntegrityError:
        return
    assert all(int(one) < bound for one in found)
    assert pack(found, bits) == data


def test_each_fault_is_told() -> None:
    data = pack(np.array([5, 6, 7], dtype=np.uint32), 3)
    assert len(data) == packed_bytes(3, 3) == 2
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(IntegrityError, match="bytes"):
            unpack(wrong, 3, bits=3)
    for bit in range(1, 8):
        with pytest.raises(IntegrityError, match="after the last"):
            unpack(bytes([data[0], data[1] | 1 << bit]), 3, bits=3)
    assert unpack(data, 3, bits=3, bound=8).tolist() == [5, 6, 7]
    with pytest.raises(IntegrityError, match="bound"):
        unpack(data, 3, bits=3, bound=7)


def test_bad_arguments_are_refused() -> None:
    for bits in (0, 63):
        with pytest.raises(ValueError, match="bits"):
            pack(np.zeros(3, dtype=np.uint32), bits)
    with pytest.raises(ValueError, match="more than 3 bits"):
        pack(np.array([1, 8], dtype=np.uint32), 3)
    with pytest.raises(TypeError, match="unsigned"):
        pack(np.array([1, 8]), 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count"):
        unpack(b"", -1, bits=3)
    for bound in (0, 9):
        with pytest.raises(ValueError, match="bound"):
            unpack(b"", 0, bits=3, bound=bound)
