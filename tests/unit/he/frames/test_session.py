"""Sessions and bindings: what a frame is tied to."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle

import pytest

from wardline.he.frames.session import Binding, Limits, Session, unsafe_session_secret

SECRET = bytes(range(48))


def test_a_tag_is_hmac_sha256_under_the_session_s_key() -> None:
    session = Session(SECRET)
    tag = hmac.new(SECRET[16:], b"content", hashlib.sha256).digest()
    assert session.tag(b"content") == tag
    assert session.accepts(b"content", tag)
    assert not session.accepts(b"content", bytes(32))
    assert not session.accepts(b"content", tag[:31])
    assert not session.accepts(b"other", tag)


def test_a_session_keeps_its_key_to_itself() -> None:
    session = Session(SECRET)
    assert repr(session) == f"Session({SECRET[:16].hex()})"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            leak(session)
    assert unsafe_session_secret(session) == SECRET
    assert Session.generate().id != Session.generate().id


@pytest.mark.parametrize("size", [0, 47, 49])
def test_a_secret_has_its_length(size: int) -> None:
    with pytest.raises(ValueError, match="48"):
        Session(bytes(size))


@pytest.mark.parametrize(
    "wrong",
    [
        {"request": bytes(15)},
        {"model": bytes(31)},
        {"part": 1, "parts": 1},
        {"part": -1},
        {"parts": 0},
        {"parts": (1 << 20) + 1},
    ],
    ids=str,
)
def test_a_binding_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Binding(**{"request": bytes(16), **wrong})


def test_requests_are_fresh() -> None:
    assert Binding.fresh().request != Binding.fresh().request


@pytest.mark.parametrize("name", ["frame_bytes", "ciphertexts", "galois_keys"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_limits_are_whole_numbers_above_0(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})
