"""A front of torch's layers, as data: types and settings of a list, and numbers in safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardline.core import IntegrityError, UsageError, canonical_json, digest_bytes
from wardline.he.hybrid.front import FRONT_FILE, FRONT_WEIGHTS_FILE, Floats, files_digest
from wardline.he.hybrid.modules import MOST_NUMBERS, Leaf, module_of, parameters_of, settings_of, shape_after
from wardline.models.tensors import pack_tensors, unpack_tensors
from wardline.models.threads import one_thread

_SCHEMA = "wardline.he.front/1"
_MOST_LAYERS = 1 << 10
_ROWS_AT_ONCE = 256


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
        object.__setattr__(self, "digest", files_digest(self.files()))

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
        weights = pack_tensors(tensors)
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


def torch_front(files: Mapping[str, bytes], *, where: str = "") -> TorchFront:
    """The front of two files, which a stranger may have sent; see `wardline.he.hybrid.front.load_front`.

    Raises:
        IntegrityError: if the files are no front, or do not belong together.
    """
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
        tensors, _ = unpack_tensors(weights, shapes=shapes, dtype="float32", where=where)
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


def _whole(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MOST_NUMBERS:
        raise ValueError("sizes are whole numbers above 0")
    return value


def _text(value: object) -> str:
    if type(value) is not str or len(value) > 512:
        raise TypeError("names are short texts")
    return value
