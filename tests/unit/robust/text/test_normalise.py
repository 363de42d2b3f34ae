"""One spelling for texts that look the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.robust.text.confusables import look_alikes, plain_letters
from wardline.robust.text.edits import INVISIBLE
from wardline.robust.text.normalise import Normalise

ANY = st.text(st.characters(exclude_categories=()), max_size=30)
PLAIN = st.from_regex(r"\A(?:[b-y]{1,6}( [b-y]{1,6}){0,4})?\Z").filter(
    lambda text: not any(text[i] == text[i + 1] == text[i + 2] for i in range(len(text) - 2))
)


@settings(max_examples=500, deadline=None)
@given(ANY, st.booleans(), st.booleans())
def test_applied_twice_it_does_what_it_does_once(text, accents, repeats):
    layer = Normalise(accents=accents, repeats=repeats)
    once = layer.apply(text)
    assert layer.apply(once) == once


@given(PLAIN)
def test_a_plain_text_stays_as_it_is(text):
    assert Normalise().apply(text) == text


@settings(deadline=None)
@given(PLAIN, st.data())
def test_look_alikes_and_invisible_characters_are_undone_exactly(text, data):
    tampered = ""
    for letter in text:
        twins = look_alikes().get(letter, ())
        tampered += data.draw(st.sampled_from((letter, *twins)))
        if letter != " ":
            tampered += data.draw(st.sampled_from(("", *INVISIBLE)))
    assert Normalise().apply(tampered) == text


def test_every_look_alike_that_attacks_use_is_undone():
    undone = {
        twin: Normalise().apply(twin) == letter.lower() for letter, twins in look_alikes().items() for twin in twins
    }
    assert len(undone) > 100
    assert all(undone.values())


UNDRAWN = "\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\u180b\ufe00\ufe0f\U000e0100\U000e01ef\u2061\U000e0041"


@pytest.mark.parametrize("accents", [False, True])
@pytest.mark.parametrize("sign", UNDRAWN, ids=[f"U+{ord(sign):04X}" for sign in UNDRAWN])
def test_characters_that_are_not_drawn_are_dropped_whatever_their_category_says(sign, accents):
    """Fillers are letters and selectors are marks by their category, yet a reader sees neither."""
    assert Normalise(accents=accents).apply(f"h{sign}el{sign}{sign}lo") == "hello"


def test_a_blank_of_braille_is_a_space():
    assert Normalise().apply("he\u2800llo \u2800 you") == "he llo you"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\uff28\uff45llo", "hello"),  # full width
        ("\U0001d41f\U0001d42b\U0001d41e\U0001d41e", "free"),  # mathematical bold
        ("ﬁne", "fine"),  # a ligature
        ("café  naïve\t\n", "cafe naive"),
        ("e\u0301\u0302\u0303vil", "evil"),  # stacked marks
        ("\u202elive\u202c", "live"),  # right-to-left override
        ("goooood 1000", "good 1000"),
        ("a\ud800b\x00c", "abc"),
        ("", ""),
        (" \u200b ", ""),
    ],
)
def test_known_cases(text, plain):
    assert Normalise().apply(text) == plain


def test_accents_and_repeats_are_kept_where_wanted():
    assert Normalise(accents=True, repeats=True).apply("Cafééé") == "cafééé"


def test_the_table_maps_single_characters_beyond_ascii_to_ascii():
    assert len(plain_letters()) > 1000
    assert all(len(one) == 1 and not one.isascii() and other.isascii() for one, other in plain_letters().items())
    assert plain_letters()["\u0430"] == "a"
