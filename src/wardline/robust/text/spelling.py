"""Unknown words replaced by the nearest known ones."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping

import numpy as np

from wardline.core import need
from wardline.models.predictor import Inputs
from wardline.models.text_vectors import WORD

_CACHE = 1 << 18


class Spelling:
    """Replaces each word that the training texts do not have by the nearest that they have.

    Nearest by the number of edits (insert, delete, substitute, swap neighbours; the restricted distance), then by how
    often it occurs, then by the alphabet. A word of fewer than `shortest` characters, and one that nothing is near to,
    stay as they are. The text is lower-cased.

    Args:
        counts: how often each known word occurs, lower-cased.
        edits: how far a replacement may be, 1 or 2. Words of fewer than six characters are given one edit at most,
            since two turn nearly any short word into another.
        shortest: characters of the shortest word that is corrected, at least 2.

    Raises:
        ValueError: if no word is known, or for a number out of range.
        MissingExtraError: without the extra `text`.

    Guarantee:
        A text of known words stays as it is, case aside. Nothing is promised about any other: the nearest known word
        may be another than the one that was misspelt, and an attacker who swaps one known word for another is not
        noticed at all.
    """

    def __init__(self, counts: Mapping[str, int], *, edits: int = 2, shortest: int = 4) -> None:
        if not counts:
            raise ValueError("at least one word must be known")
        if edits not in (1, 2) or shortest < 2:
            raise ValueError("edits must be 1 or 2, and shortest at least 2")
        self._cdist = need("rapidfuzz.process", extra="text").cdist
        self._scorer = need("rapidfuzz.distance.OSA", extra="text").distance
        self.known = frozenset(counts)
        self.edits, self.shortest = edits, shortest
        by_length: dict[int, list[str]] = {}
        for word in sorted(counts, key=lambda word: (-counts[word], word)):
            by_length.setdefault(len(word), []).append(word)
        self._ranked = {size: tuple(words) for size, words in by_length.items()}
        self._counts = dict(counts)
        self._longest = max(by_length) + edits
        # A cache of this object, so that it goes when the object goes.
        self._nearest = functools.lru_cache(maxsize=_CACHE)(self._search)

    @classmethod
    def of(cls, texts: Inputs, *, least_count: int = 2, edits: int = 2) -> Spelling:
        """The correction towards the words of a training corpus.

        Args:
            texts: the corpus.
            least_count: how often a word occurs at least; a word that occurs once may be a misspelling itself.
            edits: how far a replacement may be, 1 or 2.
        """
        counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
        return cls({word: count for word, count in counts.items() if count >= least_count}, edits=edits)

    @property
    def id(self) -> str:
        """``spelling``."""
        return "spelling"

    def apply(self, text: str) -> str:
        """The text in known words as far as they are near."""
        return WORD.sub(lambda match: self.correct(match.group()), text.lower())

    def correct(self, word: str) -> str:
        """The known word nearest to a lower-cased word; itself if it is known or nothing is near."""
        # A longer word is near nothing, and must not fill the cache.
        if word in self.known or not self.shortest <= len(word) <= self._longest:
            return word
        nearest: str = self._nearest(word)
        return nearest

    def _search(self, word: str) -> str:
        allowed = 1 if len(word) < 6 else self.edits
        best: tuple[int, int, str] | None = None
        for size in range(len(word) - allowed, len(word) + allowed + 1):
            choices = self._ranked.get(size, ())
            if not choices:
                continue
            distances = self._cdist([word], choices, scorer=self._scorer, score_cutoff=allowed, dtype=np.uint8)[0]
            least = int(distances.min())
            if least > allowed:
                continue
            first = choices[int(distances.argmin())]  # the most frequent of the nearest: choices are ranked
            rank = (least, -self._counts[first], first)
            best = rank if best is None or rank < best else best
        return word if best is None else best[2]
