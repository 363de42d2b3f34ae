"""Text classifiers on disk: `text.safetensors` and `text.json`, in the form that `model_format` judges."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardline.models.model_format import ModelFormat, Parameters, names_of
from wardline.models.text import TextArchitecture, TextModel
from wardline.models.text_features import TextFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    architecture: TextArchitecture
    classes: tuple[str, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self.architecture.shapes()

    def model(self, parameters: Parameters) -> TextModel:
        return TextModel(architecture=self.architecture, parameters=parameters, classes=self.classes)


def _judge(value: Mapping[str, Any]) -> _Description:
    fields = _exactly(value["architecture"], TextArchitecture)
    features = TextFeatures(**_exactly(fields.pop("features"), TextFeatures))
    architecture = TextArchitecture(features=features, **fields)
    return _Description(
        architecture=architecture, classes=names_of(value["classes"], "classes", count=architecture.classes)
    )


def _exactly(value: object, kind: type[TextArchitecture] | type[TextFeatures]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(value, dict) or set(value) != names:
        raise ValueError(f"the architecture has exactly the keys {', '.join(sorted(names))}")
    return dict(value)


FORMAT = ModelFormat(
    description_file="text.json",
    weights_file="text.safetensors",
    schema="wardline.text/1",
    keys=frozenset({"architecture", "classes"}),
    max_description_bytes=1 << 20,
    judge=_judge,
)
"""How text classifiers are saved."""


def text_model_files(model: TextModel) -> dict[str, bytes]:
    """The two files of a model, by name."""
    values = {"architecture": dataclasses.asdict(model.architecture), "classes": model.classes}
    return FORMAT.pack(values, model.parameters)


def text_model_from_files(files: Mapping[str, bytes], *, where: str = "") -> TextModel:
    """The model of two files that `text_model_files` made, or that a stranger may have sent.

    Args:
        files: content by name; other names are of no concern.
        where: the place for error messages.

    Raises:
        IntegrityError: if the files are not a model, or do not belong together.
    """
    return FORMAT.unpack(files, where=where)


def save_text(model: TextModel, folder: Path) -> tuple[Path, ...]:
    """Write a model into a folder, which is made if it is missing; each file whole or not at all.

    Returns:
        The files: description, then weights.

    Raises:
        WorkspaceError: if they cannot be written.
    """
    return FORMAT.save(folder, text_model_files(model))


def load_text(path: Path) -> TextModel:
    """Read a model that `save_text` wrote, from files that a stranger may have sent.

    Args:
        path: the folder, or either of its two files.

    Raises:
        DataError: if a file is missing or cannot be read.
        IntegrityError: if the files are not a model, or do not belong together.
    """
    return FORMAT.open(path)[0]
