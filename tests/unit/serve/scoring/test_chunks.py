"""Frames in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError
from wardline.he.ciphertext import SeededKeys
from wardline.he.frames.evaluation_keys import write_evaluation_keys
from wardline.he.frames.layout import Kind
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.parameters import Parameters, find_primes
from wardline.serve.scoring.chunks import in_chunks, next_frame

PARAMETERS = Parameters(scheme="bfv", degree=1024, moduli=find_primes(1024, (25,)), plain_modulus=256)
FRAME = write_evaluation_keys(
    SeededKeys(parameters=PARAMETERS, public=np.zeros((2, 1, 1024), dtype=np.uint32)),
    session=Session.generate(),
    binding=Binding.fresh(),
)
LIMITS = Limits(frame_bytes=10_000)


@settings(deadline=None)
@given(chunk_bytes=st.integers(300, 9000), count=st.integers(1, 3))
def test_frames_come_together_again(chunk_bytes: int, count: int) -> None:
    stream = (piece for _ in range(count) for piece in in_chunks(FRAME, chunk_bytes=chunk_bytes))
    for _ in range(count):
        assert next_frame(stream, Kind.EVALUATION_KEYS, limits=LIMITS, chunk_bytes=chunk_bytes) == FRAME
    assert next_frame(stream, Kind.EVALUATION_KEYS, limits=LIMITS, chunk_bytes=chunk_bytes) is None


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [FRAME[:50]],
        [FRAME[:1000]],
        [FRAME[:1000], b""],
        [FRAME[:1000], FRAME[1000:1999], FRAME[1999:]],  # a short one in the middle
        [FRAME[:1000], FRAME[1000:2000], FRAME[2000:3000] + b"\0" * 800],  # more than was announced
        [FRAME],  # larger than a piece may be
        [b"\0" + FRAME[1:1000]],
    ],
    ids=range(8),
)
def test_other_pieces_are_refused(pieces: list[bytes]) -> None:
    with pytest.raises(IntegrityError):
        next_frame(iter(pieces), Kind.EVALUATION_KEYS, limits=LIMITS, chunk_bytes=1000)


def test_what_is_too_large_or_another_kind_is_refused_by_its_first_piece() -> None:
    stream = in_chunks(FRAME, chunk_bytes=1000)
    with pytest.raises(IntegrityError, match="at most"):
        next_frame(stream, Kind.EVALUATION_KEYS, limits=Limits(frame_bytes=2000), chunk_bytes=1000)
    assert next(stream) == FRAME[1000:2000], "the second piece was not asked for"
    with pytest.raises(IntegrityError, match="another kind"):
        next_frame(in_chunks(FRAME, chunk_bytes=1000), Kind.COLUMNS, limits=LIMITS, chunk_bytes=1000)
