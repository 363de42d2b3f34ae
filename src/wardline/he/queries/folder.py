"""An encrypted table as a folder, for a server: `table.json`, `keys.bin` and a file for each stored number of a row.

A column's file is eight bytes of magic, its place and the number of blocks as four bytes each, a SHA-256 for each
block's record, and the records: a seed of 64 bytes and the residues of c0, bit-packed. `table.json` has the SHA-256 of
everything before the records, so that one block can be read and checked without the others.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from wardline.core import canonical_json, make_folder, write_atomic
from wardline.core.errors import DataError, IntegrityError
from wardline.crypto.strict import exact_object, parse_canonical
from wardline.he.ciphertext import SEED_BYTES, EvaluationKeys, SeededColumns, SeededKeys
from wardline.he.frames.evaluation_keys import expand_keys, read_evaluation_keys, write_evaluation_keys
from wardline.he.frames.residues import pack, packed_bytes, unpack
from wardline.he.frames.session import ID_BYTES, KEY_BYTES, Binding, Limits, Session, unsafe_session_secret
from wardline.he.queries.plan import TablePlan

TABLE_FILE = "table.json"
KEYS_FILE = "keys.bin"
SCHEMA = "wardline encrypted table/1"
MOST_TABLE_BYTES = 16 * 1024 * 1024

_MAGIC = b"WLHETBL\x01"
_PLACE = struct.Struct("<II")
_HASH_BYTES = 32
_KEYS = frozenset({"schema", "plan", "key", "keys_sha256", "columns_sha256", "check"})
_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is public of an encrypted table; its owner keeps a copy, and knows the table by its digest.

    Attributes:
        plan: how it was encrypted.
        key: the name of the key, 32 hexadecimal digits.
        keys_sha256: of `keys.bin`.
        columns_sha256: of the head of each column's file.

    Raises:
        ValueError: for other texts, or another number of files than the plan has.
    """

    plan: TablePlan
    key: str
    keys_sha256: str
    columns_sha256: tuple[str, ...]

    def __post_init__(self) -> None:
        hashes = (self.keys_sha256, *self.columns_sha256)
        if (
            any(len(one) != 64 or set(one) - _DIGITS for one in hashes)
            or len(self.key) != 32
            or set(self.key) - _DIGITS
        ):
            raise ValueError("names and digests of a table are hexadecimal digits")
        if len(self.columns_sha256) != len(self.plan.stored):
            raise ValueError(f"the table has {len(self.plan.stored)} files, not {len(self.columns_sha256)}")

    @property
    def digest(self) -> bytes:
        """SHA-256 of `to_bytes`: what answers are tied to."""
        return hashlib.sha256(self.to_bytes()).digest()

    def to_bytes(self) -> bytes:
        """Canonical JSON, with a digest of the rest against accidents."""
        rest = {
            "schema": SCHEMA,
            "plan": self.plan.to_json(),
            "key": self.key,
            "keys_sha256": self.keys_sha256,
            "columns_sha256": list(self.columns_sha256),
        }
        return canonical_json({**rest, "check": hashlib.sha256(canonical_json(rest)).hexdigest()})

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "") -> Self:
        """Read what `to_bytes` wrote.

        Args:
            data: all of the bytes.
            where: a file, for error messages.

        Raises:
            IntegrityError: for anything else.
        """
        value = parse_canonical(data, what="the table's description", max_bytes=MOST_TABLE_BYTES, max_depth=8)
        value = exact_object(value, _KEYS, what="the table's description")
        check = value.pop("check")
        wanted = hashlib.sha256(canonical_json(value)).hexdigest()
        if value["schema"] != SCHEMA or not isinstance(check, str) or not hmac.compare_digest(wanted, str(check)):
            raise IntegrityError("this is no description of an encrypted table, or it was changed", where=where)
        hashes = value["columns_sha256"]
        texts = [value["key"], value["keys_sha256"], *(hashes if isinstance(hashes, list) else [None])]
        if not all(isinstance(one, str) for one in texts):
            raise IntegrityError("digests of the table's description are missing", where=where)
        try:
            return cls(
                plan=TablePlan.from_json(value["plan"]),
                key=value["key"],
                keys_sha256=value["keys_sha256"],
                columns_sha256=tuple(hashes),
            )
        except ValueError as error:
            raise IntegrityError(f"the table's description is refused: {error}", where=where) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedTable:
    """A table's folder, opened at the server; it implements `wardline.he.queries.evaluation.Blocks`.

    Attributes:
        description: what is public.
        keys: of the table's key, drawn out.
        folder: where the ciphertexts lie.
        heads: of files that were looked at, by place: what precedes their records.
    """

    description: Description
    keys: EvaluationKeys = field(repr=False)
    folder: Path
    heads: dict[int, bytes] = field(default_factory=dict, repr=False)

    def columns(self, block: int, places: Sequence[int]) -> SeededColumns:
        """The ciphertexts of one block, read and compared with their digests.

        Raises:
            DataError: if a file cannot be read.
            IntegrityError: if one was changed.
        """
        plan = self.description.plan
        parameters, moduli = plan.parameters, plan.parameters.moduli
        seeds = np.empty((len(places), SEED_BYTES), dtype=np.uint8)
        c0 = np.empty((len(places), len(moduli), parameters.degree), dtype=np.uint32)
        for at, place in enumerate(places):
            record = self._record(place, block)
            seeds[at] = np.frombuffer(record[:SEED_BYTES], dtype=np.uint8)
            c0[at] = unpack(record[SEED_BYTES:], rows=1, degree=parameters.degree, bounds=moduli)[0]
        return SeededColumns(parameters=parameters, seeds=seeds, c0=c0, form="coefficients")

    def _record(self, place: int, block: int) -> memoryview:
        plan, path = self.description.plan, self.folder / column_file(place)
        size, record = _head_bytes(plan), _record_bytes(plan)
        with _opened(path) as file:
            if os.fstat(file.fileno()).st_size != size + plan.blocks * record:
                raise IntegrityError("the file is longer or shorter than its table says", where=str(path))
            if place not in self.heads:
                head = file.read(size)
                wanted = self.description.columns_sha256[place]
                if not hmac.compare_digest(hashlib.sha256(head).hexdigest(), wanted):
                    raise IntegrityError("the file is not the one that its table was written with", where=str(path))
                self.heads[place] = head
            file.seek(size + block * record)
            content = file.read(record)
        at = len(_MAGIC) + _PLACE.size + block * _HASH_BYTES
        wanted_hash = self.heads[place][at : at + _HASH_BYTES]
        if not hmac.compare_digest(hashlib.sha256(content).digest(), wanted_hash) or len(content) != record:
            raise IntegrityError(f"block {block} of the file was changed", where=str(path))
        return memoryview(content)


