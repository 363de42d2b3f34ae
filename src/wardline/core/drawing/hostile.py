"""Text that somebody else wrote, made harmless to look at.

Escaping of markup is another matter; this removes what escaping leaves in place and what can still deceive a
reader: characters that reorder text, control characters, and towers of combining marks that cover their neighbours.
"""

from __future__ import annotations

import unicodedata

MOST_CHARACTERS = 1_500  # of one value on the page; the evidence file holds the rest
_MOST_MARKS = 4  # combining marks on one character; more than any living script stacks


def _is_deceptive(character: str) -> bool:
    """Whether a character is invisible or reorders what follows (Unicode Technical Report 36, section 2.4)."""
    if character == "\n":
        return False
    if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
        return True
    # U+200C and U+200D stay: Persian and Indic words need them, and they reorder nothing.
    return unicodedata.category(character) == "Cf" and character not in "\u200c\u200d\u00ad"


def clean(value: str, most: int = MOST_CHARACTERS) -> str:
    """Make hostile text harmless to look at: nothing reorders, hides or covers, and nothing is endless.

    Args:
        value: any text.
        most: how many of its characters are kept; what is missing is counted in the text.

    Returns:
        The text with each deceptive character written out as, for example, ``[U+202E]``.
    """
    kept: list[str] = []
    marks = 0
    for character in value[:most]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MOST_MARKS:
            continue
        kept.append(f"[U+{ord(character):04X}]" if _is_deceptive(character) else character)
    left = len(value) - most
    if left > 0:
        kept.append(f"\u2026 [{left:,} more characters in the evidence file]")
    return "".join(kept)


def shorten(value: str, most: int) -> str:
    """The beginning of a text, for headings and chart labels; an ellipsis tells that there is more."""
    value = clean(value, most=max(most, len(value)))
    return value if len(value) <= most else value[: most - 1].rstrip() + "\u2026"
