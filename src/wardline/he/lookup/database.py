"""A database for private lookup as a folder: `public.json` for everybody, `database.bin` for the server alone.

The file holds the polynomials in NTT form modulo each prime, in the order in which an answer reads them, and is mapped
into memory and not read into it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.core import SecureRandom, canonical_json, make_folder, write_atomic
from wardline.core.errors import DataError, IntegrityError, KeyAccessError, UsageError, placed
from wardline.core.files import workspace_error
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.frames.session import Limits
from wardline.he.kernels.modular import reduce_signed
from wardline.he.kernels.selection import BLOCK, blocked
from wardline.he.kernels.transform import to_evaluations
from wardline.he.lookup.plan import LookupPlan, plan_lookup
from wardline.he.lookup.records import Bytes, to_coefficients

PUBLIC_FILE, DATABASE_FILE = "public.json", "database.bin"
MOST_PUBLIC_BYTES = 1 << 20

Content: TypeAlias = Literal["bytes", "rows"]

_FORMAT = "wardline lookup/1"
_MAGIC = b"wardline lookup records/1\n"
_SALT_BYTES, _HEAD_BYTES = 32, 4096  # a page, so that what follows lies on whole ones
_KEYS = frozenset({"columns", "content", "format", "plan", "sha256"})
_PIECE = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicDatabase:
    """What clients know of a database.

    Attributes:
        plan: its layout.
        content: whether a record is bytes, or a row of a table.
        columns: the table's columns; empty for bytes.
        sha256: of the server's file, 64 hexadecimal digits. A salt in it keeps anyone from trying guesses of the
            records on this digest.

    Raises:
        ValueError: for columns with bytes, rows without, or another digest.
    """

    plan: LookupPlan
    content: Content
    columns: tuple[str, ...]
    sha256: str

    def __post_init__(self) -> None:
        if self.content not in ("bytes", "rows") or (self.content == "rows") is not bool(self.columns):
            raise ValueError("content is bytes, or rows of named columns")
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError("sha256 is 64 hexadecimal digits")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON: what questions, replies and keys are tied to."""
        return hashlib.sha256(self.to_bytes()).digest()

    @property
    def limits(self) -> Limits:
        """What a reader of frames for this database takes."""
        plan = self.plan
        return Limits(
            frame_bytes=2 * max(plan.key_bytes, plan.question_bytes, plan.reply_bytes),
            ciphertexts=1,
            galois_keys=plan.doublings,
        )

    def to_bytes(self) -> bytes:
        """The canonical JSON, which `from_bytes` reads."""
        return canonical_json(
            {
                "columns": list(self.columns),
                "content": self.content,
                "format": _FORMAT,
                "plan": self.plan.to_json(),
                "sha256": self.sha256,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicDatabase:
        """Read `to_bytes` back.

        Raises:
            IntegrityError: for anything that it would not have written.
        """
        value = parse_canonical(data, what="the public description", max_bytes=MOST_PUBLIC_BYTES, max_depth=4)
        value = exact_object(value, _KEYS, what="the public description")
        columns = value["columns"]
        if value["format"] != _FORMAT:
            raise IntegrityError("the description is of a kind or version that this program does not know")
        if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
            raise IntegrityError("the columns of a description are texts")
        if not isinstance(value["sha256"], str):
            raise IntegrityError("the digest of a description is text")
        plan = LookupPlan.from_json(value["plan"])
        try:
            return cls(plan=plan, content=value["content"], columns=tuple(columns), sha256=value["sha256"])
        except (ValueError, TypeError) as error:
            raise IntegrityError(f"this description of a database is refused: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Database:
    """A database, mapped into memory.

    Attributes:
        public: what clients know.
        polynomials: [limbs, degree / BLOCK, columns, rows, BLOCK], in NTT form; read-only.
    """

    public: PublicDatabase
    polynomials: npt.NDArray[np.uint32] = field(repr=False)

    @property
    def plan(self) -> LookupPlan:
        """Its layout."""
        return self.public.plan


def build_database(
    folder: Path, records: Bytes, *, columns: tuple[str, ...] = (), plan: LookupPlan | None = None
) -> PublicDatabase:
    """Write a database; memory for one column of its grid is all that it takes beside the records.

    Args:
        folder: made if it is missing. It must not hold a database: clients' questions belong to one digest.
        records: [count, bytes]; a memory map will do.
        columns: of the table whose rows they are (see `wardline.he.lookup.records.encode_rows`); empty for bytes.
        plan: the layout; None takes the one that is answered fastest.

    Raises:
        UsageError: for records that are too many or too large, or if a database is there.
        ValueError: for records of another type, or a plan for others.
        WorkspaceError: if the files cannot be written.
    """
    if records.dtype != np.uint8 or records.ndim != 2:
        raise ValueError("records must be bytes [count, bytes]")
    plan = plan_lookup(*records.shape) if plan is None else plan
    if (plan.records, plan.record_bytes) != records.shape:
        raise ValueError("the plan is for another number or length of records")
    folder = make_folder(folder)
    path = folder / DATABASE_FILE
    if path.exists():
        raise UsageError(
            "a database is there, and clients' questions belong to it alone",
            where=str(path),
            hint="name another folder, or delete this one",
        )
    temporary = folder / f".{DATABASE_FILE}-{os.urandom(8).hex()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "r+b") as file:
                file.write((_MAGIC + SecureRandom().bytes(_SALT_BYTES)).ljust(_HEAD_BYTES, b"\0"))
                file.flush()
                # A mapped file with holes ends the process, not the call, where the disk has no room to fill them.
                os.posix_fallocate(descriptor, 0, _HEAD_BYTES + plan.database_bytes)
                _write_polynomials(file, records, plan)
                os.fsync(file.fileno())
                digest = _digest(file)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise workspace_error(error, path) from error
    content: Content = "rows" if columns else "bytes"
    public = PublicDatabase(plan=plan, content=content, columns=columns, sha256=digest)
    write_atomic(folder / PUBLIC_FILE, public.to_bytes())
    return public


def read_public(path: Path) -> PublicDatabase:
    """The public description, from its file or the folder that it is in.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else.
    """
    path = path / PUBLIC_FILE if path.is_dir() else path
    try:
        with path.open("rb") as file:
            data = file.read(MOST_PUBLIC_BYTES + 1)
    except OSError as error:
        raise _unreadable(error, path) from error
    with placed(path):
        return PublicDatabase.from_bytes(data)


def open_database(folder: Path) -> Database:
    """Both parts, ready to answer. The whole file is read once for its digest.

    Raises:
        DataError: if a file cannot be read.
        KeyAccessError: if the database may be read by other users of the machine.
        IntegrityError: if a file was changed, or the two do not belong together.

    Guarantee: the file was, when it was opened, the one that the description was written with (SHA-256).
    """
    public, path = read_public(folder), folder / DATABASE_FILE
    plan = public.plan
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise KeyAccessError(
                    "the database may be read by other users", where=str(path), hint=f"chmod 600 {path}"
                )
            size = _HEAD_BYTES + plan.database_bytes
            if found.st_size != size or not hmac.compare_digest(_digest(file), public.sha256):
                raise IntegrityError(
                    "the database is not the one that the description was written with", where=str(path)
                )
            file.seek(0)
            if not file.read(_HEAD_BYTES).startswith(_MAGIC):
                raise IntegrityError("this is no database for lookups", where=str(path))
            polynomials = _map(file, plan, mode="r")
    except OSError as error:
        raise _unreadable(error, path) from error
    return Database(public=public, polynomials=polynomials)


def _map(file: Any, plan: LookupPlan, *, mode: Literal["r", "r+"]) -> npt.NDArray[np.uint32]:
    limbs, degree = len(plan.parameters.moduli), plan.parameters.degree
    shape = limbs, degree // BLOCK, plan.columns, plan.rows, BLOCK
    return np.memmap(file, dtype="<u4", mode=mode, offset=_HEAD_BYTES, shape=shape)


def _write_polynomials(file: Any, records: Bytes, plan: LookupPlan) -> None:
    """Column after column of the grid, each so many records in a row."""
    moduli, degree = plan.parameters.moduli, plan.parameters.degree
    polynomials = _map(file, plan, mode="r+")
    starts = [sum(plan.start(place)) for place in range(plan.places)]
    places = np.array(starts)[:, None] + np.arange(plan.coefficients)
    for column in range(plan.columns):
        start = column * plan.rows * plan.places
        part = np.asarray(records[start : start + plan.rows * plan.places])
        found = np.zeros((plan.rows * plan.places, plan.coefficients), dtype=np.int64)
        found[: len(part)] = to_coefficients(part, plan)
        coefficients = np.zeros((plan.rows, degree), dtype=np.int64)
        coefficients[:, places.reshape(-1)] = found.reshape(plan.rows, -1)
        polynomials[:, :, column] = blocked(to_evaluations(reduce_signed(coefficients, moduli=moduli), moduli=moduli))
    polynomials.flush()  # type: ignore[attr-defined]


def _digest(file: Any) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _unreadable(error: OSError, path: Path) -> DataError:
    reason = (error.strerror or "unknown reason").lower()
    return DataError(f"cannot read the database: {reason}", where=str(path))
