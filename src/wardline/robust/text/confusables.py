"""Characters that look like others: one table, read in both directions.

The table is Unicode's (confusables.txt of UTS 39, as the library confusable-homoglyphs carries it), cut down to single
characters beyond ASCII that look like one ASCII letter or digit.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from wardline.core import need


@functools.cache
def plain_letters() -> Mapping[str, str]:
    """The ASCII letter or digit that each look-alike stands for.

    Where there are several, letters go before digits, and its own case before the other.

    Raises:
        MissingExtraError: without the extra `text`.
    """
    table = need("confusable_homoglyphs.confusables", extra="text").confusables_data
    plain: dict[str, str] = {}
    for character, twins in table.items():
        if len(character) != 1 or character.isascii():
            continue
        ascii_twins = [
            twin["c"] for twin in twins if len(twin["c"]) == 1 and twin["c"].isascii() and twin["c"].isalnum()
        ]
        if ascii_twins:
            plain[character] = min(ascii_twins, key=lambda c: (c.isdigit(), c.isupper() != character.isupper(), c))
    return MappingProxyType(plain)


@functools.cache
def look_alikes() -> Mapping[str, tuple[str, ...]]:
    """For each ASCII letter: letters of other scripts that most fonts draw alike.

    Cyrillic, Greek, Armenian, Cherokee and Lisu letters alone: full-width and mathematical forms are not what a reader
    takes for the same letter.
    """
    scripts = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "LISU")
    found: dict[str, list[str]] = {}
    for character, letter in plain_letters().items():
        is_letter = letter.isalpha() and unicodedata.category(character) in {"Ll", "Lu", "Lo"}
        if is_letter and unicodedata.name(character, "").startswith(scripts):
            found.setdefault(letter, []).append(character)
    return MappingProxyType({letter: tuple(sorted(twins)) for letter, twins in sorted(found.items())})
