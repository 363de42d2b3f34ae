"""What a frame is tied to: a session, a request, a model; and what a reader takes at most."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self, final

from wardline.core import SecureRandom
from wardline.core.one_place import OnePlace

ID_BYTES, KEY_BYTES, DIGEST_BYTES, TAG_BYTES = 16, 32, 32, 32
NO_MODEL = bytes(DIGEST_BYTES)
MOST_PARTS = 1 << 20


@final
class Session(OnePlace):
    """The key with which a client and a server authenticate their frames to each other.

    The server draws it and gives it to the client over mutual TLS, once. It names no person and encrypts nothing.

    Args:
        secret: 16 bytes of name and 32 bytes of key.

    Raises:
        ValueError: for bytes of another length.

    Guarantee: who does not know the key makes no frame that a reader with this session takes, unless HMAC-SHA256 is
    broken. TLS already keeps outsiders from changing what is on the wire. The tag guards what comes after: a frame
    that was put together from chunks, lay in a queue or cache or passed through a proxy that ends TLS is taken for this
    session, parameters, model, request and place in it, or not at all. Both ends know the key, so a tag proves nothing
    to a third one, and a reader still has to refuse a request that it has seen (a tag does not expire).
    """

    __slots__ = ("_id", "_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != ID_BYTES + KEY_BYTES:
            raise ValueError(f"the secret of a session has {ID_BYTES + KEY_BYTES} bytes")
        self._id = bytes(secret[:ID_BYTES])
        self._key = bytes(secret[ID_BYTES:])

    @classmethod
    def generate(cls) -> Self:
        """A new one."""
        return cls(SecureRandom().bytes(ID_BYTES + KEY_BYTES))

    @property
    def id(self) -> bytes:
        """Its name, 16 bytes; no secret."""
        return self._id

    def tag(self, content: bytes | bytearray | memoryview) -> bytes:
        """The 32 bytes that authenticate `content`."""
        return hmac.digest(self._key, content, hashlib.sha256)

    def accepts(self, content: bytes | bytearray | memoryview, tag: bytes | memoryview) -> bool:
        """Whether `tag` is that of `content`; takes as long whatever the answer."""
        return hmac.compare_digest(self.tag(content), tag)

    def __repr__(self) -> str:
        return f"Session({self._id.hex()})"


def unsafe_session_secret(session: Session) -> bytes:
    """The 48 bytes that make the session: for the message over mutual TLS that opens it, and nothing else."""
    return session._id + session._key


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a frame belongs to.

    Attributes:
        request: 16 bytes, fresh for every request; its reply has the same.
        model: SHA-256 of the model that the request is for, 32 bytes; 32 zeros for keys, which are for none.
        part: which frame of the request this is, from 0.
        parts: how many frames the request has, at most 2^20.

    Raises:
        ValueError: for anything else.
    """

    request: bytes
    model: bytes = NO_MODEL
    part: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        if len(self.request) != ID_BYTES or len(self.model) != DIGEST_BYTES:
            raise ValueError(f"a request is named by {ID_BYTES} bytes and a model by {DIGEST_BYTES}")
        if not 0 <= self.part < self.parts <= MOST_PARTS:
            raise ValueError(f"a frame is one of at most {MOST_PARTS} parts, counted from 0")

    @classmethod
    def fresh(cls, *, model: bytes = NO_MODEL, part: int = 0, parts: int = 1) -> Self:
        """For a new request."""
        return cls(request=SecureRandom().bytes(ID_BYTES), model=model, part=part, parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a reader takes at most. Everything is compared with it before memory is taken.

    Attributes:
        frame_bytes: of one frame.
        ciphertexts: in one frame.
        galois_keys: in one frame.

    A frame of `b` bytes makes residues of at most `32 b / w` bytes, for the narrowest width `w` of bits in it, and
    reading it takes at most four times as much again for a while.
    """

    frame_bytes: int = 256 * 1024 * 1024
    ciphertexts: int = 4096
    galois_keys: int = 128

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1")
