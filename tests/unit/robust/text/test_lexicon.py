"""Which words can stand in for which."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import DataError, Seeds
from wardline.models.text_vectors import WordVectors
from wardline.robust.text.lexicon import Lexicon, corpus_lexicon, wordnet_lexicon


def reviews(rows: int = 900) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=rows)
    moods = (("dull", "boring", "grim"), ("lovely", "clever", "warm"))
    texts = np.empty(rows, dtype=object)
    texts[:] = [
        f"a {rng.choice(moods[label])} {rng.choice(['film', 'movie'])} of {rng.choice(['cats', '2001'])}"
        for label in labels
    ]
    return texts, labels.astype(np.int64)


def test_substitutes_stand_in_the_same_places_and_on_the_same_side():
    texts, labels = reviews()
    lexicon = corpus_lexicon(texts, labels, seeds=Seeds(0))
    assert set(lexicon.of("dull")) == {"boring", "grim"}
    assert lexicon.of("film") == ("movie",)
    # The same vectors without a look at the classes would swap good for bad.
    blind = corpus_lexicon(texts, labels, seeds=Seeds(0), polarity=100)
    assert {"lovely", "clever", "warm"} <= set(blind.of("dull"))


def test_words_with_digits_are_neither_replaced_nor_put_in():
    texts, labels = reviews()
    lexicon = corpus_lexicon(texts, labels, seeds=Seeds(0), cosine=-1, polarity=100)
    assert lexicon.of("2001") == ()
    assert all("2001" not in others for others in lexicon.substitutes.values())


def test_the_case_of_a_word_is_kept():
    vectors = WordVectors(words=("cat", "dog", "i"), vectors=np.eye(3, dtype=np.float32))
    lexicon = Lexicon(substitutes={"cat": ("dog",), "i": ("dog",)}, vectors=vectors)
    assert [lexicon.of(word) for word in ("cat", "Cat", "CAT", "I")] == [("dog",), ("Dog",), ("DOG",), ("Dog",)]
    assert lexicon.nearness(["cat", "", "cat"], ["CAT", "zebra", "dog"]).tolist() == [1, 1, 0]


def test_wordnet_files_are_read_and_bad_ones_refused(tmp_path):
    vectors = WordVectors(words=("big", "large", "great", "odd"), vectors=np.eye(4, dtype=np.float32))
    (tmp_path / "data.adj").write_text(
        "  1 This software\n"
        "01382086 00 a 02 large 0 big(ip) 0 002 & 1 a 0000 | above average\n"
        "01386883 00 s 03 great 0 big 1 big_league 0 001 & 1 a 0000 | of great size\n"
    )
    lexicon = wordnet_lexicon(tmp_path, vectors)
    assert set(lexicon.of("big")) == {"large", "great"}
    assert lexicon.of("large") == ("big",)
    assert lexicon.of("odd") == ()
    (tmp_path / "data.adj").write_text("not wordnet\n")
    with pytest.raises(DataError):
        wordnet_lexicon(tmp_path, vectors)
    with pytest.raises(DataError):
        wordnet_lexicon(tmp_path / "nowhere", vectors)


def test_texts_of_one_class_alone_still_give_substitutes():
    """Only the class that is attacked may be at hand. How frequent a word is says nothing about its side."""
    rare = np.array([f"a {'film' if row % 9 else 'movie'} of cats" for row in range(300)], dtype=object)
    of_one = corpus_lexicon(rare, np.ones(300, dtype=np.int64), seeds=Seeds(0))
    assert of_one.of("movie") == ("film",)
    assert of_one.substitutes == corpus_lexicon(rare, np.zeros(300, dtype=np.int64), seeds=Seeds(0)).substitutes
    texts, labels = reviews()
    shifted = corpus_lexicon(texts, 3 * labels, seeds=Seeds(0))
    assert shifted.substitutes == corpus_lexicon(texts, labels, seeds=Seeds(0)).substitutes
