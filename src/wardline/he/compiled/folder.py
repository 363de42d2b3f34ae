"""A compiled model as a folder: `public.json` for everybody, `weights.bin` for the server alone."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wardline.core import SecureRandom, make_folder, write_atomic
from wardline.core.errors import DataError, IntegrityError, KeyAccessError
from wardline.he.compiled.evaluator import LinearEvaluator
from wardline.he.compiled.public_model import MOST_PUBLIC_BYTES, PublicModel
from wardline.he.linear.plan import LinearPlan, LinearWeights

PUBLIC_FILE = "public.json"
WEIGHTS_FILE = "weights.bin"

_MAGIC = b"wardline linear weights/1\n"
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedWeights:
    """The server's file.

    Attributes:
        content: magic, 32 random bytes, weights [outputs, features] and bias [outputs] as little-endian 64-bit numbers.
        sha256: of the content, 64 hexadecimal digits.
    """

    content: bytes = field(repr=False)
    sha256: str


def pack_weights(secret: LinearWeights) -> PackedWeights:
    """The server's file of these weights; another one on every call, since its salt is drawn afresh."""
    salt = SecureRandom().bytes(_SALT_BYTES)
    content = _MAGIC + salt + secret.weights.astype("<i8").tobytes() + secret.bias.astype("<i8").tobytes()
    return PackedWeights(content=content, sha256=hashlib.sha256(content).hexdigest())


def write_model(folder: Path, public: PublicModel, weights: PackedWeights) -> tuple[Path, Path]:
    """Write both files; a crash in between leaves a pair that `read_model` refuses.

    Args:
        folder: made if it is missing.
        public: names the digest of `weights`.
        weights: readable for their owner alone (mode 0600).

    Returns:
        The public file and the server's.

    Raises:
        ValueError: if the two do not belong together.
        WorkspaceError: if they cannot be written.
    """
    if public.weights_sha256 != weights.sha256:
        raise ValueError("the public part names other weights")
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
    return PublicModel.from_bytes(_read(path, most_bytes=MOST_PUBLIC_BYTES), where=str(path))


def read_model(folder: Path) -> LinearEvaluator:
    """Both parts, ready to compute.

    Raises:
        DataError: if a file cannot be read.
        KeyAccessError: if the weights may be read by other users of the machine.
        IntegrityError: if a file was changed, or the two do not belong together.

    Guarantee: the weights are those that the public part was written with (SHA-256). Whoever can replace both files
    replaces the model: clients see another digest then.
    """
    public = read_public(folder)
    plan, path = public.plan, folder / WEIGHTS_FILE
    size = len(_MAGIC) + _SALT_BYTES + 8 * plan.outputs * (plan.features + 1)
    content = _read(path, most_bytes=size, private=True)
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), public.weights_sha256):
        raise IntegrityError("the weights are not those that the public part was written with", where=str(path))
    if len(content) != size or not content.startswith(_MAGIC):
        raise IntegrityError("these are no weights of a compiled linear model", where=str(path))
    return LinearEvaluator(public=public, secret=_weights(content, plan, str(path)))


def _weights(content: bytes, plan: LinearPlan, where: str) -> LinearWeights:
    numbers = np.frombuffer(content, dtype="<i8", offset=len(_MAGIC) + _SALT_BYTES).astype(np.int64)
    count = plan.outputs * plan.features
    weights, bias = numbers[:count].reshape(plan.outputs, plan.features), numbers[count:]
    # What the plan says must hold of them: sums of integers within its bound never leave the plain modulus.
    most = plan.bound * plan.scale * (1 + 1e-9) + plan.features * 2.0**24
    sizes = 2.0**24 * np.abs(weights.astype(np.float64)).sum(axis=1) + np.abs(bias.astype(np.float64))
    if float(sizes.max()) > 2 * most:
        raise IntegrityError("the weights are larger than their plan says", where=where)
    return LinearWeights(weights=np.ascontiguousarray(weights), bias=np.ascontiguousarray(bias))


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
