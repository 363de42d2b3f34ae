"""Single edits of words, and the distance that counts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.robust.text.edits import KINDS, beside, draw_edits, edit_distance, keeps_numbers, pieces, single_edits

ANY = st.text(st.characters(exclude_categories=()), max_size=12)


def plain_distance(one: str, other: str) -> int:
    """Lowrance and Wagner's recurrence, written down as it stands."""
    last: dict[str, int] = {}
    most = len(one) + len(other)
    table = [[most] * (len(other) + 2) for _ in range(len(one) + 2)]
    for i in range(len(one) + 1):
        table[i + 1][1] = i
    for j in range(len(other) + 1):
        table[1][j + 1] = j
    for i in range(1, len(one) + 1):
        matched = 0
        for j in range(1, len(other) + 1):
            row, column = last.get(other[j - 1], 0), matched
            cost = one[i - 1] != other[j - 1]
            if not cost:
                matched = j
            table[i + 1][j + 1] = min(
                table[i][j] + cost,
                table[i + 1][j] + 1,
                table[i][j + 1] + 1,
                table[row][column] + (i - row - 1) + 1 + (j - column - 1),
            )
        last[one[i - 1]] = i
    return table[-1][-1]


@settings(max_examples=300, deadline=None)
@given(ANY, st.sampled_from(KINDS))
def test_every_single_edit_is_at_distance_one(word, kind):
    found = single_edits(word, kind)
    assert len(set(found)) == len(found)
    assert all(plain_distance(other, word) == 1 == edit_distance(other, word, most=3) for other in found)


@given(ANY, ANY)
def test_the_distance_is_the_one_of_the_definition(one, other):
    assert edit_distance(one, other, most=30) == plain_distance(one, other)


@given(ANY)
def test_pieces_joined_are_the_text(text):
    cut = pieces(text)
    assert "".join(cut) == text
    assert len(cut) % 2 == 1


def test_drawing_gives_every_kind_its_turn_and_depends_on_the_generator_alone():
    first, same, other = (
        draw_edits("reading", kinds=KINDS, most=8, generator=np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert first == same != other
    assert all(len(set(first) & set(single_edits("reading", kind))) >= 1 for kind in KINDS)
    assert draw_edits("", kinds=KINDS, most=8, generator=np.random.default_rng(0)) == []


@pytest.mark.parametrize(("key", "near"), [("s", "adwezx"), ("p", "o0l"), ("q", "w12a"), ("é", "")])
def test_keys_beside_a_key(key, near):
    assert set(beside(key)) == set(near)


def test_numbers_are_kept_in_their_order():
    assert keeps_numbers("cal1 0800 n0w 50", "call 0800 now 50")
    assert not keeps_numbers("call 800 now 50", "call 0800 now 50")
    assert not keeps_numbers("call 50 now 0800", "call 0800 now 50")
