"""A program: what a model computes, as layers, and what its outputs mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from wardline.he.compiler.convolution import Values
from wardline.he.compiler.layers import Activation, Layer

Gives: TypeAlias = Literal["logits", "decision", "values"]
Link: TypeAlias = Literal["none", "sigmoid", "softmax"]

_ROWS_AT_ONCE = 2048


LINKS: Mapping[Gives, Link] = {"logits": "softmax", "decision": "sigmoid", "values": "none"}
"""What makes probabilities of the outputs of a model that was trained by likelihood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What the outputs of a program are.

    Attributes:
        gives: ``logits`` (one a class, the largest decides), ``decision`` (one value, of two classes), or ``values``
            (numbers, nothing to decide).
        classes: their names, in order; none for ``values``.
        threshold: a decision value above it is the second class.
        link: what makes probabilities of the outputs: it is computed after decryption.

    Raises:
        ValueError: if they do not fit together.
    """

    gives: Gives
    classes: tuple[str, ...] = ()
    threshold: float = 0.0
    link: Link = "none"

    def __post_init__(self) -> None:
        if self.gives not in get_args(Gives) or self.link not in get_args(Link) or not math.isfinite(self.threshold):
            raise ValueError("a meaning needs a known kind of output and link, and a finite threshold")
        if len(self.classes) < 2 if self.gives == "logits" else len(self.classes) != 2 * (self.gives == "decision"):
            raise ValueError(f"{len(self.classes)} classes do not fit outputs that are {self.gives}")
        if self.link != "none" and self.link != LINKS[self.gives]:
            raise ValueError(f"the link {self.link} does not fit outputs that are {self.gives}")

    @classmethod
    def usual(cls, gives: Gives, outputs: int, classes: Sequence[str] = ()) -> Meaning:
        """The meaning of a network's outputs: trained by likelihood, classes numbered where they have no names.

        Raises:
            ValueError: for outputs of no known kind, or as many classes as do not fit.
        """
        if gives not in LINKS:
            raise ValueError(f"gives must be one of {', '.join(LINKS)}")
        count = {"logits": outputs, "decision": 2, "values": 0}[gives]
        return cls(gives=gives, classes=tuple(classes) or tuple(map(str, range(count))), link=LINKS[gives])

    def decide(self, outputs: Values) -> npt.NDArray[np.int64]:
        """The index of each row's class.

        Raises:
            ValueError: if the outputs decide nothing.
        """
        match self.gives:
            case "logits":
                return np.asarray(outputs.argmax(axis=1), dtype=np.int64)
            case "decision":
                return (outputs[:, 0] > self.threshold).astype(np.int64)
            case _:
                raise ValueError("values decide between no classes")

    def probabilities(self, outputs: Values) -> Values:
        """The probability of each class, from outputs in the clear: [rows, classes].

        Raises:
            ValueError: if there is no link.
        """
        match self.link:
            case "softmax":
                risen = np.exp(outputs - outputs.max(axis=1, keepdims=True))
                return np.asarray(risen / risen.sum(axis=1, keepdims=True), dtype=np.float64)
            case "sigmoid":
                second = 0.5 + 0.5 * np.tanh(0.5 * outputs[:, 0])
                return np.stack([1.0 - second, second], axis=1)
            case _:
                raise ValueError("these outputs are no logarithms of probabilities")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """Layers one after the other.

    Attributes:
        input_shape: of one row, before it is flattened.
        layers: in order, at least one; each reads as many numbers as the one before gives.
        meaning: of the outputs.
        features: a name for each number of a flattened row, or none at all.

    Raises:
        ValueError: naming the layer that does not fit.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    meaning: Meaning
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers or not self.input_shape or min(self.input_shape) < 1:
            raise ValueError("a program needs an input shape and at least one layer")
        width = self.inputs
        if self.features and len(self.features) != width:
            raise ValueError(f"{len(self.features)} names do not fit rows of {width} numbers")
        for layer in self.layers:
            if layer.inputs != width:
                raise ValueError(f"{layer.name} reads {layer.inputs} numbers, and {width} come in")
            width = layer.outputs
        wanted = {"logits": len(self.meaning.classes), "decision": 1}.get(self.meaning.gives, width)
        if width != wanted:
            raise ValueError(f"the program gives {width} numbers, and its meaning needs {wanted}")

    @property
    def inputs(self) -> int:
        """Numbers of a flattened row."""
        return math.prod(self.input_shape)

    @property
    def outputs(self) -> int:
        """Numbers that it gives for a row."""
        return self.layers[-1].outputs

    @property
    def exact(self) -> bool:
        """Whether every layer can be computed on ciphertexts: no activation is left to be fitted."""
        return not any(isinstance(layer, Activation) for layer in self.layers)

    def rows(self, x: npt.NDArray[Any]) -> Values:
        """Rows as 64-bit numbers, flattened: [rows, inputs].

        Raises:
            ValueError: for another shape, or a number that is not finite.
        """
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim < 2 or rows.shape[1:] not in (self.input_shape, (self.inputs,)):
            raise ValueError(f"rows must have the shape {self.input_shape}, or be flattened to {self.inputs} numbers")
        rows = rows.reshape(len(rows), self.inputs)
        if not np.isfinite(rows).all():
            raise ValueError("rows hold a number that is not finite")
        return rows

    def trace(self, x: npt.NDArray[Any]) -> Iterator[Values]:
        """The flattened rows, then what each layer gives: one array more than there are layers."""
        values = self.rows(x)
        yield values
        for layer in self.layers:
            values = layer.apply(values)
            yield values

    def evaluate(self, x: npt.NDArray[Any]) -> Values:
        """Outputs in 64-bit numbers: the plain reference.

        Args:
            x: [rows, *input_shape], or flattened [rows, inputs].

        Returns:
            [rows, outputs].

        Raises:
            ValueError: for another shape, or a number that is not finite.
        """
        rows = self.rows(x)
        result = np.empty((len(rows), self.outputs))
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            values = rows[start : start + _ROWS_AT_ONCE]
            for layer in self.layers:
                values = layer.apply(values)
            result[start : start + _ROWS_AT_ONCE] = values
        return result

    def decide(self, x: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The index of each row's class, by `evaluate`."""
        return self.meaning.decide(self.evaluate(x))
