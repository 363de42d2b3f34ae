"""Word vectors from a task's own texts."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import Seeds
from wardline.models.text_vectors import WordVectors, train_vectors


def sentences(rows: int = 600) -> list[str]:
    rng = np.random.default_rng(0)
    things, deeds = ("cat", "dog", "horse"), ("sleeps", "eats", "runs")
    return [f"The {rng.choice(things)} {rng.choice(deeds)} in the {rng.choice(['barn', 'field'])}" for _ in range(rows)]


def test_words_that_stand_in_the_same_places_are_the_nearest():
    vectors = train_vectors(sentences(), seeds=Seeds(0), dimensions=8)
    near = dict(
        zip(("cat", "eats", "barn"), vectors.neighbours(("cat", "eats", "barn"), most=2, cosine=-1), strict=True)
    )
    assert set(near["cat"]) == {"dog", "horse"}
    assert set(near["eats"]) == {"sleeps", "runs"}
    assert near["barn"][0] == "field"


def test_vectors_do_not_depend_on_the_order_of_the_texts():
    one, other = (train_vectors(texts, seeds=Seeds(0), dimensions=4) for texts in (sentences(), sentences()[::-1]))
    assert one.words == other.words
    assert np.allclose(one.vectors @ one.vectors.T, other.vectors @ other.vectors.T, atol=1e-4)


def test_a_word_without_a_vector_has_no_neighbours_and_no_weight():
    vectors = train_vectors(sentences(), seeds=Seeds(0), dimensions=4)
    assert vectors.neighbours(["zebra"], most=3, cosine=-1) == [()]
    means = vectors.means(["zebra", "cat zebra", "", "CAT"])
    assert not means[0].any()
    assert not means[2].any()
    assert np.allclose(means[1], means[3])
    assert np.allclose(np.linalg.norm(means[1]), 1, atol=1e-5)


def test_too_few_words_and_doubled_words_are_refused():
    with pytest.raises(ValueError, match="fewer than three words"):
        train_vectors(["a b", "a b"], seeds=Seeds(0), least_count=1)
    with pytest.raises(ValueError, match="each word once"):
        WordVectors(words=("a", "a"), vectors=np.eye(2, dtype=np.float32))
