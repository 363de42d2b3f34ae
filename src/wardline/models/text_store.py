"""Text classifiers on disk: `text.safetensors` and `text.json`, in the manner of `store`, never a pickle."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardline.core import IntegrityError, canonical_json, digest_bytes, make_folder, write_atomic
from wardline.models.store import read_model_file
from wardline.models.tensors import MAX_HEADER_BYTES, pack_tensors, unpack_tensors
from wardline.models.text import TextArchitecture, TextModel
from wardline.models.text_features import TextFeatures

WEIGHTS_FILE = "text.safetensors"
DESCRIPTION_FILE = "text.json"
SCHEMA = "wardline.text/1"

_MAX_DESCRIPTION_BYTES = 1 << 20
_KEYS = {"schema", "architecture", "classes", "weights_sha256"}


def text_model_files(model: TextModel) -> dict[str, bytes]:
    """The two files of a model, by name."""
    weights = pack_tensors(model.parameters)
    description = {
        "schema": SCHEMA,
        "architecture": dataclasses.asdict(model.architecture),
        "classes": model.classes,
        "weights_sha256": digest_bytes(weights),
    }
    return {DESCRIPTION_FILE: canonical_json(description), WEIGHTS_FILE: weights}


def text_model_from_files(files: Mapping[str, bytes], *, where: str = "") -> TextModel:
    """The model of two files that `text_model_files` made, or that a stranger may have sent.

    Args:
        files: content by name; other names are of no concern.
        where: the place for error messages.

    Raises:
        IntegrityError: if the files are not a model, or do not belong together.
    """
    for name in (DESCRIPTION_FILE, WEIGHTS_FILE):
        if name not in files:
            raise _refused(f"there is no {name}", where)
    value, architecture = _judge(files[DESCRIPTION_FILE], where)
    if value["weights_sha256"] != digest_bytes(files[WEIGHTS_FILE]):
        raise _refused(f"{WEIGHTS_FILE} is not the file that it was written with", where)
    tensors, metadata = unpack_tensors(files[WEIGHTS_FILE], shapes=architecture.shapes(), where=where)
    if metadata:
        raise _refused(f"{WEIGHTS_FILE} carries metadata that nothing here writes", where)
    return TextModel(architecture=architecture, parameters=tensors, classes=tuple(value["classes"]))


def save_text(model: TextModel, folder: Path) -> tuple[Path, ...]:
    """Write a model into a folder, which is made if it is missing; the description last, each file whole or not at all.

    Returns:
        The files: description, then weights.

    Raises:
        WorkspaceError: if they cannot be written.
    """
    folder = make_folder(Path(folder))
    files = text_model_files(model)
    for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
        write_atomic(folder / name, files[name])
    return folder / DESCRIPTION_FILE, folder / WEIGHTS_FILE


def load_text(folder: Path) -> TextModel:
    """Read a model that `save_text` wrote, from files that a stranger may have sent.

    Raises:
        DataError: if a file is missing or cannot be read.
        IntegrityError: if the files are not a model, or do not belong together.
    """
    folder = Path(folder)
    description = read_model_file(folder / DESCRIPTION_FILE, _MAX_DESCRIPTION_BYTES)
    _, architecture = _judge(description, str(folder))
    # How many bytes there may be is known before any is read.
    most = 8 + MAX_HEADER_BYTES + 4 * sum(math.prod(shape) for shape in architecture.shapes().values())
    weights = read_model_file(folder / WEIGHTS_FILE, most)
    return text_model_from_files({DESCRIPTION_FILE: description, WEIGHTS_FILE: weights}, where=str(folder))


def _judge(description: bytes, where: str) -> tuple[dict[str, Any], TextArchitecture]:
    """Canonical JSON with exactly our keys. Being canonical, it has no doubled key, no NaN and one spelling."""
    try:
        value = json.loads(description.decode("utf-8"))
        canonical = canonical_json(value) == description
    except (ValueError, TypeError, RecursionError) as error:
        raise _refused("it is not canonical JSON", where) from error
    if not canonical or not isinstance(value, dict) or set(value) != _KEYS or value["schema"] != SCHEMA:
        raise _refused(f"it is not a description of schema {SCHEMA}", where)
    classes = value["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise _refused("classes is not a list of names", where)
    try:
        architecture = _architecture(value["architecture"])
    except ValueError as error:
        raise _refused(str(error), where) from error
    if len(classes) != architecture.classes:
        raise _refused("the names of classes are not as many as the architecture says", where)
    return value, architecture


def _architecture(value: object) -> TextArchitecture:
    fields = _exactly(value, TextArchitecture)
    features = TextFeatures(**_exactly(fields.pop("features"), TextFeatures))
    return TextArchitecture(features=features, **fields)


def _exactly(value: object, kind: type[TextArchitecture] | type[TextFeatures]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(value, dict) or set(value) != names:
        raise ValueError(f"the architecture has exactly the keys {', '.join(sorted(names))}")
    return dict(value)


def _refused(reason: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"not a model that can be trusted: {reason}", where=where, hint="get it again from its source"
    )
