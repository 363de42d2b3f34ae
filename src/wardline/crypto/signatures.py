"""Composite signatures: ML-DSA-65 and Ed25519 over one message, both required.

This is ``id-MLDSA65-Ed25519-SHA512`` of draft-ietf-lamps-pq-composite-sigs; its published test vectors are
among the tests. Whoever wants to forge must break a lattice problem *and* an elliptic curve: the first
protects against a quantum computer, the second against a flaw in the younger scheme.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from wardline.core import IntegrityError

ALGORITHM = "id-MLDSA65-Ed25519-SHA512"
PREFIX = b"CompositeAlgorithmSignatures2025"
LABEL = b"COMPSIG-MLDSA65-Ed25519-SHA512"

MLDSA_SIGNATURE_BYTES = 3309
MLDSA_PUBLIC_BYTES = 1952
MLDSA_SEED_BYTES = 32
SIGNATURE_BYTES = MLDSA_SIGNATURE_BYTES + 64
PUBLIC_BYTES = MLDSA_PUBLIC_BYTES + 32
PRIVATE_BYTES = MLDSA_SEED_BYTES + 32

_MAX_CONTEXT_BYTES = 255


def message_representative(message: bytes, context: bytes) -> bytes:
    """What both component schemes sign: prefix, label, context and SHA-512 of the message.

    Args:
        message: the message, of any length.
        context: which use the signature is for, at most 255 bytes; a signature for one use is none for
            another.

    Raises:
        ValueError: for a longer context.
    """
    if len(context) > _MAX_CONTEXT_BYTES:
        raise ValueError(f"a context has at most {_MAX_CONTEXT_BYTES} bytes")
    return PREFIX + LABEL + bytes([len(context)]) + context + hashlib.sha512(message).digest()


def sign_composite(
    mldsa_key: MLDSA65PrivateKey, ed25519_key: Ed25519PrivateKey, *, message: bytes, context: bytes
) -> bytes:
    """Sign with both keys.

    Returns:
        The ML-DSA-65 signature (3309 bytes) followed by the Ed25519 signature (64 bytes).

    Raises:
        ValueError: for a context of more than 255 bytes.
    """
    representative = message_representative(message, context)
    return mldsa_key.sign(representative, LABEL) + ed25519_key.sign(representative)


def verify_composite(public: bytes, signature: bytes, *, message: bytes, context: bytes) -> None:
    """Check a composite signature; returns nothing, raises if it is not valid.

    Args:
        public: the composite public key, 1984 bytes.
        signature: the composite signature, 3373 bytes.
        message: the message.
        context: the use that the signature must be for.

    Raises:
        IntegrityError: if either component is missing or does not verify.
        ValueError: for a context of more than 255 bytes, or a public key of another length.

    Guarantee:
        Accepts only if the ML-DSA-65 *and* the Ed25519 component verify, so it is existentially unforgeable
        while either scheme is. A component cut out of a composite signature is no ML-DSA signature under
        any other context string, and its Ed25519 half signs a message that begins with the prefix. The
        composite is not *strongly* unforgeable: from two signatures of one message a third can be mixed,
        so a signature must not serve as an identifier.

    References:
        Ounsworth, Gray, Pala, Klaussner, Fluhrer, draft-ietf-lamps-pq-composite-sigs, sections "Sign",
        "Verify" and "EUF-CMA, SUF-CMA and Non-Separability"; NIST FIPS 204 (2024); RFC 8032 (2017).
    """
    if len(public) != PUBLIC_BYTES:
        raise ValueError(f"a composite public key has {PUBLIC_BYTES} bytes")
    representative = message_representative(message, context)
    if len(signature) != SIGNATURE_BYTES:
        raise IntegrityError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    # No constant time is needed below: a verifier handles public values only, and there is no secret that
    # its timing, or which of the two components it rejects first, could tell.
    try:
        mldsa_key = MLDSA65PublicKey.from_public_bytes(public[:MLDSA_PUBLIC_BYTES])
        mldsa_key.verify(signature[:MLDSA_SIGNATURE_BYTES], representative, LABEL)
        ed25519_key = Ed25519PublicKey.from_public_bytes(public[MLDSA_PUBLIC_BYTES:])
        ed25519_key.verify(signature[MLDSA_SIGNATURE_BYTES:], representative)
    except InvalidSignature as error:
        raise IntegrityError(
            "the signature does not match: the content was changed, or it was signed with another key",
            hint="check that this is the signer's public key, and get the file again from where it came",
        ) from error
