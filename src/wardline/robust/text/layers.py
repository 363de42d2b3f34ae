"""Layers before a text classifier, and the pipeline that they make with it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wardline.models.predictor import Gives, Inputs, Predictor
from wardline.robust.text.monitor import TextMonitor


class Layer(Protocol):
    """Changes a text before the model reads it. The same text always becomes the same."""

    @property
    def id(self) -> str:
        """Stands for it in tables, for example ``normalise``."""

    def apply(self, text: str) -> str:
        """The text that the model, or the next layer, reads instead."""


class Defended:
    """A predictor behind layers, and behind a monitor that refuses. It is a predictor itself, so attacks see it whole.

    Args:
        predictor: what answers.
        layers: applied to each text in this order.
        monitor: sees each text as it came in; None lets all through.

    A refused text gets no answer: NaN, or the label -1 of a predictor that gives labels. An attacker gains nothing by
    it, and neither does a person whose harmless text is refused: both show in the figures.
    """

    def __init__(self, predictor: Predictor, layers: Sequence[Layer], *, monitor: TextMonitor | None = None) -> None:
        self.predictor = predictor
        self.layers = tuple(layers)
        self.monitor = monitor

    @property
    def classes(self) -> int:
        """How many classes the predictor tells apart."""
        return self.predictor.classes

    @property
    def gives(self) -> Gives:
        """What the predictor gives."""
        return self.predictor.gives

    def read(self, x: Inputs) -> Inputs:
        """The texts as the predictor reads them."""
        texts = np.empty(len(x), dtype=object)
        for row, text in enumerate(x):
            texts[row] = functools.reduce(lambda read, layer: layer.apply(read), self.layers, text)
        return texts

    def answer(self, x: Inputs) -> npt.NDArray[Any]:
        """The predictor's answers to the texts as it reads them; none for a refused text."""
        answers = self.predictor.answer(self.read(x)).copy()
        if self.monitor is not None:
            answers[self.monitor.alarms(x)] = -1 if self.gives == "labels" else np.nan
        return answers
