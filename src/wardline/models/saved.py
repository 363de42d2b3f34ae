"""A saved model of either kind: which one lies in a folder, its digest, and the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from wardline.core import DataError
from wardline.models import store, text_store
from wardline.models.model_format import ModelFormat
from wardline.models.text import TextModel
from wardline.models.trained import TrainedModel

SavedModel: TypeAlias = TrainedModel | TextModel
"""What `store` and `text_store` save."""

_FORMATS: tuple[ModelFormat[TrainedModel] | ModelFormat[TextModel], ...] = (store.FORMAT, text_store.FORMAT)


def open_saved(path: Path) -> tuple[SavedModel, str] | None:
    """The saved model at a path, and the digest of the very bytes that it was read from; None if there is none.

    Args:
        path: a folder, or one of a model's two files. A folder that holds no description is no saved model.

    Raises:
        DataError: if a file cannot be read, or a folder holds models of both kinds.
        IntegrityError: if the files are not a model, or do not belong together.
    """
    kind = _kind(Path(path))
    return None if kind is None else kind.open(path)


def model_digest(path: Path) -> str:
    """One SHA-256 for both files of a model of either kind, as 64 hexadecimal digits; the weights are not judged.

    Args:
        path: as for `open_saved`.

    Raises:
        DataError: if there is no model, a file cannot be read, or a folder holds models of both kinds.
        IntegrityError: if the description is none, or the weights are larger than it says.
    """
    return (_kind(Path(path)) or store.FORMAT).digest(path)


def _kind(path: Path) -> ModelFormat[TrainedModel] | ModelFormat[TextModel] | None:
    if not path.is_dir():
        return next((kind for kind in _FORMATS if path.name in kind.names), None)
    found = [kind for kind in _FORMATS if (path / kind.description_file).exists()]
    if len(found) > 1:
        raise DataError(
            "this folder holds two models",
            where=str(path),
            hint=f"name one of {', '.join(kind.description_file for kind in found)} in it",
        )
    return found[0] if found else None
