"""Unknown words replaced by the nearest known ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardline.robust.text.edits import edit_distance
from wardline.robust.text.spelling import Spelling

KNOWN = {"receive": 5, "relieve": 2, "prize": 9, "price": 9, "winner": 3, "dinner": 7, "free": 50, "call": 40}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("recieve", "receive"),  # swapped neighbours count as one edit
        ("prze", "prize"),
        ("prixe", "price"),  # both at one edit, equally frequent: the alphabet decides
        ("rinner", "dinner"),  # both at one edit: the more frequent
        ("fre", "fre"),  # too short to be corrected
        ("frxx", "frxx"),  # short words are given one edit
        ("wwinnner", "winner"),  # longer ones two
        ("zebra", "zebra"),
    ],
)
def test_known_cases(wrong, right):
    assert Spelling(KNOWN).correct(wrong) == right


@given(st.text("abcdefiklnprvw", min_size=4, max_size=9))
def test_the_nearest_is_found_as_by_looking_at_every_word(word):
    allowed = 1 if len(word) < 6 else 2
    ranked = sorted((edit_distance(other, word, most=9), -count, other) for other, count in KNOWN.items())
    best = ranked[0]
    found = Spelling(KNOWN).correct(word)
    # The restricted distance is never less than the unrestricted one, and these words are too short for them to differ
    # where it matters: within two edits.
    assert found == (best[2] if best[0] <= allowed else word)


def test_a_text_of_known_words_stays_and_what_stands_between_them_too():
    assert Spelling(KNOWN).apply("Call, FREE  prize!") == "call, free  prize!"
    assert Spelling(KNOWN).apply("cal1 the wnner :-)") == "call the winner :-)"


def test_words_of_a_corpus_are_known_if_they_occur_often_enough():
    texts = np.array(["rare word word", "word common common"], dtype=object)
    assert Spelling.of(texts).known == {"word", "common"}


def test_nothing_known_and_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="at least one word"):
        Spelling({})
    with pytest.raises(ValueError, match="edits"):
        Spelling(KNOWN, edits=3)


def test_endless_words_do_not_fill_the_cache():
    spelling = Spelling({"cheer": 3})
    for size in range(8, 40):
        assert spelling.correct("x" * size) == "x" * size
    assert spelling._nearest.cache_info().currsize == 0
    assert spelling.correct("cheet") == "cheer"
    assert spelling._nearest.cache_info().currsize == 1
