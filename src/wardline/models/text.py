"""Text classifiers as values: hashed features, their mean, and one or two layers on top ("fastText").

Small enough to train in seconds and good enough to be worth an attack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from wardline.models.architecture import MAX_PARAMETERS
from wardline.models.predictor import Gives, Inputs
from wardline.models.text_features import Bags, TextFeatures

_ROWS_AT_ONCE = 2048
_MAX_WIDTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TextArchitecture:
    """The sizes of a text classifier.

    Attributes:
        features: what is read from a text.
        width: numbers that each feature is embedded in, from 1 to 1024.
        hidden: units of a layer with ReLU between the mean and the logits, up to 1024; 0 leaves it out.
        classes: classes that it tells apart, from 2 to 1024.

    Raises:
        ValueError: for sizes out of range, or more than `MAX_PARAMETERS` numbers to learn.

    References: Joulin, Grave, Bojanowski and Mikolov 2017.
    """

    features: TextFeatures
    width: int = 32
    hidden: int = 0
    classes: int = 2

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("hidden", 0), ("classes", 2)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= _MAX_WIDTH:
                raise ValueError(f"{name} must be a whole number from {least} to {_MAX_WIDTH}")
        if sum(math.prod(shape) for shape in self.shapes().values()) > MAX_PARAMETERS:
            raise ValueError(f"an architecture has at most {MAX_PARAMETERS} parameters")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters."""
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.features.buckets, self.width)}
        inputs = self.width
        if self.hidden:
            shapes |= {"dense.weight": (self.hidden, self.width), "dense.bias": (self.hidden,)}
            inputs = self.hidden
        return shapes | {"head.weight": (self.classes, inputs), "head.bias": (self.classes,)}


def text_logits(parameters: Mapping[str, Tensor], bags: Bags) -> Tensor:
    """Logits [rows, classes] of bags of features; a text without features is told by the biases alone."""
    hidden = functional.embedding_bag(
        torch.from_numpy(bags.indices), parameters["embedding"], torch.from_numpy(bags.starts), mode="mean"
    )
    if "dense.weight" in parameters:
        hidden = functional.relu(functional.linear(hidden, parameters["dense.weight"], parameters["dense.bias"]))
    return functional.linear(hidden, parameters["head.weight"], parameters["head.bias"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextModel:
    """A trained text classifier: what training hands out and what is saved, attacked and served.

    Attributes:
        architecture: what the parameters belong to.
        parameters: every parameter by name, 32-bit, finite, read-only (a private copy is taken).
        classes: a name for each class.

    Raises:
        ValueError: if parameters or classes do not fit the architecture, or a number is not finite.
    """

    architecture: TextArchitecture
    parameters: Mapping[str, npt.NDArray[np.float32]]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        shapes = self.architecture.shapes()
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
        if len(self.classes) != self.architecture.classes:
            raise ValueError(f"{self.architecture.classes} classes are needed, not {len(self.classes)}")
        object.__setattr__(self, "parameters", MappingProxyType(copies))

    def logits(self, texts: Inputs) -> npt.NDArray[np.float32]:
        """Logits of each text: [rows, classes].

        Args:
            texts: str, an array [rows] of dtype object.
        """
        return TextPredictor(self).answer(texts)

    def predict(self, texts: Inputs) -> npt.NDArray[np.int64]:
        """The index of each text's most likely class: [rows]."""
        classes: npt.NDArray[np.int64] = self.logits(texts).argmax(axis=1)
        return classes

    def __repr__(self) -> str:
        return f"TextModel({self.architecture!r}, classes={self.classes!r})"


class TextPredictor:
    """A text classifier as a predictor: logits for each text.

    Args:
        model: what answers.
    """

    def __init__(self, model: TextModel) -> None:
        self._features = model.architecture.features
        self._classes = model.architecture.classes
        self._parameters = {name: torch.from_numpy(value.copy()) for name, value in model.parameters.items()}

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._classes

    @property
    def gives(self) -> Gives:
        """Logits."""
        return "logits"

    def answer(self, x: Inputs) -> npt.NDArray[np.float32]:
        """Logits of each text: [rows, classes]."""
        answers = np.empty((len(x), self._classes), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(x), _ROWS_AT_ONCE):
                rows = x[start : start + _ROWS_AT_ONCE]
                answers[start : start + len(rows)] = text_logits(self._parameters, self._features.bags(rows)).numpy()
        return answers
