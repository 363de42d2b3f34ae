"""Programs on disk: `program.json` and `program.safetensors`, read as if a stranger had written them.

The description names the weights' digest, so that the two belong together. Nothing in them is run, and nothing larger
than the description allows is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wardline.core import (
    DataError,
    IntegrityError,
    canonical_json,
    digest_bytes,
    digest_value,
    make_folder,
    need,
    write_atomic,
)
from wardline.he.compiler.convolution import LARGEST_LAYER, Convolution, Values
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Layer, Polynomial
from wardline.he.compiler.program import Meaning, Program

DESCRIPTION_FILE = "program.json"
WEIGHTS_FILE = "program.safetensors"
_SCHEMA = "wardline.he.program/1"
_MAX_DESCRIPTION_BYTES = 1 << 24
_MAX_WEIGHTS_BYTES = 1 << 30
_MAX_LAYERS = 1 << 10
_ARRAYS: Mapping[str, tuple[str, str]] = {
    "affine": ("weights", "offset"),
    "diagonal": ("factors", "offset"),
    "convolution": ("kernel", "offset"),
}
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "affine": (),
    "diagonal": (),
    "convolution": ("input_shape", "stride", "padding", "dilation", "groups"),
    "polynomial": ("coefficients", "units", "basis", "interval"),
    "activation": ("kind", "units"),
}
_CLASSES: Mapping[str, type[Layer]] = {
    "affine": Affine,
    "diagonal": Diagonal,
    "convolution": Convolution,
    "polynomial": Polynomial,
    "activation": Activation,
}


def program_files(program: Program) -> dict[str, bytes]:
    """The two files of a program, by name; the same bytes for the same program."""
    tensors: dict[str, Values] = {}
    layers = []
    for index, layer in enumerate(program.layers):
        kind = next(name for name, one in _CLASSES.items() if type(layer) is one)
        described: dict[str, Any] = {"type": kind, "name": layer.name}
        for name in _OTHERS[kind]:
            value = getattr(layer, name)
            described[name] = list(value) if isinstance(value, tuple) else value
        for name in _ARRAYS.get(kind, ()):
            tensors[f"{index}.{name}"] = getattr(layer, name)
            described[f"{name}_shape"] = list(tensors[f"{index}.{name}"].shape)
        layers.append(described)
    weights = _tensors().pack_tensors(tensors)
    meaning = program.meaning
    description = {
        "schema": _SCHEMA,
        "input_shape": list(program.input_shape),
        "features": list(program.features),
        "meaning": {
            "gives": meaning.gives,
            "classes": list(meaning.classes),
            "threshold": meaning.threshold,
            "link": meaning.link,
        },
        "layers": layers,
        "weights_sha256": digest_bytes(weights),
    }
    return {DESCRIPTION_FILE: canonical_json(description), WEIGHTS_FILE: weights}


def program_digest(program: Program) -> str:
    """One SHA-256 for all that a program is, as 64 hexadecimal digits: what results are tied to."""
    return digest_value({name: digest_bytes(data) for name, data in program_files(program).items()})


def program_from_files(files: Mapping[str, bytes], *, where: str = "") -> Program:
    """The program of two files that `program_files` made, or that a stranger may have sent.

    Args:
        files: content by name.
        where: the place for error messages.

    Raises:
        IntegrityError: if the files are no program, or do not belong together.
    """
    for name, limit in ((DESCRIPTION_FILE, _MAX_DESCRIPTION_BYTES), (WEIGHTS_FILE, _MAX_WEIGHTS_BYTES)):
        if len(files.get(name, b"")) > limit or name not in files:
            raise _refused(f"{name} is missing or has more than {limit} bytes", where)
    try:
        found = json.loads(files[DESCRIPTION_FILE].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refused("its description is no JSON", where) from error
    weights = files[WEIGHTS_FILE]
    try:
        # Whatever was written canonically is read back; anything else (a key twice, another order) is not.
        if not isinstance(found, dict) or canonical_json(found) != files[DESCRIPTION_FILE]:
            raise ValueError("its description is not in canonical form")
        if found["schema"] != _SCHEMA or found["weights_sha256"] != digest_bytes(weights):
            raise ValueError("its weights are not those that it was written with")
        if len(found["layers"]) > _MAX_LAYERS:
            raise ValueError(f"it has more than {_MAX_LAYERS} layers")
        shapes = _shapes(found["layers"])
        tensors, _ = _tensors().unpack_tensors(weights, shapes=shapes, dtype="float64", where=where)
        program = Program(
            input_shape=tuple(map(_whole, found["input_shape"])),
            layers=tuple(_layer(index, one, tensors) for index, one in enumerate(found["layers"])),
            meaning=Meaning(**{**found["meaning"], "classes": tuple(map(str, found["meaning"]["classes"]))}),
            features=tuple(map(str, found["features"])),
        )
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise _refused(str(error), where) from error
    if program_files(program) != {name: files[name] for name in (DESCRIPTION_FILE, WEIGHTS_FILE)}:
        raise _refused("it holds more than a program", where)
    return program


def save_program(program: Program, folder: Path) -> tuple[Path, ...]:
    """Write a program into a folder, which is made if it is missing; the description last.

    Returns:
        The files: weights, then description.

    Raises:
        WorkspaceError: if they cannot be written.
    """
    files = program_files(program)
    make_folder(folder)
    paths = tuple(folder / name for name in (WEIGHTS_FILE, DESCRIPTION_FILE))
    for path in paths:
        write_atomic(path, files[path.name])
    return paths


def load_program(folder: Path) -> Program:
    """Read a program that `save_program` wrote, from files that a stranger may have sent.

    Raises:
        DataError: if a file is missing or cannot be read.
        IntegrityError: if the files are no program, or do not belong together.
    """
    files = {}
    for name, limit in ((DESCRIPTION_FILE, _MAX_DESCRIPTION_BYTES), (WEIGHTS_FILE, _MAX_WEIGHTS_BYTES)):
        try:
            with (folder / name).open("rb") as file:
                files[name] = file.read(limit + 1)
        except OSError as error:
            raise DataError(
                f"the program's {name} cannot be read", where=str(folder), hint="name the folder that it was saved in"
            ) from error
    return program_from_files(files, where=str(folder))


def _tensors() -> Any:
    return need("wardline.models.tensors", extra="torch")  # it leans on safetensors


def _shapes(layers: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for index, layer in enumerate(layers):
        for name in _ARRAYS.get(layer["type"], ()):
            shape = tuple(map(_whole, layer[f"{name}_shape"]))
            if math.prod(shape) > _MAX_WEIGHTS_BYTES // 8:
                raise ValueError("a layer is larger than any that is read")
            shapes[f"{index}.{name}"] = shape
    return shapes


def _layer(index: int, described: dict[str, Any], tensors: Mapping[str, Values]) -> Layer:
    kind = described["type"]
    values: dict[str, Any] = {"name": _text(described["name"])}
    for name in _OTHERS[kind]:
        value = described[name]
        values[name] = tuple(value) if isinstance(value, list) else value
    if kind == "convolution":
        for name in ("input_shape", "stride", "padding", "dilation"):
            values[name] = tuple(map(_whole, values[name]))
        if [len(values[name]) for name in ("stride", "padding", "dilation")] != [2, 4, 2]:
            raise ValueError("a convolution has two steps, four paddings and two dilations")
        _whole(values["groups"])
    if "units" in values:
        _whole(values["units"])
    if kind == "polynomial":
        values["coefficients"] = tuple(map(float, values["coefficients"]))
        values["interval"] = tuple(map(float, values["interval"]))
        if len(values["interval"]) != 2:
            raise ValueError("an interval has two ends")
    arrays = {name: np.asarray(tensors[f"{index}.{name}"], dtype=np.float64) for name in _ARRAYS.get(kind, ())}
    maker: Any = _CLASSES[kind]  # what it refuses among these values is a ValueError or TypeError
    made: Layer = maker(**values, **arrays)
    return made


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_LAYER:
        raise ValueError("sizes are whole numbers that a layer can have")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("names are text")
    return value


def _refused(reason: str, where: str) -> IntegrityError:
    return IntegrityError(f"not a program: {reason}", where=where, hint="get it again from its source")
