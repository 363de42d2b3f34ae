"""Frames in pieces: a stream of messages of at most 1 MiB each, in which every frame begins a message of its own."""

from __future__ import annotations

from collections.abc import Iterator

from wardline.core.errors import IntegrityError
from wardline.he.frames.layout import HEADER_BYTES, Kind, announced
from wardline.he.frames.session import Limits
from wardline.serve.scoring.messages import CHUNK_BYTES


def in_chunks(frame: bytes, *, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """A frame in messages, all of them full but the last."""
    for start in range(0, len(frame), chunk_bytes):
        yield frame[start : start + chunk_bytes]


def next_frame(
    chunks: Iterator[bytes], kind: Kind, *, limits: Limits, chunk_bytes: int = CHUNK_BYTES
) -> memoryview | None:
    """The next frame of a stream, put together; None where the stream has ended.

    Args:
        chunks: the messages.
        kind: what the frame must be.
        limits: what is taken at most; a frame that announces more is refused before it is collected.
        chunk_bytes: of a message, all but the last of which must have as many.

    Raises:
        IntegrityError: for messages that are not the pieces of one frame. What the frame says is not looked at yet.
    """
    first = next(chunks, None)
    if first is None:
        return None
    if len(first) < HEADER_BYTES:
        raise IntegrityError("a frame is cut short")
    said = announced(first, limits=limits)
    if said.kind is not kind:
        raise IntegrityError("the frame is of another kind than is expected here")
    # It grows with what really comes, so that an announcement alone takes no memory.
    frame, piece, missing = bytearray(), first, said.total_bytes
    while True:
        missing -= len(piece)
        if missing < 0 or (missing and len(piece) != chunk_bytes) or len(piece) > chunk_bytes:
            raise IntegrityError("a frame is not cut as it has to be")
        frame += piece
        if not missing:
            return memoryview(frame)
        following = next(chunks, None)
        if not following:
            raise IntegrityError("a frame is cut short")
        piece = following
