"""How every saved model is written and read: a description in strict JSON and weights as safetensors, never a pickle.

The description names the weights' digest, so that the two files belong together. Both are read as if a stranger had
written them: reading runs no code from the files, opens no path that they name, and takes no more memory than what the
description may ask for.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from wardline.core import (
    DataError,
    IntegrityError,
    canonical_json,
    digest_bytes,
    digest_value,
    make_folder,
    write_atomic,
)
from wardline.models.tensors import MAX_HEADER_BYTES, pack_tensors, unpack_tensors

Parameters = Mapping[str, npt.NDArray[np.float32]]
Model = TypeVar("Model")
_Model_co = TypeVar("_Model_co", covariant=True)

_COMMON_KEYS = frozenset({"schema", "weights_sha256"})


class Described(Protocol[_Model_co]):
    """What a description says, once it is judged: which tensors there must be, and what they make."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of all parameters."""

    def model(self, parameters: Parameters) -> _Model_co:
        """The model of parameters that have these names and shapes and are finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFormat(Generic[Model]):
    """One kind of saved model.

    Attributes:
        description_file: name of the file with the description.
        weights_file: name of the file with the weights.
        schema: what the description says that it is.
        keys: what else it says; exactly these keys, ``schema`` and ``weights_sha256`` stand in it.
        max_description_bytes: a longer description is refused before it is read.
        judge: what the values under `keys` say; a `ValueError` for any that are not right. They are JSON, and nothing
            else is known about them.
    """

    description_file: str
    weights_file: str
    schema: str
    keys: frozenset[str]
    max_description_bytes: int
    judge: Callable[[Mapping[str, Any]], Described[Model]] = field(repr=False)

    @property
    def names(self) -> tuple[str, str]:
        """The two files: description, then weights."""
        return self.description_file, self.weights_file

    def pack(self, values: Mapping[str, Any], parameters: Parameters) -> dict[str, bytes]:
        """The two files, by name.

        Args:
            values: a JSON value for each of `keys`.
            parameters: by name.
        """
        weights = pack_tensors(parameters)
        description = {**values, "schema": self.schema, "weights_sha256": digest_bytes(weights)}
        return {self.description_file: canonical_json(description), self.weights_file: weights}

    def unpack(self, files: Mapping[str, bytes], *, where: str = "") -> Model:
        """The model of two files that `pack` made, or that a stranger may have sent.

        Args:
            files: content by name; other names are of no concern.
            where: the folder for error messages.

        Raises:
            IntegrityError: if the files are not a model, or do not belong together.
        """
        for name in self.names:
            if name not in files:
                raise _refused(f"there is no {name}", where)
        description, weights = (files[name] for name in self.names)
        description_where, weights_where = (str(Path(where, name)) for name in self.names)
        described, sha256 = self._judged(description, description_where)
        if sha256 != digest_bytes(weights):
            raise _refused(f"{self.weights_file} is not the file that it was written with", description_where)
        tensors, metadata = unpack_tensors(weights, shapes=described.shapes(), where=weights_where)
        if metadata:
            raise _refused(f"{self.weights_file} carries metadata that nothing here writes", weights_where)
        return described.model(tensors)

    def save(self, folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
        """Write what `pack` made into a folder, which is made if it is missing; each file whole or not at all.

        The description is written last. A crash between the two leaves a pair whose digests disagree, which `open`
        refuses, never a mixture that loads.

        Returns:
            The files: description, then weights.

        Raises:
            WorkspaceError: if they cannot be written.
        """
        folder = make_folder(Path(folder))
        for name in reversed(self.names):
            write_atomic(folder / name, files[name])
        return tuple(folder / name for name in self.names)

    def open(self, path: Path) -> tuple[Model, str]:
        """The model in a folder, and the digest of the very bytes that it was read from; see `digest`.

        Args:
            path: the folder, or either of the two files.

        Raises:
            DataError: if a file is missing or cannot be read.
            IntegrityError: if the files are not a model, or do not belong together.
        """
        files = self._read(path)
        return self.unpack(files, where=str(self._folder(path))), _digest(files)

    def digest(self, path: Path) -> str:
        """One SHA-256 for both files, as 64 hexadecimal digits; the weights are not judged.

        Raises:
            DataError: if a file is missing or cannot be read.
            IntegrityError: if the description is none, or the weights are larger than it says.
        """
        return _digest(self._read(path))

    def _folder(self, path: Path) -> Path:
        path = Path(path)
        return path.parent if path.name in self.names else path

    def _read(self, path: Path) -> dict[str, bytes]:
        description_path, weights_path = (self._folder(path) / name for name in self.names)
        description = self._file(description_path, self.max_description_bytes)
        # What the weights may take is known before any of them is read: a huge file is refused.
        described, _ = self._judged(description, str(description_path))
        most = 8 + MAX_HEADER_BYTES + 4 * sum(math.prod(shape) for shape in described.shapes().values())
        return {self.description_file: description, self.weights_file: self._file(weights_path, most)}

    def _file(self, path: Path, most_bytes: int) -> bytes:
        """A regular file's bytes. A link is not followed and a pipe or device is not waited for."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise _refused("it is not a regular file", str(path))
                if status.st_size > most_bytes:
                    raise _refused(f"it is larger than {most_bytes} bytes", str(path))
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    # Reads at most what was checked, even if the file grows meanwhile.
                    return file.read(status.st_size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DataError(
                f"cannot read the model: {(error.strerror or str(error)).lower()}",
                where=str(path),
                hint=f"name a folder that holds {' and '.join(self.names)}, as files and not as links",
            ) from error

    def _judged(self, description: bytes, where: str) -> tuple[Described[Model], object]:
        """What a description says, and the digest that it claims for the weights."""
        value = self._parsed(description, where)
        try:
            return self.judge({key: value[key] for key in self.keys}), value["weights_sha256"]
        except ValueError as error:
            raise _refused(str(error), where) from error

    def _parsed(self, description: bytes, where: str) -> dict[str, Any]:
        """Canonical JSON with exactly our keys. Being canonical, it has no doubled key, no NaN and one spelling."""
        try:
            value = json.loads(description.decode("utf-8"))
            canonical = canonical_json(value) == description
        except (ValueError, TypeError, RecursionError) as error:
            raise _refused("it is not canonical JSON", where) from error
        if not canonical:
            raise _refused("it is not canonical JSON", where)
        keys = self.keys | _COMMON_KEYS
        if not isinstance(value, dict) or set(value) != keys:
            raise _refused(f"its keys are not {', '.join(sorted(keys))}", where)
        if value["schema"] != self.schema:
            raise _refused(f"its schema is not {self.schema}", where)
        return value


def names_of(value: object, key: str, *, count: int) -> tuple[str, ...]:
    """A list of so many names, out of a description.

    Raises:
        ValueError: if it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{key} is not a list of names")
    if len(value) != count:
        raise ValueError(f"{key} holds {len(value)} names, the architecture says {count}")
    return tuple(value)


def _digest(files: Mapping[str, bytes]) -> str:
    return digest_value({name: digest_bytes(content) for name, content in files.items()})


def _refused(reason: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"not a model that can be trusted: {reason}", where=where, hint="get it again from its source"
    )
