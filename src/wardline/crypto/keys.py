"""Handles of keys. A signing key can sign; it cannot be printed, copied, pickled or sent anywhere."""

from __future__ import annotations

from typing import Self, final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

from wardline.core import digest_bytes
from wardline.core.one_place import OnePlace
from wardline.crypto.signatures import (
    MLDSA_SEED_BYTES,
    PRIVATE_BYTES,
    PUBLIC_BYTES,
    sign_composite,
    verify_composite,
)


@final
class VerifyingKey:
    """A composite public key.

    Args:
        public: ML-DSA-65 public key (1952 bytes) followed by the Ed25519 public key (32 bytes).

    Raises:
        ValueError: for bytes of another length.
    """

    __slots__ = ("_public",)

    def __init__(self, public: bytes) -> None:
        if len(public) != PUBLIC_BYTES:
            raise ValueError(f"a composite public key has {PUBLIC_BYTES} bytes, not {len(public)}")
        self._public = bytes(public)

    @property
    def public_bytes(self) -> bytes:
        """The 1984 bytes that it was made from."""
        return self._public

    @property
    def id(self) -> str:
        """Its fingerprint: SHA-256 of the public bytes, as 64 hexadecimal digits.

        Collision resistance is what matters here. Fingerprints are public, so comparing them needs no
        constant time.
        """
        return digest_bytes(self._public)

    def verify(self, message: bytes, signature: bytes, *, context: bytes) -> None:
        """Check a signature of a message for one use; returns nothing.

        Raises:
            IntegrityError: if it is not valid; see `wardline.crypto.signatures.verify_composite`.
            ValueError: for a context of more than 255 bytes.
        """
        verify_composite(self._public, signature, message=message, context=context)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyingKey) and self._public == other._public

    def __hash__(self) -> int:
        return hash(self._public)

    def __repr__(self) -> str:
        return f"VerifyingKey({self.id})"


@final
class SigningKey(OnePlace):
    """A handle of a composite private key.

    It signs and tells its public half. Pickling, copying and `to_json` raise, printing shows the
    fingerprint, and the only way to the secret is `unsafe_export_private_bytes`, which a search finds.

    Guarantee: no code path of this class puts secret bytes into text, logs, exceptions or files. It is a
    guard against accidents, not against hostile code in the same process, which can read its memory.
    """

    __slots__ = ("_ed25519", "_mldsa", "_verifying_key")

    def __init__(self, mldsa_key: MLDSA65PrivateKey, ed25519_key: Ed25519PrivateKey) -> None:
        self._mldsa = mldsa_key
        self._ed25519 = ed25519_key
        self._verifying_key = VerifyingKey(
            mldsa_key.public_key().public_bytes_raw() + ed25519_key.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> Self:
        """A fresh key. Both halves are drawn by OpenSSL's generator and used nowhere else.

        The draft forbids using a component key alone as well: that would allow cutting signatures apart.
        """
        return cls(MLDSA65PrivateKey.generate(), Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, private: bytes) -> Self:
        """The key of a 32-byte ML-DSA seed followed by a 32-byte Ed25519 seed.

        Raises:
            ValueError: for bytes of another length.
        """
        if len(private) != PRIVATE_BYTES:
            raise ValueError(f"a composite private key has {PRIVATE_BYTES} bytes")
        return cls(
            MLDSA65PrivateKey.from_seed_bytes(private[:MLDSA_SEED_BYTES]),
            Ed25519PrivateKey.from_private_bytes(private[MLDSA_SEED_BYTES:]),
        )

    @property
    def verifying_key(self) -> VerifyingKey:
        """Its public half."""
        return self._verifying_key

    @property
    def id(self) -> str:
        """The fingerprint of its public half."""
        return self._verifying_key.id

    def sign(self, message: bytes, *, context: bytes) -> bytes:
        """Sign a message for one use: 3373 bytes, different at each call (ML-DSA is hedged with fresh randomness).

        Raises:
            ValueError: for a context of more than 255 bytes.
        """
        return sign_composite(self._mldsa, self._ed25519, message=message, context=context)

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"


def unsafe_export_private_bytes(key: SigningKey) -> bytes:
    """The secret itself: 32-byte ML-DSA seed, then 32-byte Ed25519 seed. Whoever holds it can sign.

    Python cannot wipe memory: the bytes stay somewhere in the process until they happen to be overwritten.
    """
    return key._mldsa.private_bytes_raw() + key._ed25519.private_bytes_raw()
