"""Defences of text classifiers, and the changes to texts that they are measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.robust.text.confusables import plain_letters
    from wardline.robust.text.hardening import WorstOfSome
    from wardline.robust.text.layers import Defended, Layer
    from wardline.robust.text.lexicon import Lexicon, corpus_lexicon, wordnet_lexicon
    from wardline.robust.text.monitor import TextMonitor
    from wardline.robust.text.normalise import Normalise
    from wardline.robust.text.pipelines import Defences
    from wardline.robust.text.spelling import Spelling

__all__ = [
    "Defences",
    "Defended",
    "Layer",
    "Lexicon",
    "Normalise",
    "Spelling",
    "TextMonitor",
    "WorstOfSome",
    "corpus_lexicon",
    "plain_letters",
    "wordnet_lexicon",
]

__getattr__ = lazy(
    __name__,
    {
        "confusables": ("plain_letters",),
        "hardening": ("WorstOfSome",),
        "layers": ("Defended", "Layer"),
        "lexicon": ("Lexicon", "corpus_lexicon", "wordnet_lexicon"),
        "monitor": ("TextMonitor",),
        "normalise": ("Normalise",),
        "pipelines": ("Defences",),
        "spelling": ("Spelling",),
    },
    extra="text",
)
