"""Envelopes follow DSSE, and strict parsing leaves no byte without meaning."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, canonical_json
from wardline.crypto import (
    MAX_PAYLOAD_BYTES,
    SigningKey,
    decode_base64,
    encode_base64,
    open_envelope,
    parse_canonical,
    pre_authentication_encoding,
    seal,
    unsafe_read_payload,
)

KEY = SigningKey.generate()
USE = {"payload_type": "text/plain", "context": b"use"}


def test_the_encoding_is_that_of_the_dsse_protocol():
    """The example of secure-systems-lab/dsse, protocol.md, "Test Vectors"."""
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication_encoding("é", b"") == "DSSEv1 2 é 0 ".encode()


def test_type_and_payload_cannot_run_into_each_other():
    assert pre_authentication_encoding("a", b"b 1 c") != pre_authentication_encoding("a 5 b", b"c")


def test_an_envelope_is_what_the_written_format_says():
    envelope = seal(b"hello", key=KEY, **USE)
    value = json.loads(envelope)
    assert set(value) == {"payload", "payloadType", "signatures"}
    assert (base64.b64decode(value["payload"]), value["payloadType"]) == (b"hello", "text/plain")
    (entry,) = value["signatures"]
    assert entry["keyid"] == KEY.id
    KEY.verifying_key.verify(b"DSSEv1 10 text/plain 5 hello", base64.b64decode(entry["sig"]), context=b"use")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    payload=st.binary(max_size=300), kind=st.text(st.characters(codec="utf-8"), max_size=20), use=st.binary(max_size=20)
)
def test_what_was_sealed_is_what_comes_out(payload, kind, use):
    envelope = seal(payload, payload_type=kind, key=KEY, context=use)
    assert open_envelope(envelope, payload_type=kind, key=KEY.verifying_key, context=use) == payload
    assert unsafe_read_payload(envelope, payload_type=kind) == payload
    with pytest.raises(IntegrityError, match="does not match"):
        open_envelope(envelope, payload_type=kind, key=KEY.verifying_key, context=use + b".")
    with pytest.raises(IntegrityError, match="another type"):
        open_envelope(envelope, payload_type=kind + ".", key=KEY.verifying_key, context=use)


def test_the_unsafe_reader_checks_no_signature_and_the_safe_one_does():
    value = json.loads(seal(b"hello", key=KEY, **USE))
    value["payload"] = encode_base64(b"hallo")
    forged = canonical_json(value)
    assert unsafe_read_payload(forged, payload_type="text/plain") == b"hallo"
    with pytest.raises(IntegrityError, match="does not match"):
        open_envelope(forged, key=KEY.verifying_key, **USE)


def test_sizes_are_bounded_both_ways():
    largest = bytes(MAX_PAYLOAD_BYTES)
    assert open_envelope(seal(largest, key=KEY, **USE), key=KEY.verifying_key, **USE) == largest
    with pytest.raises(ValueError, match="at most"):
        seal(largest + b"\0", key=KEY, **USE)
    value = json.loads(seal(b"", key=KEY, **USE))
    value["payload"] = encode_base64(largest + b"\0")
    with pytest.raises(IntegrityError, match="payload has more than"):
        open_envelope(canonical_json(value), key=KEY.verifying_key, **USE)
    with pytest.raises(IntegrityError, match="envelope has more than"):
        open_envelope(b'"' + b"a" * (2 * MAX_PAYLOAD_BYTES) + b'"', key=KEY.verifying_key, **USE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
texts = st.builds(json.dumps, json_values, ensure_ascii=st.booleans()).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(st.binary(max_size=60), texts))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"[" * 64 + b"]" * 64)
@example(b"9" * 5000)
@example(b"1" + b"0" * 400)
@example(b"1e999")
@example(b"-0")
@example(b"0.0")
@example(b"NaN")
@example(b"Infinity")
@example(b'"\\ud800"')
@example(b'{"\\ud800":1}')
@example(b'"\xed\xa0\x80"')
@example(b'{"a":1,"a":1}')
@example(b'{"b":1,"a":1}')
@example(b"\xef\xbb\xbf1")
@example("1".encode("utf-16"))
@example(b"1\n")
@example(b"")
@example(b'"\\')
@example(b'"\\"[[[["')
def test_canonical_json_is_accepted_and_nothing_else(data):
    try:
        value = parse_canonical(data, what="it", max_bytes=1_000_000)
    except IntegrityError:
        return
    assert canonical_json(value) == data


@settings(max_examples=300, deadline=None, derandomize=True)
@given(json_values)
@example(1e17)
@example(-1e300)
@example(5e-324)
@example(2.0**53)
def test_what_canonical_json_writes_can_be_read(value):
    try:
        data = canonical_json(value)
    except ValueError:
        return
    again = parse_canonical(data, what="it", max_bytes=1_000_000)
    assert canonical_json(again) == data


def test_nesting_is_bounded_and_brackets_in_text_do_not_count():
    assert parse_canonical(b"[" * 64 + b"]" * 64, what="it", max_bytes=200) is not None
    with pytest.raises(IntegrityError, match="nested"):
        parse_canonical(b"[" * 65 + b"]" * 65, what="it", max_bytes=200)
    text = json.dumps("[" * 500 + '\\"' + "{" * 500).encode()
    assert parse_canonical(text, what="it", max_bytes=5000)
    assert parse_canonical(b"[" + b"[]," * 500 + b"[]]", what="it", max_bytes=5000, max_depth=2)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.text(max_size=12), st.text("AQgw=-_/+ \n", max_size=9), st.none(), st.integers(), st.binary(max_size=8)
    )
)
@example("QQ==")
@example("QR==")
@example("QQ=")
@example("QQ")
@example("QQ==\n")
@example("=")
@example("QQ==QQ==")
def test_base64_has_one_spelling(text):
    try:
        data = decode_base64(text, what="it")
    except IntegrityError:
        return
    assert base64.b64encode(data).decode() == text


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "payload": json_values | st.just("aGVsbG8="),
            "payloadType": json_values | st.just("text/plain"),
            "signatures": json_values
            | st.lists(
                st.fixed_dictionaries(
                    {}, optional={"keyid": json_values | st.just(KEY.id), "sig": json_values | st.just("AAAA")}
                ),
                max_size=2,
            ),
        },
    )
)
def test_any_envelope_is_refused_with_the_one_error(value):
    try:
        data = canonical_json(value)
    except ValueError:
        return
    with pytest.raises(IntegrityError):
        open_envelope(data, key=KEY.verifying_key, **USE)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_the_one_error(data):
    with pytest.raises(IntegrityError):
        open_envelope(data, key=KEY.verifying_key, **USE)
