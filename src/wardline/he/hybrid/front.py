"""The front of a split model: what a client runs in the clear, and how it is written, without any code in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardline.core import (
    DataError,
    IntegrityError,
    UsageError,
    canonical_json,
    digest_bytes,
    digest_value,
    make_folder,
    need,
    write_atomic,
)
from wardline.he.compiler.program import Program
from wardline.he.compiler.store import DESCRIPTION_FILE, WEIGHTS_FILE, program_files, program_from_files
from wardline.he.hybrid.modules import MOST_NUMBERS, Leaf, module_of, parameters_of, settings_of, shape_after
from wardline.models.threads import one_thread

Floats: TypeAlias = npt.NDArray[np.float64]

FRONT_FILE, FRONT_WEIGHTS_FILE = "front.json", "front.safetensors"
_SCHEMA = "wardline.he.front/1"
_MOST_DESCRIPTION_BYTES = 1 << 22
_MOST_WEIGHTS_BYTES = 1 << 30
_MOST_LAYERS = 1 << 10
_ROWS_AT_ONCE = 256


class Front(Protocol):
    """What a client computes in the clear before it encrypts."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a row."""
        ...

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of its features, before they are flattened."""
        ...

    @property
    def parameters(self) -> int:
        """Numbers that it holds, all of which the client gets."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of its files, 64 hexadecimal digits."""
        ...

    def features(self, x: npt.NDArray[Any]) -> Floats:
        """Features of rows: [rows, *input_shape] (or flattened) to [rows, features]."""
        ...

    def files(self) -> dict[str, bytes]:
        """Its two files, by name: the same bytes for the same front."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchFront:
    """Layers of torch, in evaluation mode, in 32-bit numbers.

    Attributes:
        input_shape: of a row.
        output_shape: of its features.
        names: of the layers.
        modules: the layers, which nobody else changes.
        digest: of its files.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    names: tuple[str, ...]
    modules: tuple[nn.Module, ...] = field(repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", _digest(self.files()))

    @classmethod
    def of(cls, leaves: Sequence[Leaf], input_shape: tuple[int, ...]) -> TorchFront:
        """Of layers of a model, which are copied.

        Raises:
            UsageError: naming a layer that cannot be written, or does not fit what comes in.
        """
        modules = []
        shape = input_shape
        for name, layer in leaves:
            try:
                made = module_of(type(layer).__name__, settings_of(layer, name))
                shape = shape_after([made], shape)
                numbers = {key: value.detach().cpu().float().numpy() for key, value in layer.state_dict().items()}
                _fill(made, numbers)
            except (ValueError, TypeError, RuntimeError) as error:
                raise UsageError(
                    f"the layer cannot be written into a front: {str(error).splitlines()[0]}",
                    where=name,
                    hint="check that the model reads rows of the sample's shape, and that the layer is an ordinary one",
                ) from error
            modules.append(made)
        names = tuple(name for name, _ in leaves)
        return cls(input_shape=input_shape, output_shape=shape, names=names, modules=tuple(modules))

    @property
    def parameters(self) -> int:
        """Numbers that it holds, running figures included."""
        return sum(value.numel() for value in parameters_of(self.modules).values())

    def features(self, x: npt.NDArray[Any]) -> Floats:
        """Features of rows, [rows, features]; on one thread, so that equal rows give equal features.

        Raises:
            ValueError: for rows of another shape, or numbers that are not finite.
        """
        rows = _shaped(x, self.input_shape)
        out = np.empty((len(rows), math.prod(self.output_shape)))
        with torch.no_grad(), one_thread():
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                values = torch.from_numpy(np.ascontiguousarray(rows[start : start + _ROWS_AT_ONCE], dtype=np.float32))
                for module in self.modules:
                    values = module(values)
                out[start : start + _ROWS_AT_ONCE] = values.flatten(1).double().numpy()
        return out

    def files(self) -> dict[str, bytes]:
        """Its description and its numbers, by name."""
        tensors = {name: value.numpy() for name, value in parameters_of(self.modules).items()}
        weights: bytes = _tensors().pack_tensors(tensors)
        layers = [
            {"type": type(module).__name__, "name": name, "settings": settings_of(module, name)}
            for name, module in zip(self.names, self.modules, strict=True)
        ]
        description = {
            "schema": _SCHEMA,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "layers": layers,
            "weights_sha256": digest_bytes(weights),
        }
        return {FRONT_FILE: canonical_json(description), FRONT_WEIGHTS_FILE: weights}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramFront:
    """Layers of a program, in 64-bit numbers; a client needs no torch to compute them.

    Attributes:
        program: whose outputs are the features.
        digest: of its files.
    """

    program: Program
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", _digest(self.files()))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a row."""
        return self.program.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of its features: always flat."""
        return (self.program.outputs,)

    @property
    def parameters(self) -> int:
        """Numbers that it holds."""
        return program_parameters(self.program)

    def features(self, x: npt.NDArray[Any]) -> Floats:
        """Features of rows, [rows, features].

        Raises:
            ValueError: for rows of another shape, or numbers that are not finite.
        """
        return self.program.evaluate(x)

    def files(self) -> dict[str, bytes]:
        """As `wardline.he.compiler.store.program_files`."""
        return program_files(self.program)


def program_parameters(program: Program) -> int:
    """Numbers of a program: weights, offsets, coefficients of polynomials."""
    found = 0
    for layer in program.layers:
        for name in ("weights", "factors", "kernel", "offset"):
            found += np.size(getattr(layer, name, ()))
        if hasattr(layer, "basis"):
            found += len(layer.coefficients)
    return found


def feature_names(front: Front) -> tuple[str, ...]:
    """Names of the features, which tie a compiled back to this very front: its digest stands in them."""
    return tuple(f"front {front.digest[:16]} feature {index}" for index in range(math.prod(front.output_shape)))


def check_front(front: Front, features: Sequence[str]) -> None:
    """Refuse a front that is not the one that a compiled back was made for.

    Args:
        front: what the client would run.
        features: of the compiled back's public part.

    Raises:
        IntegrityError: if it is another one.
    """
    if tuple(features) != feature_names(front):
        raise IntegrityError(
            "the front is not the one that this encrypted model was made for", hint="get both from the model's owner"
        )


def save_front(front: Front, folder: Path) -> tuple[Path, ...]:
    """Write a front for its clients, the description last.

    Raises:
        WorkspaceError: if it cannot be written.
    """
    make_folder(folder)
    files = front.files()
    paths = tuple(folder / name for name in reversed(list(files)))
    for path in paths:
        write_atomic(path, files[path.name])
    return paths


def load_front(folder: Path) -> Front:
    """Read a front that `save_front` wrote, from files that a stranger may have sent.

    Raises:
        DataError: if a file is missing or cannot be read.
        IntegrityError: if the files are no front, or do not belong together.

    Guarantee: nothing in the files is run. Layers are those of a list, their settings are bounded, and no more than
    2^26 numbers are made for parameters, or for a row in any layer. What such layers compute is the sender's choice: a
    front can be made to give features that say of a row what it should not, and the scores of a wrong front are wrong.
    """
    if (folder / FRONT_FILE).exists():
        return _torch_front(_read(folder, (FRONT_FILE, FRONT_WEIGHTS_FILE)), str(folder))
    return ProgramFront(program=program_from_files(_read(folder, (DESCRIPTION_FILE, WEIGHTS_FILE)), where=str(folder)))


def _torch_front(files: Mapping[str, bytes], where: str) -> TorchFront:
    weights = files[FRONT_WEIGHTS_FILE]
    try:
        found = json.loads(files[FRONT_FILE].decode("utf-8"))
        if not isinstance(found, dict) or canonical_json(found) != files[FRONT_FILE] or found["schema"] != _SCHEMA:
            raise ValueError("its description is not in canonical form")
        if found["weights_sha256"] != digest_bytes(weights):
            raise ValueError("its weights are not those that it was written with")
        if not 1 <= len(found["layers"]) <= _MOST_LAYERS:
            raise ValueError("it has no layers, or too many")
        shape = tuple(map(_whole, found["input_shape"]))
        if not 1 <= len(shape) <= 4 or math.prod(shape) > MOST_NUMBERS:
            raise ValueError("its rows are of no shape that is read")
        modules = [module_of(one["type"], one["settings"]) for one in found["layers"]]
        expected = parameters_of(modules)
        if sum(value.numel() for value in expected.values()) > MOST_NUMBERS:
            raise ValueError("it is larger than any that is read")
        output_shape = shape_after(modules, shape)
        shapes = {name: tuple(value.shape) for name, value in expected.items()}
        tensors, _ = _tensors().unpack_tensors(weights, shapes=shapes, dtype="float32", where=where)
        for index, module in enumerate(modules):
            own = f"{index}."
            _fill(module, {name.removeprefix(own): one for name, one in tensors.items() if name.startswith(own)})
        front = TorchFront(
            input_shape=shape,
            output_shape=output_shape,
            names=tuple(_text(one["name"]) for one in found["layers"]),
            modules=tuple(modules),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError, ArithmeticError) as error:
        raise IntegrityError(f"not a front: {error}", where=where, hint="get it again from its source") from error
    if front.files() != files:
        raise IntegrityError("not a front: it holds more than one", where=where, hint="get it again from its source")
    return front


def _fill(module: nn.Module, numbers: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put numbers into a layer on the device ``meta``."""
    state = {name: torch.from_numpy(np.array(value, dtype=np.float32)) for name, value in numbers.items()}
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.zeros((), dtype=value.dtype)
    module.load_state_dict(state, strict=True, assign=True)
    module.requires_grad_(requires_grad=False)


def _shaped(x: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    rows = np.asarray(x)
    if rows.ndim < 2 or rows.shape[1:] not in (shape, (math.prod(shape),)):
        raise ValueError(f"rows must have the shape {shape}, or be flattened to {math.prod(shape)} numbers")
    if not np.isfinite(rows).all():
        raise ValueError("rows hold a number that is not finite")
    return rows.reshape(len(rows), *shape)


def _read(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    files = {}
    for name, limit in zip(names, (_MOST_DESCRIPTION_BYTES, _MOST_WEIGHTS_BYTES), strict=True):
        try:
            with (folder / name).open("rb") as file:
                files[name] = file.read(limit + 1)
        except OSError as error:
            raise DataError(
                f"the front's {name} cannot be read", where=str(folder), hint="name the folder that it was saved in"
            ) from error
        if len(files[name]) > limit:
            raise IntegrityError(f"{name} has more than {limit} bytes", where=str(folder))
    return files


def _digest(files: Mapping[str, bytes]) -> str:
    return digest_value({name: digest_bytes(data) for name, data in files.items()})


def _tensors() -> Any:
    return need("wardline.models.tensors", extra="torch")


def _whole(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MOST_NUMBERS:
        raise ValueError("sizes are whole numbers above 0")
    return value


def _text(value: object) -> str:
    if type(value) is not str or len(value) > 512:
        raise TypeError("names are short texts")
    return value
