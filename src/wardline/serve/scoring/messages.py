"""What client and server say to each other beside frames: canonical JSON with exactly these keys, and nothing else.

The service is `wardline.scoring.v1.Scoring`. Its methods take and give bytes:

    Describe     {}                                     ->  the public model
    OpenSession  {"keys", "model"}                      ->  {"keys_known", "rows_left", "seconds", "secret"}
    UploadKeys   {"session"}, chunks of one frame       ->  {"keys"}
    Score        {"model", "request", "rows",           ->  chunks of frames, one frame for each that came
                  "session"}, chunks of frames
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wardline.core import canonical_json
from wardline.core.errors import IntegrityError
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.frames.session import DIGEST_BYTES, ID_BYTES, KEY_BYTES

SERVICE = "wardline.scoring.v1.Scoring"
DESCRIBE, OPEN_SESSION, UPLOAD_KEYS, SCORE = "Describe", "OpenSession", "UploadKeys", "Score"
REASON_KEY = "wardline-reason"
"""Under this name the reason of a refusal stands in the trailing metadata."""

CHUNK_BYTES = 1024 * 1024
MOST_MESSAGE_BYTES = 4096
"""Of a message that is not a chunk."""

MOST_ROWS = 1 << 32

Kind: TypeAlias = Callable[[object], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """A client's wish to be scored by a model, with keys.

    Attributes:
        model: digest of the public model that the client has.
        keys: digest of the evaluation keys that it will use.
    """

    model: bytes
    keys: bytes

    def to_bytes(self) -> bytes:
        """The message."""
        return canonical_json({"model": self.model.hex(), "keys": self.keys.hex()})

    @classmethod
    def from_bytes(cls, data: bytes) -> OpenSession:
        """Read `to_bytes` back, or raise `IntegrityError`."""
        return cls(**_fields(data, {"model": _hex(DIGEST_BYTES), "keys": _hex(DIGEST_BYTES)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """The server's answer.

    Attributes:
        secret: of the session: its name and the key that authenticates frames; for this client alone.
        keys_known: whether the server has the keys from an earlier session.
        rows_left: of the client's budget for this model.
        seconds: after which the session ends.
    """

    secret: bytes = field(repr=False)
    keys_known: bool
    rows_left: int
    seconds: int

    def to_bytes(self) -> bytes:
        """The message."""
        return canonical_json(
            {
                "secret": self.secret.hex(),
                "keys_known": self.keys_known,
                "rows_left": self.rows_left,
                "seconds": self.seconds,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> SessionOpened:
        """Read `to_bytes` back, or raise `IntegrityError`."""
        kinds = {"secret": _hex(ID_BYTES + KEY_BYTES), "keys_known": _flag, "rows_left": _count, "seconds": _count}
        return cls(**_fields(data, kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadKeys:
    """The first message of an upload.

    Attributes:
        session: its name, 16 bytes.
    """

    session: bytes

    def to_bytes(self) -> bytes:
        """The message."""
        return canonical_json({"session": self.session.hex()})

    @classmethod
    def from_bytes(cls, data: bytes) -> UploadKeys:
        """Read `to_bytes` back, or raise `IntegrityError`."""
        return cls(**_fields(data, {"session": _hex(ID_BYTES)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The first message of a request.

    Attributes:
        session: its name, 16 bytes.
        model: digest of the public model.
        request: 16 bytes, drawn by the client; charged once.
        rows: that are encrypted in the frames and charged, at least 1.
    """

    session: bytes
    model: bytes
    request: bytes
    rows: int

    def to_bytes(self) -> bytes:
        """The message."""
        return canonical_json(
            {
                "session": self.session.hex(),
                "model": self.model.hex(),
                "request": self.request.hex(),
                "rows": self.rows,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Score:
        """Read `to_bytes` back, or raise `IntegrityError`."""
        kinds = {"session": _hex(ID_BYTES), "model": _hex(DIGEST_BYTES), "request": _hex(ID_BYTES), "rows": _count}
        read = cls(**_fields(data, kinds))
        if read.rows < 1:
            raise IntegrityError("a request has at least one row")
        return read


def keys_taken(digest: bytes) -> bytes:
    """The answer to an upload: the digest of the keys that came."""
    return canonical_json({"keys": digest.hex()})


def read_keys_taken(data: bytes) -> bytes:
    """Read `keys_taken` back, or raise `IntegrityError`."""
    digest = _fields(data, {"keys": _hex(DIGEST_BYTES)})["keys"]
    assert isinstance(digest, bytes)
    return digest


def _fields(data: bytes, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    value = parse_canonical(data, what="the message", max_bytes=MOST_MESSAGE_BYTES, max_depth=1)
    value = exact_object(value, frozenset(kinds), what="the message")
    return {name: kind(value[name]) for name, kind in kinds.items()}


def _hex(size: int) -> Kind:
    def read(value: object) -> bytes:
        if not isinstance(value, str) or len(value) != 2 * size or set(value) - set("0123456789abcdef"):
            raise IntegrityError(f"a field of the message is not {size} bytes in hexadecimal")
        return bytes.fromhex(value)

    return read


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST_ROWS:
        raise IntegrityError("a field of the message is no count")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise IntegrityError("a field of the message is neither true nor false")
    return value
