"""A trained model as a value: architecture, parameters, and the names of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Float32, Int

from wardline.models.architecture import Architecture, columns, parameter_shapes
from wardline.models.torch_model import Network, build, check_columns

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """What training hands out and what is saved, attacked and served.

    Attributes:
        architecture: what the parameters belong to.
        parameters: every parameter by name, 32-bit, finite, read-only (a private copy is taken).
        features: a name for each column that a row has, linear inputs included.
        classes: a name for each class.

    Raises:
        ValueError: if parameters, features or classes do not fit the architecture, or a number is not finite.
    """

    architecture: Architecture
    parameters: Mapping[str, npt.NDArray[np.float32]]
    features: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        shapes = parameter_shapes(self.architecture)
        if set(self.parameters) != set(shapes):
            raise ValueError("the parameters are not those of the architecture")
        copies: dict[str, npt.NDArray[np.float32]] = {}
        for name, shape in shapes.items():
            value = self.parameters[name]
            if value.dtype != np.float32 or value.shape != shape:
                raise ValueError(f"{name} must hold 32-bit numbers of shape {shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} holds a number that is not finite")
            copies[name] = value.copy()
            copies[name].setflags(write=False)
        if len(self.features) != columns(self.architecture):
            raise ValueError(f"{columns(self.architecture)} features are needed, not {len(self.features)}")
        if len(self.classes) != self.architecture.classes:
            raise ValueError(f"{self.architecture.classes} classes are needed, not {len(self.classes)}")
        object.__setattr__(self, "parameters", MappingProxyType(copies))

    def module(self) -> Network:
        """A fresh torch module with these parameters, in evaluation mode."""
        network = build(self.architecture)
        network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in self.parameters.items()})
        return network.eval()

    def logits(self, x: Float32[np.ndarray, "rows columns"]) -> Float32[np.ndarray, "rows classes"]:
        """Logits of each row.

        Raises:
            ValueError: if the rows have another number of columns than the architecture reads.
        """
        if x.ndim != 2:
            raise ValueError("x must have two axes: rows and columns")
        check_columns(self.architecture, x.shape[1])
        network = self.module()
        result = np.empty((len(x), self.architecture.classes), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(x), _ROWS_AT_ONCE):
                rows = np.array(x[start : start + _ROWS_AT_ONCE], dtype=np.float32)
                result[start : start + len(rows)] = network(torch.from_numpy(rows)).numpy()
        return result

    def predict(self, x: Float32[np.ndarray, "rows columns"]) -> Int[np.ndarray, " rows"]:
        """The index of each row's most likely class."""
        classes: npt.NDArray[np.int64] = self.logits(x).argmax(axis=1)
        return classes

    def losses(self, x: Float32[np.ndarray, "rows columns"], y: Int[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        """Cross-entropy of each row, in nats; 64-bit from the logits on, so that tiny losses stay apart."""
        logits = self.logits(x).astype(np.float64)
        top = logits.max(axis=1)
        # The largest logit's own term is 1; log1p of the others keeps losses far below 1e-16 apart from 0.
        rest = np.exp(logits - top[:, None])
        rest[np.arange(len(rest)), logits.argmax(axis=1)] = 0.0
        losses: npt.NDArray[np.float64] = np.log1p(rest.sum(axis=1)) + (top - logits[np.arange(len(logits)), y])
        return losses

    def __repr__(self) -> str:
        return f"TrainedModel({self.architecture!r}, {sum(v.size for v in self.parameters.values())} parameters)"
