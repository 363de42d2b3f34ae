"""Control messages: one spelling each, and nothing else is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.core import IntegrityError
from wardline.serve.scoring.messages import (
    OpenSession,
    Score,
    SessionOpened,
    UploadKeys,
    keys_taken,
    read_keys_taken,
)

MESSAGES = [
    OpenSession(model=bytes(32), keys=b"\1" * 32),
    SessionOpened(secret=b"\2" * 48, keys_known=True, rows_left=5, seconds=60),
    UploadKeys(session=b"\3" * 16),
    Score(session=bytes(16), model=bytes(32), request=b"\4" * 16, rows=7),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_they_are_read_as_they_were_written(message: Any) -> None:
    data = message.to_bytes()
    assert type(message).from_bytes(data) == message
    for broken in (b"", data + b" ", data[:-1], data.replace(b":", b": ", 1), data.replace(b'"', b'"x', 1), b"[]"):
        with pytest.raises(IntegrityError):
            type(message).from_bytes(broken)
    assert read_keys_taken(keys_taken(bytes(32))) == bytes(32)


@given(data=st.binary(max_size=300))
@pytest.mark.parametrize(
    "read",
    [OpenSession.from_bytes, SessionOpened.from_bytes, Score.from_bytes, read_keys_taken],
    ids=["open", "opened", "score", "keys"],
)
def test_noise_is_refused(read: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(data)


@pytest.mark.parametrize("rows", [b"0", b"-1", b"4294967297", b"1.5", b"true", b'"1"', b"1e400"])
def test_counts_are_counts(rows: bytes) -> None:
    data = MESSAGES[3].to_bytes().replace(b'"rows":7', b'"rows":' + rows)
    with pytest.raises(IntegrityError):
        Score.from_bytes(data)


def test_the_key_of_a_session_is_not_printed() -> None:
    assert "02" not in repr(MESSAGES[1])
    assert "\\x02" not in repr(MESSAGES[1])