def column_file(place: int) -> str:
    """The name of a column's file."""
    return f"column-{place:05}.bin"


def write_table(
    folder: Path, plan: TablePlan, *, key: str, keys: SeededKeys, columns: Iterable[SeededColumns]
) -> Description:
    """Write a table, one stored number after the other; a crash leaves no `table.json`, and so no table.

    Args:
        folder: made if it is missing; one that holds a table is refused.
        plan: of the table.
        key: the name of the secret key.
        keys: its public keys.
        columns: what `encrypt_table` gives.

    Raises:
        DataError: if a table stands there.
        ValueError: for columns that are not those of the plan.
        WorkspaceError: if it cannot be written.
    """
    folder = make_folder(folder)
    if (folder / TABLE_FILE).exists():
        raise DataError("a table stands there already", where=str(folder), hint="name another folder, or remove it")
    session = Session.generate()
    frame = write_evaluation_keys(keys, session=session, binding=Binding(request=session.id))
    content = unsafe_session_secret(session) + frame
    write_atomic(folder / KEYS_FILE, content)
    hashes = []
    for place, one in enumerate(columns):
        if one.parameters != plan.parameters or len(one) != plan.blocks or one.dropped_bits:
            raise ValueError("the columns are not those of the plan")
        head, records = _file(plan, place, one)
        write_atomic(folder / column_file(place), b"".join((head, *records)))
        hashes.append(hashlib.sha256(head).hexdigest())
    description = Description(
        plan=plan, key=key, keys_sha256=hashlib.sha256(content).hexdigest(), columns_sha256=tuple(hashes)
    )
    write_atomic(folder / TABLE_FILE, description.to_bytes())
    return description


