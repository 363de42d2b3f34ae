"""Composite signatures: against the draft's own vectors, against the written format, and against cutting apart."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from wardline.core import IntegrityError
from wardline.crypto import SigningKey, VerifyingKey, unsafe_export_private_bytes

VECTORS = Path(__file__).parents[2] / "vectors"
LABEL = b"COMPSIG-MLDSA65-Ed25519-SHA512"

decode = base64.b64decode


@pytest.fixture(scope="module")
def key():
    return SigningKey.generate()


def written_format(message: bytes, context: bytes) -> bytes:
    """The message representative as docs/formats.md states it, apart from the code under test."""
    return (
        b"CompositeAlgorithmSignatures2025" + LABEL + bytes([len(context)]) + context + hashlib.sha512(message).digest()
    )


def test_the_published_vector_of_the_draft_verifies():
    vector = json.loads((VECTORS / "composite-signature-draft.json").read_text())
    public, message, context = decode(vector["pk"]), decode(vector["m"]), decode(vector["ctx"])
    key = VerifyingKey(public)
    key.verify(message, decode(vector["s"]), context=b"")
    key.verify(message, decode(vector["sWithContext"]), context=context)
    for signature, wrong in ((vector["s"], context), (vector["sWithContext"], b"")):
        with pytest.raises(IntegrityError, match="does not match"):
            key.verify(message, decode(signature), context=wrong)
    assert SigningKey.from_private_bytes(decode(vector["sk"])).verifying_key.public_bytes == public


@pytest.mark.parametrize(
    "case",
    json.loads((VECTORS / "composite-signatures.json").read_text())["cases"],
    ids=lambda case: case["name"],
)
def test_vectors(case):
    vector = json.loads((VECTORS / "composite-signatures.json").read_text())
    key = VerifyingKey(decode(vector["public_key"]))
    message, context = decode(vector["message"]), decode(vector["context"])
    if case["valid"]:
        assert key.verify(message, decode(case["signature"]), context=context) is None
    else:
        with pytest.raises(IntegrityError):
            key.verify(message, decode(case["signature"]), context=context)


def test_a_signature_is_what_the_written_format_says(key):
    signature = key.sign(b"message", context=b"use")
    public = key.verifying_key.public_bytes
    assert (len(signature), len(public), len(unsafe_export_private_bytes(key))) == (3309 + 64, 1952 + 32, 32 + 32)
    representative = written_format(b"message", b"use")
    MLDSA65PublicKey.from_public_bytes(public[:1952]).verify(signature[:3309], representative, LABEL)
    Ed25519PublicKey.from_public_bytes(public[1952:]).verify(signature[3309:], representative)


def test_the_written_format_made_by_hand_is_accepted(key):
    private = unsafe_export_private_bytes(key)
    representative = written_format(b"message", b"use")
    signature = MLDSA65PrivateKey.from_seed_bytes(private[:32]).sign(representative, LABEL)
    signature += Ed25519PrivateKey.from_private_bytes(private[32:]).sign(representative)
    key.verifying_key.verify(b"message", signature, context=b"use")


@pytest.mark.crosscheck
def test_an_independent_implementation_of_ml_dsa_agrees(key):
    peer = pytest.importorskip("dilithium_py.ml_dsa").ML_DSA_65
    private, public = unsafe_export_private_bytes(key), key.verifying_key.public_bytes
    representative = written_format(b"message", b"use")

    signature = key.sign(b"message", context=b"use")
    assert peer.verify(public[:1952], representative, signature[:3309], ctx=LABEL)
    assert not peer.verify(public[:1952], representative, signature[:3309], ctx=b"")
    assert not peer.verify(public[:1952], representative + b".", signature[:3309], ctx=LABEL)

    peer_public, peer_private = peer.key_derive(private[:32])
    assert peer_public == public[:1952]
    foreign = peer.sign(peer_private, representative, ctx=LABEL)
    foreign += Ed25519PrivateKey.from_private_bytes(private[32:]).sign(representative)
    key.verifying_key.verify(b"message", foreign, context=b"use")


def test_a_verifier_of_one_part_is_fooled_where_the_composite_is_not(key):
    """Whoever broke one scheme can forge for a verifier of that scheme alone, not for ours."""
    public = key.verifying_key.public_bytes
    private = unsafe_export_private_bytes(key)
    forged_message = written_format(b"forged", b"use")

    broken_ed25519 = bytes(3309) + Ed25519PrivateKey.from_private_bytes(private[32:]).sign(forged_message)
    Ed25519PublicKey.from_public_bytes(public[1952:]).verify(broken_ed25519[3309:], forged_message)  # fooled
    broken_mldsa = MLDSA65PrivateKey.from_seed_bytes(private[:32]).sign(forged_message, LABEL) + bytes(64)
    MLDSA65PublicKey.from_public_bytes(public[:1952]).verify(broken_mldsa[:3309], forged_message, LABEL)  # fooled

    for forgery in (broken_ed25519, broken_mldsa):
        with pytest.raises(IntegrityError, match="does not match"):
            key.verifying_key.verify(b"forged", forgery, context=b"use")


def test_a_part_cut_out_is_no_signature_of_the_message_by_itself(key):
    signature, public = key.sign(b"message", context=b"use"), key.verifying_key.public_bytes
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(public[1952:]).verify(signature[3309:], b"message")
    for context in (b"", b"use"):
        with pytest.raises(InvalidSignature):
            MLDSA65PublicKey.from_public_bytes(public[:1952]).verify(signature[:3309], b"message", context)


def test_a_context_may_not_run_into_the_message(key):
    with pytest.raises(ValueError, match="255"):
        key.sign(b"", context=bytes(256))
    with pytest.raises(ValueError, match="255"):
        key.verifying_key.verify(b"", bytes(3373), context=bytes(256))
    signature = key.sign(b"message", context=b"use a")
    for context in (b"use", b"use a\0", b"", b"use b"):
        with pytest.raises(IntegrityError, match="does not match"):
            key.verifying_key.verify(b"message", signature, context=context)
    key.verifying_key.verify(b"message", signature, context=b"use a")


@pytest.mark.parametrize("size", [0, 32, 1952, 1983, 1985])
def test_a_public_key_of_another_length_is_none(size):
    with pytest.raises(ValueError, match="1984"):
        VerifyingKey(bytes(size))
