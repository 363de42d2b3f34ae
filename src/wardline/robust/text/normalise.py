"""One spelling for texts that look the same: compatibility forms, look-alikes, invisible characters, accents, case."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from wardline.robust.text.confusables import plain_letters

_SPACES = re.compile(r"\s+")
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")  # letters alone: 1000 stays 1000
_ROUNDS = 4
# Nothing is drawn for them, though their category is that of letters or marks: Hangul fillers, the grapheme joiner, two
# Khmer vowels, variation selectors (Unicode's property Default_Ignorable_Code_Point).
_UNDRAWN = frozenset("\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5") | frozenset(
    map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
_BRAILLE_BLANK = "\u2800"


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
    """Gives texts that look the same one spelling.

    In this order: letters that look like ASCII ones replaced by them; Unicode's compatibility forms (NFKC); control,
    format, private and unassigned characters, lone surrogates and whatever else is not drawn dropped; accents dropped;
    lower case; letters that stand more than twice in a row kept twice; white space made single spaces. It is done until
    nothing changes.

    Attributes:
        accents: whether accents are kept. They tell words apart in many languages, and an attacker can add them.
        repeats: whether letters that stand more than twice are kept.

    Guarantee:
        Applied twice it does what it does once. A text of lower-case ASCII words between single spaces, without a
        letter three times in a row, stays as it is; so does what the model says about it, and whatever was done to such
        a text by putting look-alikes in the table for its letters or by strewing in invisible characters is undone
        exactly.

        It does not undo typing errors, digits in place of letters, cut words or other words, and letters that look
        alike but are not in the table. Texts in other scripts lose letters that look like Latin ones: do not put it
        before a model for Greek or Russian.

    References: Unicode Standard Annex 15 (NFKC); Unicode Technical Standard 39, section 4 (look-alikes).
    """

    accents: bool = False
    repeats: bool = False

    @property
    def id(self) -> str:
        """``normalise``."""
        return "normalise"

    def apply(self, text: str) -> str:
        """The text in its one spelling."""
        # Dropping one character can bring two others together that compose.
        for _ in range(_ROUNDS):
            once = self._once(text)
            if once == text:
                break
            text = once
        return text

    def _once(self, text: str) -> str:
        if not text.isascii():
            # Look-alikes first: NFKC turns some of them into letters that look like nothing in particular.
            text = unicodedata.normalize("NFKC", "".join(map(_letter, text)))
            parts = text if self.accents else unicodedata.normalize("NFKD", text)
            text = unicodedata.normalize("NFKC", "".join(_kept(c, accents=self.accents) for c in parts))
        elif not text.isprintable():
            text = "".join(_kept(c, accents=self.accents) for c in text)
        text = text.lower()
        if not self.repeats:
            text = _REPEATED.sub(r"\1\1", text)
        return _SPACES.sub(" ", text).strip()


def _letter(character: str) -> str:
    return plain_letters().get(character, character)


@functools.lru_cache(maxsize=1 << 16)
def _kept(character: str, *, accents: bool) -> str:
    if character.isspace() or character == _BRAILLE_BLANK:
        return " "
    category = unicodedata.category(character)
    if character in _UNDRAWN or category.startswith("C") or (not accents and category == "Mn"):
        return ""
    return _letter(character)
