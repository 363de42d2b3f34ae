"""Keys, questions and replies of private lookups as files.

A file is eight bytes of magic, the length of a header as four bytes, the header in canonical JSON, and one frame. Keys
and questions carry the secret of their frame's session in the header; a reply is in the session of its question, so
that nobody reads it as the reply to another one. That guards against accidents, not against whoever has the files:
what keeps a question secret is its encryption alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from wardline.core import canonical_json, write_atomic
from wardline.core.errors import DataError, IntegrityError, placed
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKeys
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import read_evaluation_keys, write_evaluation_keys
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Session, unsafe_session_secret
from wardline.he.lookup.answering import check_keys, check_question
from wardline.he.lookup.database import PublicDatabase
from wardline.he.lookup.plan import LEFT_OUT

Content: TypeAlias = Literal["keys", "question", "reply"]

MAGIC = b"WLHELKP\x01"

_LENGTH = struct.Struct("<I")
_MOST_HEADER_BYTES = 1024
_SIZES = {"database": 32, "request": 16, "session": 48}
_REPLY_SIZES = {"database": 32, "request": 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a reply must belong to: the session and the name of its question."""

    session: Session
    binding: Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcel:
    binding: Binding
    session: Session | None
    frame: memoryview


def write_keys(path: Path, public: PublicDatabase, keys: SeededKeys) -> None:
    """Write a client's public keys, which go to the server once.

    Raises:
        WorkspaceError: if they cannot be written.
    """
    session, binding = Session.generate(), Binding.fresh(model=public.digest)
    frame = write_evaluation_keys(keys, session=session, binding=binding)
    _write(path, "keys", frame, binding=binding, session=session)


def read_keys(path: Path, public: PublicDatabase) -> SeededKeys:
    """Read what `write_keys` wrote for this database.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else.
    """
    parcel = _read(path, public, "keys")
    assert parcel.session is not None
    with placed(path):
        _, keys = read_evaluation_keys(
            parcel.frame,
            parameters=public.plan.parameters,
            session=parcel.session,
            limits=public.limits,
            binding=parcel.binding,
        )
    check_keys(keys, public.plan)
    return keys


def write_question(path: Path, public: PublicDatabase, question: SeededColumns) -> None:
    """Write a question; the client keeps it until it has read the reply.

    Raises:
        WorkspaceError: if it cannot be written.
    """
    session, binding = Session.generate(), Binding.fresh(model=public.digest)
    frame = write_columns(question, session=session, binding=binding, dropped_bits=LEFT_OUT)
    _write(path, "question", frame, binding=binding, session=session)


def read_question(path: Path, public: PublicDatabase) -> tuple[Asked, SeededColumns]:
    """Read what `write_question` wrote for this database.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else.
    """
    parcel = _read(path, public, "question")
    assert parcel.session is not None
    with placed(path):
        _, question = read_columns(
            parcel.frame,
            parameters=public.plan.parameters,
            session=parcel.session,
            limits=public.limits,
            binding=parcel.binding,
        )
    check_question(question, public.plan)
    return Asked(session=parcel.session, binding=parcel.binding), question


def write_reply(path: Path, reply: Ciphertext, *, asked: Asked) -> None:
    """Write the reply to a question.

    Raises:
        WorkspaceError: if it cannot be written.
    """
    frame = write_replies([reply], session=asked.session, binding=asked.binding)
    _write(path, "reply", frame, binding=asked.binding, session=None)


def read_reply(path: Path, public: PublicDatabase, *, asked: Asked) -> Ciphertext:
    """Read what `write_reply` wrote to this question.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else, or the reply to another question.
    """
    parcel = _read(path, public, "reply")
    with placed(path):
        _, replies = read_replies(
            parcel.frame,
            parameters=public.plan.parameters,
            session=asked.session,
            limits=public.limits,
            binding=asked.binding,
        )
    reply = replies[0]
    if len(replies) != 1 or len(reply.parts) != 2 or reply.limbs != public.plan.reply_limbs:
        raise IntegrityError("the file holds something else than one reply of this database", where=str(path))
    if reply.form != "coefficients":
        raise IntegrityError("the reply is in another form than a lookup's", where=str(path))
    return reply


def _write(path: Path, content: Content, frame: bytes, *, binding: Binding, session: Session | None) -> None:
    value = {"content": content, "database": binding.model.hex(), "request": binding.request.hex()}
    if session is not None:
        value["session"] = unsafe_session_secret(session).hex()
    header = canonical_json(value)
    write_atomic(path, b"".join((MAGIC, _LENGTH.pack(len(header)), header, frame)))


def _read(path: Path, public: PublicDatabase, content: Content) -> _Parcel:
    most = len(MAGIC) + _LENGTH.size + _MOST_HEADER_BYTES + public.limits.frame_bytes
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise DataError(f"cannot read the file: {reason}", where=str(path)) from error
    at = len(MAGIC) + _LENGTH.size
    if not data.startswith(MAGIC) or not at <= len(data) <= most:
        raise IntegrityError("this is no file of a private lookup", where=str(path))
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    if length > _MOST_HEADER_BYTES:
        raise IntegrityError("the file's header is too long", where=str(path))
    with placed(path):
        value = parse_canonical(data[at : at + length], what="the header", max_bytes=_MOST_HEADER_BYTES, max_depth=1)
    sizes = _REPLY_SIZES if content == "reply" else _SIZES
    found = value.get("content") if isinstance(value, dict) else None
    if found in ("keys", "question", "reply") and found != content:
        raise IntegrityError(f"the file holds a lookup's {found}, and its {content} is wanted", where=str(path))
    with placed(path):
        fields = _fields(exact_object(value, frozenset({"content", *sizes}), what="the header"), sizes, str(path))
    if found != content:
        raise IntegrityError("a field of the file's header is wrong", where=str(path))
    if fields["database"] != public.digest:
        raise IntegrityError(
            "the file belongs to another database",
            where=str(path),
            hint="give the public description that it was made with",
        )
    session = Session(fields["session"]) if "session" in fields else None
    binding = Binding(request=fields["request"], model=fields["database"])
    return _Parcel(binding=binding, session=session, frame=memoryview(data)[at + length :])


def _fields(value: dict[str, Any], sizes: dict[str, int], where: str) -> dict[str, bytes]:
    found = {}
    for name, size in sizes.items():
        try:
            found[name] = bytes.fromhex(value[name])
        except (ValueError, TypeError):
            raise IntegrityError("a field of the file's header is wrong", where=where) from None
        if len(found[name]) != size or found[name].hex() != value[name]:
            raise IntegrityError("a field of the file's header is wrong", where=where)
    return found
