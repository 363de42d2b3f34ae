"""The usual defences of one classifier, side by side."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import Seeds
from wardline.models.predictor import Predictor, labels_of
from wardline.models.text import TextArchitecture
from wardline.models.text_features import TextFeatures
from wardline.models.text_training import TextConfig
from wardline.robust.text.hardening import WorstOfSome
from wardline.robust.text.pipelines import Defences

WORDS = {0: ("dull", "boring", "awful", "grim"), 1: ("lovely", "clever", "warm", "bright")}


def reviews(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=rows).astype(np.int64)
    texts = np.empty(rows, dtype=object)
    texts[:] = [f"a {rng.choice(WORDS[label])} and {rng.choice(WORDS[label])} film" for label in labels.tolist()]
    return texts, labels


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Predictor]:
    defences = Defences(
        architecture=TextArchitecture(features=TextFeatures(buckets=1 << 12), width=8),
        config=TextConfig(epochs=4, batch=32, learning_rate=2e-2),
        classes=("bad", "good"),
        adversary=WorstOfSome(tries=4),
        false_alarm_rate=0.05,
    )
    texts, labels = reviews(400, 0)
    return defences.pipelines(texts, labels, calibration=reviews(100, 1)[0], seeds=Seeds(0))


def test_the_undefended_model_comes_first_and_all_read_clean_texts_alike(pipelines):
    assert next(iter(pipelines)) == "none"
    texts, labels = reviews(100, 2)
    for predictor in pipelines.values():
        assert (labels_of(predictor.answer(texts), predictor.gives) == labels).all()


@pytest.mark.parametrize(
    ("tampered", "defence"),
    [("a bor\u0456ng and gr\u0456m film", "normalise"), ("a borring and grimm film", "spelling")],
)
def test_each_layer_undoes_what_it_is_there_for(pipelines, tampered, defence):
    x = np.array([tampered, "a boring and grim film"], dtype=object)
    read = pipelines[defence].read(x)
    assert read[0] == read[1] == x[1]
    answers = pipelines[defence].answer(x)
    assert answers[0].argmax() == answers[1].argmax() == 0


def test_the_monitor_refuses_what_no_harmless_text_has(pipelines):
    x = np.array(["a bor\u0456ng film", "a boring film"], dtype=object)
    for name in ("monitor", "everything"):
        assert labels_of(pipelines[name].answer(x), "logits").tolist() == [-1, 0]
