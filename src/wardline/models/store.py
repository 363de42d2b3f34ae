"""Models on disk: `model.safetensors` and `model.json`, never a pickle.

The JSON names the weights' digest, so that the two files belong together, and the digest of the JSON stands
for the whole model. Loading runs no code from the files and opens no path that they name.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardline.core import (
    DataError,
    IntegrityError,
    canonical_json,
    digest_bytes,
    digest_value,
    make_folder,
    write_atomic,
)
from wardline.models.architecture import architecture_from_json, architecture_to_json, columns, parameter_shapes
from wardline.models.tensors import MAX_HEADER_BYTES, pack_tensors, unpack_tensors
from wardline.models.trained import TrainedModel

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
SCHEMA = "wardline.model/1"

_MAX_DESCRIPTION_BYTES = 1 << 24
_KEYS = {"schema", "architecture", "features", "classes", "weights_sha256"}


def model_files(model: TrainedModel) -> dict[str, bytes]:
    """The two files of a model, by name."""
    weights = pack_tensors(model.parameters)
    description = {
        "schema": SCHEMA,
        "architecture": architecture_to_json(model.architecture),
        "features": model.features,
        "classes": model.classes,
        "weights_sha256": digest_bytes(weights),
    }
    return {DESCRIPTION_FILE: canonical_json(description), WEIGHTS_FILE: weights}


def model_from_files(files: Mapping[str, bytes], *, where: str = "") -> TrainedModel:
    """The model of two files that `model_files` made, or that a stranger may have sent.

    Args:
        files: content by name; other names are of no concern.
        where: the place for error messages.

    Raises:
        IntegrityError: if the files are not a model, or do not belong together.
    """
    try:
        description, weights = files[DESCRIPTION_FILE], files[WEIGHTS_FILE]
    except KeyError as error:
        raise _refused(f"there is no {error.args[0]}", where) from None
    return _judge(description, weights, *(str(Path(where, name)) for name in (DESCRIPTION_FILE, WEIGHTS_FILE)))


def save(model: TrainedModel, folder: Path) -> tuple[Path, ...]:
    """Write a model into a folder, which is made if it is missing; each file whole or not at all.

    The description is written last. A crash between the two leaves a pair whose digests disagree, which
    `load` refuses, never a mixture that loads.

    Returns:
        The files: description, then weights.

    Raises:
        WorkspaceError: if they cannot be written.
    """
    folder = make_folder(Path(folder))
    files = model_files(model)
    for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
        write_atomic(folder / name, files[name])
    return folder / DESCRIPTION_FILE, folder / WEIGHTS_FILE


def load(path: Path, *, sha256: str | None = None) -> TrainedModel:
    """Read a model that `save` wrote, from files that a stranger may have sent.

    Args:
        path: the folder, or either of its two files.
        sha256: what `model_digest` must say about the very bytes that are loaded; None trusts the files.

    Raises:
        DataError: if a file is missing or cannot be read.
        IntegrityError: if the files are not a model, do not belong together, or have another digest.
    """
    description, weights, digest = _read(path)
    if sha256 is not None and digest != sha256:
        raise IntegrityError(
            "the model has another digest than expected", where=str(path), hint="get it again from its source"
        )
    return model_from_files({DESCRIPTION_FILE: description, WEIGHTS_FILE: weights}, where=str(_folder(path)))


def _judge(description: bytes, weights: bytes, where: str, weights_where: str) -> TrainedModel:
    value = _parse(description, where)
    try:
        architecture = architecture_from_json(value["architecture"])
    except ValueError as error:
        raise _refused(str(error), where) from error
    features, classes = (_names(value[key], key, where) for key in ("features", "classes"))
    if len(features) != columns(architecture) or len(classes) != architecture.classes:
        raise _refused("the names of features or classes are not as many as the architecture says", where)
    if value["weights_sha256"] != digest_bytes(weights):
        raise _refused(f"{WEIGHTS_FILE} is not the file that it was written with", where)
    tensors, metadata = unpack_tensors(weights, shapes=parameter_shapes(architecture), where=weights_where)
    if metadata:
        raise _refused(f"{WEIGHTS_FILE} carries metadata that nothing here writes", where)
    return TrainedModel(architecture=architecture, parameters=tensors, features=features, classes=classes)


def model_digest(path: Path) -> str:
    """One SHA-256 for both files of a model, as 64 hexadecimal digits; the files are not judged otherwise.

    Raises:
        DataError: if a file is missing or cannot be read.
    """
    return _read(path)[2]


def _folder(path: Path) -> Path:
    path = Path(path)
    return path.parent if path.name in (WEIGHTS_FILE, DESCRIPTION_FILE) else path


def _read(path: Path) -> tuple[bytes, bytes, str]:
    folder = _folder(path)
    description = read_model_file(folder / DESCRIPTION_FILE, _MAX_DESCRIPTION_BYTES)
    weights = read_model_file(folder / WEIGHTS_FILE, _expected_bytes(description, str(folder / DESCRIPTION_FILE)))
    digest = digest_value({DESCRIPTION_FILE: digest_bytes(description), WEIGHTS_FILE: digest_bytes(weights)})
    return description, weights, digest


def _expected_bytes(description: bytes, where: str) -> int:
    """The most bytes that the weights may have, so that a huge file is refused before it is read."""
    try:
        shapes = parameter_shapes(architecture_from_json(_parse(description, where)["architecture"]))
    except ValueError as error:
        raise _refused(str(error), where) from error
    return 8 + MAX_HEADER_BYTES + 4 * sum(math.prod(shape) for shape in shapes.values())


def read_model_file(path: Path, most_bytes: int) -> bytes:
    """A regular file's bytes. A link is not followed and a pipe or device is not waited for.

    Args:
        path: the file.
        most_bytes: a longer file is refused before it is read.

    Raises:
        DataError: if it cannot be read.
        IntegrityError: if it is longer, or no regular file.
    """
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
                return file.read(most_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(
            f"cannot read the model: {(error.strerror or str(error)).lower()}",
            where=str(path),
            hint="name a folder that holds model.json and model.safetensors, as files and not as links",
        ) from error


def _parse(description: bytes, where: str) -> dict[str, Any]:
    """Canonical JSON with exactly our keys. Being canonical, it has no doubled key, no NaN and one spelling."""
    try:
        value = json.loads(description.decode("utf-8"))
        canonical = canonical_json(value) == description
    except (ValueError, TypeError, RecursionError) as error:
        raise _refused("it is not canonical JSON", where) from error
    if not canonical:
        raise _refused("it is not canonical JSON", where)
    if not isinstance(value, dict) or set(value) != _KEYS:
        raise _refused(f"its keys are not {', '.join(sorted(_KEYS))}", where)
    if value["schema"] != SCHEMA:
        raise _refused(f"its schema is not {SCHEMA}", where)
    return value


def _names(value: object, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _refused(f"{key} is not a list of names", where)
    return tuple(value)


def _refused(reason: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"not a model that can be trusted: {reason}", where=where, hint="get it again from its source"
    )
