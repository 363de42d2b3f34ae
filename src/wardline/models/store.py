"""Models on disk: `model.safetensors` and `model.json`, in the form that `model_format` judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardline.core import IntegrityError
from wardline.models.architecture import (
    Architecture,
    architecture_from_json,
    architecture_to_json,
    columns,
    parameter_shapes,
)
from wardline.models.model_format import ModelFormat, Parameters, names_of
from wardline.models.trained import TrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    architecture: Architecture
    features: tuple[str, ...]
    classes: tuple[str, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return parameter_shapes(self.architecture)

    def model(self, parameters: Parameters) -> TrainedModel:
        return TrainedModel(
            architecture=self.architecture, parameters=parameters, features=self.features, classes=self.classes
        )


def _judge(value: Mapping[str, Any]) -> _Description:
    architecture = architecture_from_json(value["architecture"])
    return _Description(
        architecture=architecture,
        features=names_of(value["features"], "features", count=columns(architecture)),
        classes=names_of(value["classes"], "classes", count=architecture.classes),
    )


FORMAT = ModelFormat(
    description_file="model.json",
    weights_file="model.safetensors",
    schema="wardline.model/1",
    keys=frozenset({"architecture", "features", "classes"}),
    max_description_bytes=1 << 24,
    judge=_judge,
)
"""How models of numbers are saved."""


def model_files(model: TrainedModel) -> dict[str, bytes]:
    """The two files of a model, by name."""
    values = {
        "architecture": architecture_to_json(model.architecture),
        "features": model.features,
        "classes": model.classes,
    }
    return FORMAT.pack(values, model.parameters)


def model_from_files(files: Mapping[str, bytes], *, where: str = "") -> TrainedModel:
    """The model of two files that `model_files` made, or that a stranger may have sent.

    Args:
        files: content by name; other names are of no concern.
        where: the place for error messages.

    Raises:
        IntegrityError: if the files are not a model, or do not belong together.
    """
    return FORMAT.unpack(files, where=where)


def save(model: TrainedModel, folder: Path) -> tuple[Path, ...]:
    """Write a model into a folder, which is made if it is missing; each file whole or not at all.

    Returns:
        The files: description, then weights.

    Raises:
        WorkspaceError: if they cannot be written.
    """
    return FORMAT.save(folder, model_files(model))


def load(path: Path, *, sha256: str | None = None) -> TrainedModel:
    """Read a model that `save` wrote, from files that a stranger may have sent.

    Args:
        path: the folder, or either of its two files.
        sha256: what `model_digest` must say about the very bytes that are loaded; None trusts the files.

    Raises:
        DataError: if a file is missing or cannot be read.
        IntegrityError: if the files are not a model, do not belong together, or have another digest.
    """
    model, digest = FORMAT.open(path)
    if sha256 is not None and digest != sha256:
        raise IntegrityError(
            "the model has another digest than expected", where=str(path), hint="get it again from its source"
        )
    return model
