"""An encrypted answer as a file: eight bytes of magic, a header in canonical JSON, and a frame of ciphertexts.

The frame's session stands in the header. It guards against accidents, not against whoever has the file.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wardline.core import canonical_json, write_atomic
from wardline.core.errors import DataError, IntegrityError, UsageError, placed
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.ciphertext import Ciphertext
from wardline.he.frames.layout import HEADER_BYTES
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Limits, Session, unsafe_session_secret
from wardline.he.queries.circuit import Circuit, plan_query
from wardline.he.queries.folder import Description
from wardline.he.queries.language import Query

MAGIC = b"WLHEANS\x01"
MOST_HEADER_BYTES = 512 * 1024
MOST_OUTPUTS = 512

_LENGTH = struct.Struct("<I")
_KEYS = frozenset({"query", "request", "session", "table"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedAnswer:
    """What a server answered.

    Attributes:
        circuit: of the query that it says to have answered.
        replies: one ciphertext for each of its outputs.
        request: 16 bytes by which this answer is known.
    """

    circuit: Circuit
    replies: tuple[Ciphertext, ...]
    request: bytes


def write_answer(path: Path, description: Description, query: Query, replies: Sequence[Ciphertext]) -> bytes:
    """Write an answer, and give the 16 bytes by which it is known.

    Raises:
        ValueError: if there are no ciphertexts.
        WorkspaceError: if it cannot be written.
    """
    session, binding = Session.generate(), Binding.fresh(model=_subject(description, query))
    frame = write_replies(replies, session=session, binding=binding)
    header = canonical_json(
        {
            "query": query.to_json(),
            "request": binding.request.hex(),
            "session": unsafe_session_secret(session).hex(),
            "table": description.digest.hex(),
        }
    )
    write_atomic(path, b"".join((MAGIC, _LENGTH.pack(len(header)), header, frame)))
    return binding.request


def read_answer(path: Path, description: Description) -> EncryptedAnswer:
    """Read what `write_answer` wrote for this very table.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else, was changed, or is of another table.
    """
    limits = _limits(description)
    most = len(MAGIC) + _LENGTH.size + MOST_HEADER_BYTES + limits.frame_bytes
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise DataError(f"cannot read the answer: {reason}", where=str(path), hint="name the answer's file") from error
    at = len(MAGIC) + _LENGTH.size
    if not data.startswith(MAGIC) or not at <= len(data) <= most:
        raise IntegrityError("this is no answer of an encrypted table", where=str(path))
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    if length > MOST_HEADER_BYTES:
        raise IntegrityError("the answer's header is too long", where=str(path))
    with placed(path):
        header = exact_object(
            parse_canonical(
                data[at : at + length], what="the answer's header", max_bytes=MOST_HEADER_BYTES, max_depth=5
            ),
            _KEYS,
            what="the answer's header",
        )
    fields = {}
    for name, size in (("request", 16), ("session", 48), ("table", 32)):
        try:
            fields[name] = bytes.fromhex(header[name])
        except (ValueError, TypeError):
            fields[name] = b""
        if len(fields[name]) != size or fields[name].hex() != header[name]:
            raise IntegrityError("a field of the answer's header is wrong", where=str(path))
    if not hmac.compare_digest(fields["table"], description.digest):
        raise IntegrityError(
            "the answer is of another table", where=str(path), hint="give the description of the table that was asked"
        )
    try:
        circuit = plan_query(description.plan, Query.from_json(header["query"]))
    except UsageError as error:
        raise IntegrityError(
            f"the answer is to a query that this table cannot have: {error}", where=str(path)
        ) from error
    with placed(path):
        _, replies = read_replies(
            memoryview(data)[at + length :],
            parameters=description.plan.parameters,
            session=Session(fields["session"]),
            limits=limits,
            binding=Binding(request=fields["request"], model=_subject(description, circuit.query)),
        )
    wanted = (2, description.plan.reply_limbs, description.plan.parameters.degree)
    if len(replies) != len(circuit.outputs) or any(one.parts.shape != wanted for one in replies):
        raise IntegrityError("the answer has other ciphertexts than its query", where=str(path))
    if any(one.form != "coefficients" for one in replies):
        raise IntegrityError("the answer's ciphertexts are in another form", where=str(path))
    return EncryptedAnswer(circuit=circuit, replies=tuple(replies), request=fields["request"])


def _subject(description: Description, query: Query) -> bytes:
    """What the frame of an answer is bound to: this query on this table."""
    return hashlib.sha256(b"wardline query\0" + description.digest + bytes.fromhex(query.digest)).digest()


def _limits(description: Description) -> Limits:
    return Limits(
        frame_bytes=HEADER_BYTES + MOST_OUTPUTS * description.plan.reply_bytes + 4096,
        ciphertexts=MOST_OUTPUTS,
        galois_keys=1,
    )
