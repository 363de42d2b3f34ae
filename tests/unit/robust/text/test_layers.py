"""Layers before a classifier."""

from __future__ import annotations

import numpy as np

from wardline.models.predictor import labels_of
from wardline.robust.text.layers import Defended
from wardline.robust.text.monitor import TextMonitor
from wardline.robust.text.normalise import Normalise
from wardline.robust.text.spelling import Spelling


class Length:
    """Knows a text by its length: odd or even."""

    classes = 2

    def __init__(self, gives: str = "logits") -> None:
        self.gives = gives
        self.read: list[str] = []

    def answer(self, x):
        self.read += list(x)
        labels = np.array([len(text) % 2 for text in x], dtype=np.int64)
        return labels if self.gives == "labels" else np.eye(2, dtype=np.float32)[labels]


def texts(*given: str) -> np.ndarray:
    array = np.empty(len(given), dtype=object)
    array[:] = given
    return array


def test_layers_are_applied_in_order():
    inner = Length()
    x = texts("W\u0456nnr", "")
    Defended(inner, [Normalise(), Spelling({"winner": 1})]).answer(x)
    # Spelling alone cannot read the look-alike and the gap at once: two edits of a word of five letters.
    Defended(inner, [Spelling({"winner": 1}), Normalise()]).answer(x)
    assert inner.read == ["winner", "", "winnr", ""]
    assert x[0] == "W\u0456nnr"


def test_a_refused_text_gets_no_answer():
    monitor = TextMonitor(known={"good"}, calibration=np.zeros(99), false_alarm_rate=0.05)
    for gives in ("logits", "labels"):
        answers = Defended(Length(gives), [], monitor=monitor).answer(texts("good", "g\u043eod"))
        assert labels_of(answers, gives).tolist() == [0, -1]
