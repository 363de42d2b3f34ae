"""Signed envelopes: DSSE v1 with exactly one composite signature and exactly one spelling.

DSSE (Dead Simple Signing Envelope, secure-systems-lab/dsse, protocol 1.0.2) signs the payload together with
its type, so that a payload signed as one thing is not accepted as another. Where DSSE leaves a choice,
this module does not: standard base64 only, canonical JSON only, one signature only. A general DSSE
verifier reads these envelopes; envelopes by others are refused unless they happen to be spelled this way.
"""

from __future__ import annotations

from wardline.core import IntegrityError, canonical_json
from wardline.crypto.keys import SigningKey, VerifyingKey
from wardline.crypto.strict import decode_base64, encode_base64, exact_object, parse_canonical

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
_MAX_FRAME_BYTES = 16_384  # everything in the envelope that is not payload: the signature takes 4.5 kB

_ENVELOPE_KEYS = frozenset({"payload", "payloadType", "signatures"})
_SIGNATURE_KEYS = frozenset({"keyid", "sig"})


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: type and payload, each behind its length, so that neither can run into the other."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, *, payload_type: str, key: SigningKey, context: bytes) -> bytes:
    """Sign a payload and put it into an envelope.

    Args:
        payload: at most 4 MiB.
        payload_type: what it is, a media type.
        key: the signer's key.
        context: the use, at most 255 bytes; an envelope for one use is none for another.

    Raises:
        ValueError: for a payload or context that is too long.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload has at most {MAX_PAYLOAD_BYTES} bytes")
    signature = key.sign(pre_authentication_encoding(payload_type, payload), context=context)
    return canonical_json(
        {
            "payload": encode_base64(payload),
            "payloadType": payload_type,
            "signatures": [{"keyid": key.id, "sig": encode_base64(signature)}],
        }
    )


def open_envelope(envelope: bytes, *, payload_type: str, key: VerifyingKey, context: bytes) -> bytes:
    """Check an envelope and return the payload that was signed.

    Args:
        envelope: all bytes of the envelope.
        payload_type: the type that the payload must have.
        key: the signer's public key, from a source that is not the envelope.
        context: the use that it must have been signed for.

    Raises:
        IntegrityError: unless the envelope is the canonical spelling of one payload of this type with
            exactly one signature, by this key, for this use.

    Guarantee:
        If it returns, the holder of `key` signed these very bytes as this type for this use, unless both
        ML-DSA-65 and Ed25519 are broken. Every byte of the envelope is covered: changing any of them
        leads to a refusal. (Two different valid *signatures* over one payload can exist.)
    """
    payload, kind, key_id, signature = _read(envelope)
    if kind != payload_type:
        raise IntegrityError("the envelope holds a payload of another type")
    # DSSE calls the key id a hint, and it decides nothing here: the signature is checked with the given key
    # whatever the id says. Comparing it closes the one field that the signature does not cover. Both sides
    # are public, so the comparison needs no constant time.
    if key_id != key.id:
        raise IntegrityError(
            "the envelope was signed with another key", hint="check that this is the signer's public key"
        )
    key.verify(pre_authentication_encoding(kind, payload), signature, context=context)
    return payload


def unsafe_read_payload(envelope: bytes, *, payload_type: str) -> bytes:
    """The payload of an envelope, *without checking who signed it*: for showing it, never for believing it.

    Raises:
        IntegrityError: if the envelope is malformed or of another type.
    """
    payload, kind, _, _ = _read(envelope)
    if kind != payload_type:
        raise IntegrityError("the envelope holds a payload of another type")
    return payload


def _read(envelope: bytes) -> tuple[bytes, str, str, bytes]:
    limit = 4 * ((MAX_PAYLOAD_BYTES + 2) // 3) + _MAX_FRAME_BYTES
    value = parse_canonical(envelope, what="the envelope", max_bytes=limit, max_depth=3)
    value = exact_object(value, _ENVELOPE_KEYS, what="the envelope")
    signatures = value["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise IntegrityError("the envelope must carry exactly one signature")
    entry = exact_object(signatures[0], _SIGNATURE_KEYS, what="the signature")
    kind, key_id = value["payloadType"], entry["keyid"]
    if not isinstance(kind, str) or not isinstance(key_id, str):
        raise IntegrityError("the type of the payload and the id of the key are text")
    payload = decode_base64(value["payload"], what="the payload")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise IntegrityError(f"the payload has more than {MAX_PAYLOAD_BYTES} bytes")
    return payload, kind, key_id, decode_base64(entry["sig"], what="the signature")
