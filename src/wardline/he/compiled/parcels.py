"""Keys, encrypted rows and encrypted scores as files, for those who encrypt on one machine and send from another.

A parcel is eight bytes of magic, the length of a header as four bytes, the header in canonical JSON, and frames. The
frames need a session; its secret stands in the header. It guards against accidents, not against whoever has the file:
what keeps a parcel's content secret is its encryption alone. The session's name is that of the key that the content was
encrypted with, so that a mixed-up key is noticed: what it decrypts to would look like scores.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from wardline.core import SecureRandom, canonical_json, write_atomic
from wardline.core.errors import DataError, IntegrityError, KeyAccessError, placed
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.ciphertext import Ciphertext, SeededColumns, SeededKeys
from wardline.he.compiled.public_model import PublicModel
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import read_evaluation_keys, write_evaluation_keys
from wardline.he.frames.layout import HEADER_BYTES, announced
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import ID_BYTES, KEY_BYTES, MOST_PARTS, Binding, Session, unsafe_session_secret

Content: TypeAlias = Literal["keys", "rows", "scores"]

_Found = TypeVar("_Found")

MAGIC = b"WLHEPCL\x01"
MOST_PARCEL_BYTES = 4 * 1024**3
MOST_ROWS = 1 << 32

_LENGTH = struct.Struct("<I")
_MOST_HEADER_BYTES = 4096
_KEYS = frozenset({"content", "frames", "model", "request", "rows", "session"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcel:
    header: dict[str, Any]
    session: Session
    frames: list[memoryview]


def check_parcel_key(path: Path, key: str) -> None:
    """Refuse a parcel of another key.

    Args:
        path: any parcel.
        key: the name of the key that it should belong to, 32 hexadecimal digits.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is no parcel.
        KeyAccessError: if it was made with another key.

    Guarantee: finds keys that were mixed up; no protection against whoever changes the file.
    """
    if parcel_key(path) != key:
        raise KeyAccessError(
            "the file was made with another key",
            where=str(path),
            hint="take keys, rows and scores of one `NAME.secret`",
        )


def parcel_key(path: Path) -> str:
    """The name of the key that a parcel's content belongs to, 32 hexadecimal digits.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is no parcel.
    """
    header, _ = _opened(_bytes(path, len(MAGIC) + _LENGTH.size + _MOST_HEADER_BYTES), str(path))
    name: bytes = header["session"][:ID_BYTES]
    return name.hex()


def write_keys_parcel(path: Path, public: PublicModel, keys: SeededKeys, *, key: str) -> None:
    """Write the public keys of a client, which go to the service.

    Args:
        path: where.
        public: the model that they are for.
        keys: the keys.
        key: the name of the secret key, 32 hexadecimal digits.

    Raises:
        WorkspaceError: if it cannot be written.
    """
    session, binding = _session(key), Binding.fresh(model=public.digest)
    frame = write_evaluation_keys(keys, session=session, binding=binding)
    _write(path, "keys", [frame], session=session, binding=binding, rows=0)


def read_keys_parcel(path: Path, public: PublicModel) -> SeededKeys:
    """Read what `write_keys_parcel` wrote for this model.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else.
    """
    parcel = _read(path, public, "keys")
    if len(parcel.frames) != 1 or parcel.header["rows"]:
        raise IntegrityError("the file holds no keys", where=str(path))
    with placed(path):
        _, keys = read_evaluation_keys(
            parcel.frames[0],
            parameters=public.plan.parameters,
            session=parcel.session,
            limits=public.limits,
            binding=_binding(parcel, 0),
        )
    return keys


def write_rows_parcel(
    path: Path, public: PublicModel, columns: Sequence[SeededColumns], *, rows: int, key: str
) -> None:
    """Write encrypted rows.

    Args:
        path: where.
        public: the model that they are for.
        columns: batches, at least one.
        rows: in all of them.
        key: the name of the secret key, 32 hexadecimal digits.

    Raises:
        WorkspaceError: if it cannot be written.
    """
    session, binding = _session(key), Binding.fresh(model=public.digest, parts=len(columns))
    frames = [
        write_columns(one, session=session, binding=_part(binding, part), dropped_bits=public.columns.dropped_bits)
        for part, one in enumerate(columns)
    ]
    _write(path, "rows", frames, session=session, binding=binding, rows=rows)


def read_rows_parcel(path: Path, public: PublicModel) -> tuple[list[SeededColumns], int]:
    """Read what `write_rows_parcel` wrote for this model: batches and the number of rows.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else.
    """
    batches, rows = _frames(path, public, "rows", read_columns)
    for one in batches:
        public.check_columns(one, where=str(path))
    return batches, rows


def write_scores_parcel(
    path: Path, public: PublicModel, replies: Sequence[Sequence[Ciphertext]], *, rows: int, key: str
) -> None:
    """Write encrypted scores, as the service answered them.

    Args:
        path: where.
        public: the model that answered.
        replies: by batch.
        rows: in all of them.
        key: the name of the secret key that the rows were encrypted with, 32 hexadecimal digits.

    Raises:
        WorkspaceError: if they cannot be written.
    """
    session, binding = _session(key), Binding.fresh(model=public.digest, parts=len(replies))
    frames = [write_replies(one, session=session, binding=_part(binding, part)) for part, one in enumerate(replies)]
    _write(path, "scores", frames, session=session, binding=binding, rows=rows)


def read_scores_parcel(path: Path, public: PublicModel) -> tuple[list[list[Ciphertext]], int]:
    """Read what `write_scores_parcel` wrote for this model: answers by batch and the number of rows.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else.
    """
    replies, rows = _frames(path, public, "scores", read_replies)
    for one in replies:
        public.check_replies(one, where=str(path))
    return replies, rows


def _frames(
    path: Path, public: PublicModel, content: Content, read: Callable[..., tuple[Binding, _Found]]
) -> tuple[list[_Found], int]:
    """What the frames of a parcel hold, batch after batch, and the number of rows."""
    parcel = _read(path, public, content)
    rows = parcel.header["rows"]
    assert isinstance(rows, int)
    if not rows or len(parcel.frames) != public.batches(rows):
        raise IntegrityError("the file's batches are not those of its rows", where=str(path))
    with placed(path):
        found = [
            read(
                frame,
                parameters=public.plan.parameters,
                session=parcel.session,
                limits=public.limits,
                binding=_binding(parcel, part),
            )[1]
            for part, frame in enumerate(parcel.frames)
        ]
    return found, rows


def _session(key: str) -> Session:
    return Session(bytes.fromhex(key) + SecureRandom().bytes(KEY_BYTES))


def _part(binding: Binding, part: int) -> Binding:
    return Binding(request=binding.request, model=binding.model, part=part, parts=binding.parts)


def _binding(parcel: _Parcel, part: int) -> Binding:
    header = parcel.header
    return Binding(request=header["request"], model=header["model"], part=part, parts=len(parcel.frames))


def _write(
    path: Path, content: Content, frames: Sequence[bytes], *, session: Session, binding: Binding, rows: int
) -> None:
    header = canonical_json(
        {
            "content": content,
            "frames": len(frames),
            "model": binding.model.hex(),
            "request": binding.request.hex(),
            "rows": rows,
            "session": unsafe_session_secret(session).hex(),
        }
    )
    write_atomic(path, b"".join((MAGIC, _LENGTH.pack(len(header)), header, *frames)))


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise DataError(f"cannot read the file: {reason}", where=str(path)) from error


def _opened(data: bytes, where: str) -> tuple[dict[str, Any], int]:
    """The header of a parcel, and where its frames begin."""
    at = len(MAGIC) + _LENGTH.size
    if not data.startswith(MAGIC) or not at <= len(data) <= MOST_PARCEL_BYTES:
        raise IntegrityError("this is no file of encrypted rows, scores or keys", where=where)
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    if length > _MOST_HEADER_BYTES:
        raise IntegrityError("the file's header is too long", where=where)
    with placed(Path(where)):
        value = parse_canonical(data[at : at + length], what="the header", max_bytes=_MOST_HEADER_BYTES, max_depth=1)
        return _header(exact_object(value, _KEYS, what="the header"), where), at + length


def _read(path: Path, public: PublicModel, content: Content) -> _Parcel:
    data = _bytes(path, MOST_PARCEL_BYTES + 1)
    header, at = _opened(data, str(path))
    if header["content"] != content:
        raise IntegrityError(f"the file holds {header['content']}, and {content} are wanted", where=str(path))
    if header["model"] != public.digest:
        raise IntegrityError(
            "the file belongs to another model", where=str(path), hint="give the public model that it was made with"
        )
    view, frames = memoryview(data)[at:], []
    for _ in range(header["frames"]):
        size = announced(view[:HEADER_BYTES], limits=public.limits).total_bytes
        frames.append(view[:size])
        view = view[size:]
    if len(view):
        raise IntegrityError("something follows the file's last frame", where=str(path))
    return _Parcel(header=header, session=Session(header.pop("session")), frames=frames)


def _header(value: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        for name, size in (("model", 32), ("request", 16), ("session", 48)):
            text = value[name]
            value[name] = bytes.fromhex(text)
            if len(value[name]) != size or value[name].hex() != text:
                raise ValueError(name)
    except (ValueError, TypeError):
        raise IntegrityError("a field of the file's header is wrong", where=where) from None
    counts = {"frames": MOST_PARTS, "rows": MOST_ROWS}
    if value["content"] not in ("keys", "rows", "scores") or any(
        type(value[name]) is not int or not 0 <= value[name] <= most for name, most in counts.items()
    ):
        raise IntegrityError("a field of the file's header is wrong", where=where)
    return value
