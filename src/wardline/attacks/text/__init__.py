"""Texts changed so that a model gets them wrong while a person still reads the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.attacks.text.characters import Characters
    from wardline.attacks.text.guesses import Guesses
    from wardline.attacks.text.words import Words

__all__ = [
    "Characters",
    "Guesses",
    "Words",
]

__getattr__ = lazy(
    __name__,
    {
        "characters": ("Characters",),
        "guesses": ("Guesses",),
        "words": ("Words",),
    },
    extra="text",
)
