"""A compiled model as a folder: `public.json` for everybody, `weights.bin` for the server alone."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wardline.core import SecureRandom, make_folder, write_atomic
from wardline.core.errors import DataError, IntegrityError, KeyAccessError, UsageError, placed
from wardline.he.compiled.evaluator import Evaluator
from wardline.he.compiled.kinds import Kind, kind_of
from wardline.he.compiled.public_model import MOST_PUBLIC_BYTES, PublicModel

PUBLIC_FILE = "public.json"
WEIGHTS_FILE = "weights.bin"

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedWeights:
    """The server's file.

    Attributes:
        content: magic with the name of the kind, 32 random bytes, and the weights as the kind writes them.
        sha256: of the content, 64 hexadecimal digits.
    """

    content: bytes = field(repr=False)
    sha256: str


def pack_weights(secret: Any, plan: Any) -> PackedWeights:
    """The server's file of a model's secret part; another one on every call, since its salt is drawn afresh.

    Args:
        secret: the integers of any kind of model.
        plan: theirs.
    """
    kind = kind_of(plan)
    content = _magic(kind) + SecureRandom().bytes(_SALT_BYTES) + kind.server.pack(secret)
    return PackedWeights(content=content, sha256=hashlib.sha256(content).hexdigest())


def check_free(folder: Path) -> None:
    """Refuse a folder that a model is in, with a `UsageError`."""
    for name in (PUBLIC_FILE, WEIGHTS_FILE):
        if (folder / name).exists():
            raise UsageError(
                "a model is there, and its clients' keys belong to it alone",
                where=str(folder / name),
                hint="name another folder, or delete this one",
            )


def write_model(folder: Path, public: PublicModel, weights: PackedWeights) -> tuple[Path, Path]:
    """Write both files; a crash in between leaves a pair that `read_model` refuses.

    Args:
        folder: made if it is missing. It must not hold a model: another one would have another digest, and clients'
            keys and files belong to one digest.
        public: names the digest of `weights`.
        weights: readable for their owner alone (mode 0600).

    Returns:
        The public file and the server's.

    Raises:
        UsageError: if a model is there.
        ValueError: if the two do not belong together.
        WorkspaceError: if they cannot be written.
    """
    if public.weights_sha256 != weights.sha256:
        raise ValueError("the public part names other weights")
    check_free(folder)
    folder = make_folder(folder)
    write_atomic(folder / WEIGHTS_FILE, weights.content, mode=0o600)
    write_atomic(folder / PUBLIC_FILE, public.to_bytes())
    return folder / PUBLIC_FILE, folder / WEIGHTS_FILE


def read_public(path: Path) -> PublicModel:
    """The public part, from its file or the folder that it is in.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is no compiled model.
        UsageError: if it is one of another kind.
    """
    path = path / PUBLIC_FILE if path.is_dir() else path
    with placed(path):
        return PublicModel.from_bytes(_read(path, most_bytes=MOST_PUBLIC_BYTES), where=str(path))


def read_model(folder: Path) -> Evaluator:
    """Both parts, ready to compute.

    Raises:
        DataError: if a file cannot be read.
        KeyAccessError: if the weights may be read by other users of the machine.
        IntegrityError: if a file was changed, or the two do not belong together.

    Guarantee: the weights are those that the public part names (SHA-256), and a plan whose noise would not hide them is
    refused: of a linear model and a forest by its integers, of a network by the bounds that stand in its plan. Whoever
    can write the public part changes the plan, and whoever can replace both files replaces the model: clients see
    another digest then, and nobody else does.
    """
    public = read_public(folder)
    plan, kind, path = public.plan, public.kind, folder / WEIGHTS_FILE
    magic = _magic(kind)
    start = len(magic) + _SALT_BYTES
    content = _read(path, most_bytes=start + kind.server.packed_bytes(plan), private=True)
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), public.weights_sha256):
        raise IntegrityError("the weights are not those that the public part was written with", where=str(path))
    if len(content) < start or not content.startswith(magic):
        raise IntegrityError(f"these are no weights of a compiled {kind.name} model", where=str(path))
    try:
        return kind.server.evaluator(public, kind.server.unpack(content[start:], plan))
    except (ValueError, OverflowError) as error:
        raise IntegrityError(f"the weights are refused: {error}", where=str(path)) from error


def _magic(kind: Kind) -> bytes:
    return f"wardline {kind.name} weights/1\n".encode()


def _read(path: Path, *, most_bytes: int, private: bool = False) -> bytes:
    """A regular file's bytes. A link is not followed and a pipe is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IntegrityError("it is not a regular file", where=str(path))
            if private and stat.S_IMODE(status.st_mode) & 0o077:
                raise KeyAccessError(
                    "other users of this machine may read or change the weights",
                    where=str(path),
                    hint=f"chmod 600 {path}",
                )
            if status.st_size > most_bytes:
                raise IntegrityError(f"it is larger than {most_bytes} bytes", where=str(path))
            return file.read(most_bytes)
    except OSError as error:
        raise DataError(
            f"cannot read the compiled model: {(error.strerror or 'unknown reason').lower()}",
            where=str(path),
            hint=f"name the folder that `wardline he compile` wrote, with {PUBLIC_FILE} as a file and not as a link",
        ) from error
