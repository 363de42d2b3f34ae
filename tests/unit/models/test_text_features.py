"""Hashed features of texts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.models.text_features import MAX_TOKEN, TextFeatures, feature_counts

SMALL = TextFeatures(buckets=1 << 12)
NOT_GOOD = [
    40719,
    35758,
    4416,
    55066,
    33623,
    25069,
    35763,
    56095,
    34930,
    60651,
    52746,
    53349,
    59936,
    59415,
    35920,
    14953,
    12099,
]
TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)


def texts(*given: str) -> np.ndarray:
    array = np.empty(len(given), dtype=object)
    array[:] = given
    return array


def plain_hash(word: str, basis: int = 0xCBF29CE484222325) -> int:
    """The hash as its definition says it, one code point after the other."""
    state = basis
    for character in word:
        state = (state ^ ord(character)) * 0x100000001B3 % 2**64
    return state


def plain_features(text: str, features: TextFeatures) -> list[int]:
    import re

    def bucket(state: int) -> int:
        return (state ^ (state >> 32)) % features.buckets

    tokens = re.findall(r"\w+|[^\w\s]", text.lower())
    found, words = [], []
    for token in tokens:
        framed = f"<{token[:MAX_TOKEN]}>"
        words.append(plain_hash(framed))
        found.append(bucket(words[-1]))
        for size in range(features.shortest, features.longest + 1):
            if size < len(framed):
                grams = [framed[at : at + size] for at in range(len(framed) - size + 1)]
                found += [bucket(plain_hash(gram, 0xCBF29CE484222325 ^ 0xD1B54A32D192ED03)) for gram in grams]
    if features.pairs:
        for first, second in itertools.pairwise(words):
            mixed = (first * 0x100000001B3 % 2**64 ^ second ^ 0x9E3779B97F4A7C15) * 0x100000001B3 % 2**64
            found.append(bucket(mixed))
    return sorted(found)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=4), st.booleans())
def test_features_are_those_of_the_definition_for_any_text(given, pairs):
    features = TextFeatures(buckets=1 << 12, pairs=pairs)
    bags = features.bags(texts(*given))
    ends = np.append(bags.starts, len(bags.indices))[1:]
    for row, text in enumerate(given):
        assert sorted(bags.indices[bags.starts[row] : ends[row]].tolist()) == plain_features(text, features)


def test_the_hash_never_changes():
    # A trained model means nothing under another hash: these numbers stand for ever.
    bags = TextFeatures(buckets=1 << 16).bags(texts("not good"))
    assert bags.indices.tolist() == NOT_GOOD


def test_a_text_has_the_same_features_whatever_stands_beside_it():
    alone = SMALL.bags(texts("not so good"))
    among = SMALL.bags(texts("so", "not so good", "", "good"))
    assert np.array_equal(among.take(np.array([1])).indices, alone.indices)


def test_case_does_not_count_and_word_order_does():
    one, other, turned = (sorted(SMALL.bags(texts(t)).indices.tolist()) for t in ("Not Good", "not good", "good not"))
    assert one == other
    assert one != turned


def test_an_endless_word_costs_no_more_than_a_long_one():
    bags = SMALL.bags(texts("a" * MAX_TOKEN, "a" * 5000))
    assert feature_counts(bags)[0] == feature_counts(bags)[1]


@pytest.mark.parametrize(
    "wrong",
    [{"buckets": 1000}, {"buckets": 128}, {"shortest": 1}, {"longest": 9}, {"shortest": 5, "longest": 4}, {"pairs": 1}],
)
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        TextFeatures(**wrong)
