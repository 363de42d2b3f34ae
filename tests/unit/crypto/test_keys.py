"""Handles of keys keep their secret."""

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest

from wardline.core import to_json
from wardline.crypto import SigningKey, VerifyingKey, unsafe_export_private_bytes


@pytest.fixture(scope="module")
def key():
    return SigningKey.generate()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_signing_key_cannot_be_pickled(key, protocol):
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(key, protocol)


@pytest.mark.parametrize(
    "way",
    [copy.copy, copy.deepcopy, lambda key: key.__getstate__(), lambda key: key.__reduce__()],
    ids=["copy", "deepcopy", "getstate", "reduce"],
)
def test_a_signing_key_cannot_be_copied(key, way):
    with pytest.raises(TypeError, match="copied"):
        way(key)


def test_a_signing_key_has_no_json_form_and_no_dict(key):
    with pytest.raises(TypeError, match="no JSON form"):
        to_json({"key": key})
    with pytest.raises(TypeError):
        vars(key)
    with pytest.raises(AttributeError):
        key.note = "x"


def test_no_text_of_a_signing_key_holds_its_secret(key):
    secret = unsafe_export_private_bytes(key)
    texts = (repr(key), str(key), f"{key}", "%s" % key, repr([key]), key.id)  # noqa: UP031 (one way more to print it)
    for text in texts:
        assert secret[:8].hex() not in text
        assert secret[32:40].hex() not in text
        assert repr(secret)[2:12] not in text
    assert repr(key) == f"SigningKey({key.id})"


def test_no_attribute_gives_raw_secret_bytes(key):
    secret = unsafe_export_private_bytes(key)
    for name in dir(key):
        if name.startswith("__"):
            continue
        value = getattr(key, name)
        assert not isinstance(value, bytes) or secret[:32] not in value


def test_the_exported_secret_makes_the_same_key(key):
    again = SigningKey.from_private_bytes(unsafe_export_private_bytes(key))
    assert again.verifying_key == key.verifying_key
    assert SigningKey.generate().verifying_key != key.verifying_key
    with pytest.raises(ValueError, match="64 bytes"):
        SigningKey.from_private_bytes(bytes(63))


def test_the_fingerprint_is_the_digest_of_the_public_bytes(key):
    public = key.verifying_key
    assert public.id == key.id == hashlib.sha256(public.public_bytes).hexdigest()
    assert public == VerifyingKey(public.public_bytes)
    assert len({public, VerifyingKey(public.public_bytes)}) == 1
    assert public != public.public_bytes
