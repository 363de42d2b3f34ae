"""The single edits that an adversary makes to a word: what attacks search among and what hardening trains against.

Each costs one in the Damerau-Levenshtein distance (insert, delete, substitute, swap neighbours), counted in code
points.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, TypeAlias, assert_never, get_args

import numpy as np

from wardline.core import need
from wardline.models.text_vectors import WORD
from wardline.robust.text.confusables import look_alikes

Kind: TypeAlias = Literal["swap", "delete", "insert", "keyboard", "homoglyph", "digit", "space", "invisible"]
"""A way to change a word by one edit.

``swap`` two neighbours; ``delete`` a character; ``insert`` a letter of the word once more; ``keyboard``: a letter
beside it on an English keyboard; ``homoglyph``: a letter of another script that looks alike; ``digit``: a digit or sign
that stands for it in leetspeak; ``space``: cut the word in two; ``invisible``: a character that is not drawn.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad")
"""Zero-width space, non-joiner, joiner, word joiner, byte order mark, soft hyphen."""

_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_LEET = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!", "l": "1", "o": "0", "s": "5$", "t": "7", "z": "2"}


def pieces(text: str) -> tuple[str, ...]:
    """A text cut at its words: what stands between them at even places, words at odd ones. Joined, it is the text."""
    cut, end = [], 0
    for match in WORD.finditer(text):
        cut += [text[end : match.start()], match.group()]
        end = match.end()
    return (*cut, text[end:])


@functools.cache
def beside(letter: str) -> str:
    """The letters and digits around a lower-case letter on an English keyboard."""
    found = ""
    for row, keys in enumerate(_ROWS):
        place = keys.find(letter)
        if place < 0:
            continue
        found += keys[max(place - 1, 0) : place] + keys[place + 1 : place + 2]
        for other in (row - 1, row + 1):
            if 0 <= other < len(_ROWS):
                # Each row stands half a key to the right of the one above.
                low = place if other < row else place - 1
                found += _ROWS[other][max(low, 0) : low + 2]
    return found


def single_edits(word: str, kind: Kind) -> tuple[str, ...]:
    """All words that one edit of this kind makes of a word, each once, without the word itself."""
    found: list[str] = []
    places = range(len(word))
    match kind:
        case "swap":
            found = [word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in places[:-1]]
        case "delete":
            found = [word[:at] + word[at + 1 :] for at in places] if len(word) > 1 else []
        case "insert":
            found = [word[:at] + word[at] + word[at:] for at in places]
        case "space":
            found = [word[:at] + " " + word[at:] for at in places[1:]]
        case "invisible":
            found = [word[:at] + sign + word[at:] for at in places[1:] for sign in INVISIBLE]
        case "keyboard" | "homoglyph" | "digit":
            for at, letter in enumerate(word):
                found += [word[:at] + other + word[at + 1 :] for other in _instead(letter, kind)]
        case _:
            assert_never(kind)
    return tuple(dict.fromkeys(other for other in found if other != word))


def _instead(letter: str, kind: Literal["keyboard", "homoglyph", "digit"]) -> Sequence[str]:
    if kind == "homoglyph":
        return look_alikes().get(letter, ())
    others = (
        (beside(letter.lower()) if kind == "keyboard" else _LEET.get(letter.lower(), "")) if letter.isascii() else ""
    )
    return others.upper() if letter.isupper() else others


def draw_edits(word: str, *, kinds: Sequence[Kind], most: int, generator: np.random.Generator) -> list[str]:
    """Some single edits of a word, drawn evenly from all kinds, each once.

    Args:
        word: the word.
        kinds: what may be done.
        most: how many at most; fewer where there are fewer.
        generator: of the draw.
    """
    pools = [list(single_edits(word, kind)) for kind in kinds]
    for pool in pools:
        generator.shuffle(pool)
    turns = max((len(pool) for pool in pools), default=0)
    # One of each kind in turn, so that a kind with few edits is not drowned by one with many.
    mixed = [pool[turn] for turn in range(turns) for pool in pools if turn < len(pool)]
    return list(dict.fromkeys(mixed))[:most]


def edit_distance(changed: str, original: str, *, most: int) -> int:
    """The Damerau-Levenshtein distance in code points; any number above `most` means more than `most`.

    This is the unrestricted distance, a metric: n single edits never lead further than n.

    Raises:
        MissingExtraError: without the extra `text`.

    References: Damerau 1964; Lowrance and Wagner 1975 (the unrestricted distance).
    """
    library = need("rapidfuzz.distance.DamerauLevenshtein", extra="text")
    return int(library.distance(changed, original, score_cutoff=most))


def has_digit(word: str) -> bool:
    """Whether a word holds a digit: a number or a code, which an attacker wants the reader to use as it stands."""
    return any(character.isdigit() for character in word)


def keeps_numbers(changed: str, original: str) -> bool:
    """Whether the words with digits of the original all stand in the changed text, in their order."""
    present = iter(pieces(changed)[1::2])
    return all(number in present for number in pieces(original)[1::2] if has_digit(number))