def read_description(path: Path) -> Description:
    """What is public of a table, from its file or the folder that it is in.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is something else.
    """
    path = path / TABLE_FILE if path.is_dir() else path
    return Description.from_bytes(_read(path, most_bytes=MOST_TABLE_BYTES), where=str(path))


def read_encrypted_table(folder: Path) -> EncryptedTable:
    """Open a table's folder; ciphertexts are read when a query names them.

    Raises:
        DataError: if a file cannot be read.
        IntegrityError: if one was changed, or they do not belong together.

    Guarantee: whatever the bytes, nothing but ciphertexts and keys of the table's parameters is computed with, and no
    more memory is taken than they need. Whoever can replace all files replaces the table: its digest is another one
    then, which answers carry.
    """
    description = read_description(folder)
    path, parameters = folder / KEYS_FILE, description.plan.parameters
    limbs = len(parameters.moduli)
    most = 2 * limbs * (limbs + 2) * 4 * parameters.degree + 65536
    content = _read(path, most_bytes=most)
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), description.keys_sha256):
        raise IntegrityError("the keys are not those that the table was written with", where=str(path))
    if len(content) <= ID_BYTES + KEY_BYTES:
        raise IntegrityError("these are no keys", where=str(path))
    session = Session(content[: ID_BYTES + KEY_BYTES])
    _, keys = read_evaluation_keys(
        memoryview(content)[ID_BYTES + KEY_BYTES :],
        parameters=parameters,
        session=session,
        limits=Limits(frame_bytes=most, ciphertexts=1, galois_keys=1),
    )
    if (keys.relinearisation is None) is not (description.plan.depth == 0) or keys.galois:
        raise IntegrityError("the keys are not those that the table's queries need", where=str(path))
    return EncryptedTable(description=description, keys=expand_keys(keys), folder=folder)


def _head_bytes(plan: TablePlan) -> int:
    return len(_MAGIC) + _PLACE.size + plan.blocks * _HASH_BYTES


def _record_bytes(plan: TablePlan) -> int:
    return SEED_BYTES + packed_bytes(1, plan.parameters.degree, plan.parameters.moduli)


def _file(plan: TablePlan, place: int, columns: SeededColumns) -> tuple[bytes, list[bytes]]:
    records = [
        b"".join((seed.tobytes(), *pack(c0[None], plan.parameters.moduli)))
        for seed, c0 in zip(columns.seeds, columns.c0, strict=True)
    ]
    hashes = [hashlib.sha256(one).digest() for one in records]
    return b"".join((_MAGIC, _PLACE.pack(place, plan.blocks), *hashes)), records


def _opened(path: Path) -> BinaryIO:
    """A regular file. A link is not followed and a pipe is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(
            f"cannot read the encrypted table: {(error.strerror or 'unknown reason').lower()}",
            where=str(path),
            hint="name the folder that `wardline he query encrypt` wrote",
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IntegrityError("it is not a regular file", where=str(path))
    return os.fdopen(descriptor, "rb")


def _read(path: Path, *, most_bytes: int) -> bytes:
    with _opened(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise IntegrityError(f"it is larger than {most_bytes} bytes", where=str(path))
    return data
