"""Text classifiers as values, and as predictors."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import Seeds
from wardline.models.text import TextArchitecture, TextModel, TextPredictor
from wardline.models.text_features import TextFeatures
from wardline.models.text_training import TextConfig, train_text

WORDS = {0: ("dull", "boring", "awful"), 1: ("lovely", "clever", "warm")}


def corpus(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=rows)
    texts = np.empty(rows, dtype=object)
    texts[:] = [f"a {rng.choice(WORDS[int(label)])} film about {rng.choice(['cats', 'ships'])}" for label in labels]
    return texts, labels.astype(np.int64)


@pytest.fixture(scope="module")
def model() -> TextModel:
    texts, labels = corpus(400)
    return train(texts, labels)


def train(texts: np.ndarray, labels: np.ndarray, seed: int = 0, hidden: int = 0, **more: object) -> TextModel:
    architecture = TextArchitecture(features=TextFeatures(buckets=1 << 12), width=8, hidden=hidden)
    config = TextConfig(epochs=4, batch=32, learning_rate=2e-2)
    return train_text(
        texts, labels, architecture=architecture, classes=("bad", "good"), config=config, seeds=Seeds(seed), **more
    )


@pytest.mark.parametrize("hidden", [0, 8])
def test_it_learns_which_words_speak_for_which_class(hidden):
    texts, labels = corpus(400)
    fresh, truth = corpus(200, seed=1)
    assert (train(texts, labels, hidden=hidden).predict(fresh) == truth).all()


def test_the_same_seeds_give_the_same_model_and_others_another():
    texts, labels = corpus(100)
    one, same, other = (train(texts, labels, seed).parameters["embedding"] for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_predictor_answers_each_text_alike_whatever_stands_beside_it(model):
    texts, _ = corpus(50, seed=2)
    predictor = TextPredictor(model)
    together = predictor.answer(texts)
    assert predictor.gives == "logits"
    assert predictor.classes == 2
    assert together.dtype == np.float32
    for row in range(0, 50, 7):
        assert np.allclose(predictor.answer(texts[row : row + 1])[0], together[row], atol=1e-6)


def test_empty_and_hostile_texts_get_finite_answers(model):
    texts = np.empty(5, dtype=object)
    texts[:] = ["", "\ud800\udfff", "\u202etxet", "\U0001f469\u200d\U0001f4bb", "e" + "\u0301" * 200]
    assert np.isfinite(model.logits(texts)).all()
    assert model.logits(texts[:0]).shape == (0, 2)


def test_an_adversary_changes_what_is_learned_from_and_sees_losses():
    class Blinding:
        seen: list[float] = []  # noqa: RUF012

        def change(self, texts, labels, *, losses, generator):
            self.seen += losses(texts, labels).tolist()
            return np.array(["nothing"] * len(texts), dtype=object)

    texts, labels = corpus(100)
    blind = Blinding()
    model = train(texts, labels, adversary=blind)
    assert len(blind.seen) == 400
    assert np.isfinite(blind.seen).all()
    fresh, truth = corpus(200, seed=1)
    # It never saw a word that tells: no better than always naming one class, which a false alarm of 1e-6 covers at 0.7.
    assert (model.predict(fresh) == truth).mean() < 0.7 < (train(texts, labels).predict(fresh) == truth).mean()


def test_parameters_that_do_not_fit_are_refused(model):
    good = dict(model.parameters)
    nan = np.full_like(good["head.bias"], np.nan)
    for parameters in ({}, good | {"head.bias": nan}, good | {"head.bias": good["head.bias"].astype(np.float64)}):
        with pytest.raises(ValueError, match=r"parameters|holds|hold"):
            TextModel(architecture=model.architecture, parameters=parameters, classes=model.classes)
    with pytest.raises(ValueError, match="classes are needed"):
        TextModel(architecture=model.architecture, parameters=good, classes=("one",))


def test_labels_that_do_not_fit_are_refused():
    texts, labels = corpus(10)
    with pytest.raises(ValueError, match="as many labels"):
        train(texts, labels[:5])
    with pytest.raises(ValueError, match="labels lie"):
        train(texts, labels + 1)
