"""The outside of a frame: header, table of sections, tag.

The format is written down in ``docs/reference-format-he.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from wardline.core.errors import IntegrityError
from wardline.he.frames.session import DIGEST_BYTES, ID_BYTES, MOST_PARTS, TAG_BYTES, Binding, Limits, Session
from wardline.he.parameters import Parameters

MAGIC = b"\x89WLHE\r\n\x1a"
VERSION = 1

# magic, version, kind, part, parts, sections, bytes in all, parameters, session, request, model
_HEADER = struct.Struct(f"<8sHHIIIQ{DIGEST_BYTES}s{ID_BYTES}s{ID_BYTES}s{DIGEST_BYTES}s")
_ENTRY = struct.Struct("<IQ")  # name, bytes
HEADER_BYTES = _HEADER.size


class Kind(IntEnum):
    """What a frame holds. Each is sent in one direction only, so that no frame can be sent back as another."""

    EVALUATION_KEYS = 1  # client to server
    COLUMNS = 2  # client to server
    REPLIES = 3  # server to client


class Section(IntEnum):
    """What a section of a frame holds; the sections of a frame stand in this order."""

    DESCRIPTION = 1
    PUBLIC_KEY = 2
    RELINEARISATION = 3
    GALOIS = 4
    SEEDS = 5
    RESIDUES = 6


SECTIONS = {
    Kind.EVALUATION_KEYS: (Section.DESCRIPTION, Section.PUBLIC_KEY, Section.RELINEARISATION, Section.GALOIS),
    Kind.COLUMNS: (Section.DESCRIPTION, Section.SEEDS, Section.RESIDUES),
    Kind.REPLIES: (Section.DESCRIPTION, Section.RESIDUES),
}
"""The sections of each kind, all of which are there, if need be with no bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What the first bytes of a frame say of it; nothing of it is authenticated yet.

    Attributes:
        kind: what it holds.
        total_bytes: how many bytes it has.
        parameters: digest of the encryption parameters that it is for.
        session: the name of its session.
        binding: what it belongs to.
    """

    kind: Kind
    total_bytes: int
    parameters: bytes
    session: bytes
    binding: Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A frame that was authenticated.

    Attributes:
        binding: what it belongs to.
        sections: the bytes of its sections, in the order of `SECTIONS`.
    """

    binding: Binding
    sections: tuple[memoryview, ...]


def announced(start: bytes | memoryview, *, limits: Limits) -> Announcement:
    """Read the header of a frame of which at least `HEADER_BYTES` bytes have come, to refuse early what is too large.

    Raises:
        IntegrityError: for anything but the beginning of a frame of this version, a known kind and a size within the
            limits.
    """
    if len(start) < HEADER_BYTES:
        raise IntegrityError("a frame is cut short")
    magic, version, kind, part, parts, sections, total, digest, session, request, model = _HEADER.unpack_from(start)
    if magic != MAGIC:
        raise IntegrityError("these bytes are no frame of encrypted inference")
    if version != VERSION:
        raise IntegrityError(f"the frame is of version {version}, and this program reads version {VERSION}")
    if kind not in iter(Kind) or sections != len(SECTIONS[Kind(kind)]):
        raise IntegrityError("the frame is of a kind that this version does not know")
    if not HEADER_BYTES + sections * _ENTRY.size + TAG_BYTES <= total <= limits.frame_bytes:
        raise IntegrityError(f"the frame announces {total} bytes, and at most {limits.frame_bytes} are taken")
    if not part < parts <= MOST_PARTS:
        raise IntegrityError("the frame has no place among the parts of its request")
    return Announcement(
        kind=Kind(kind),
        total_bytes=total,
        parameters=digest,
        session=session,
        binding=Binding(request=request, model=model, part=part, parts=parts),
    )


def close_frame(
    kind: Kind,
    sections: Sequence[Sequence[bytes | memoryview]],
    *,
    parameters: Parameters,
    session: Session,
    binding: Binding,
) -> bytes:
    """Put sections, each given in pieces, into a frame and authenticate it."""
    names = SECTIONS[kind]
    lengths = [sum(len(piece) for piece in pieces) for pieces in sections]
    total = HEADER_BYTES + len(names) * _ENTRY.size + sum(lengths) + TAG_BYTES
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        kind,
        binding.part,
        binding.parts,
        len(names),
        total,
        bytes.fromhex(parameters.digest),
        session.id,
        binding.request,
        binding.model,
    )
    table = b"".join(_ENTRY.pack(name, length) for name, length in zip(names, lengths, strict=True))
    content = b"".join((header, table, *(piece for pieces in sections for piece in pieces)))
    return content + session.tag(content)


def open_frame(
    frame: bytes | memoryview,
    kind: Kind,
    *,
    parameters: Parameters,
    session: Session,
    limits: Limits,
    binding: Binding | None = None,
) -> Opened:
    """Check the outside of a frame: everything but what its sections say.

    Args:
        frame: all of its bytes.
        kind: what it must be.
        parameters: what it must be for.
        session: what it must belong to.
        limits: what is taken at most.
        binding: what it must belong to; None takes what it says.

    Raises:
        IntegrityError: unless it is a frame of this kind for these parameters, this session and this binding, with
            exactly its sections and a tag that is right.
    """
    found = announced(frame, limits=limits)
    if found.kind is not kind:
        raise IntegrityError("the frame is of another kind than is expected here")
    if found.total_bytes != len(frame):
        raise IntegrityError("the frame is cut short, or something follows it")
    view = memoryview(frame)
    if found.parameters != bytes.fromhex(parameters.digest):
        raise IntegrityError("the frame is for other encryption parameters")
    if found.session != session.id:
        raise IntegrityError("the frame belongs to another session")
    if not session.accepts(view[:-TAG_BYTES], view[-TAG_BYTES:]):
        raise IntegrityError("the frame was changed, or made with another session's key")
    if binding is not None and found.binding != binding:
        raise IntegrityError("the frame belongs to another request, model or part")
    sections, at = [], HEADER_BYTES + len(SECTIONS[kind]) * _ENTRY.size
    end = len(frame) - TAG_BYTES
    for i, name in enumerate(SECTIONS[kind]):
        said, length = _ENTRY.unpack_from(frame, HEADER_BYTES + i * _ENTRY.size)
        if said != name or length > end - at:
            raise IntegrityError("the frame's table of sections is wrong")
        sections.append(view[at : at + length])
        at += length
    if at != end:
        raise IntegrityError("the frame has bytes that are in no section")
    return Opened(binding=found.binding, sections=tuple(sections))


def exact(section: memoryview, length: int) -> memoryview:
    """A section that must have so many bytes.

    Raises:
        IntegrityError: if it has not.
    """
    if len(section) != length:
        raise IntegrityError("a section of the frame is longer or shorter than its description says")
    return section
