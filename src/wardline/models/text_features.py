"""Texts as bags of hashed features: words, parts of words, and pairs of neighbouring words.

There is no vocabulary to store, and no text that cannot be read: whatever a stranger sends falls into some bucket. The
hash is fixed here for ever, because a trained model means nothing under another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.models.predictor import Inputs

TOKEN = re.compile(r"\w+|[^\w\s]")
"""A token: a run of letters, digits and underscores, or any other single character that is no space."""

MAX_TOKEN = 64
"""Characters of a token that count. Without an end, one endless token would set the cost of a whole batch."""

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_PAIR, _GRAM = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bags:
    """Features of several texts, one after the other.

    Attributes:
        indices: bucket of each feature, int64, flat.
        starts: where each text's features begin, int64 [rows].
    """

    indices: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: npt.NDArray[np.int64]) -> Bags:
        """The bags of some rows, in that order."""
        counts = np.diff(self.starts, append=len(self.indices))[rows]
        return Bags(indices=self.indices[_spans(self.starts[rows], counts)], starts=_starts(counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """Which features a text has.

    A text is lower-cased and cut into tokens (`TOKEN`). A token gives a feature for itself and one for each run of
    `shortest` to `longest` characters of ``<token>``; each two neighbouring tokens give one for the pair if `pairs`.
    Each is hashed to one of `buckets` by FNV-1a with 64 bits over code points (the original takes bytes), and the upper
    half of the hash is folded into the lower.

    Attributes:
        buckets: how many, a power of two from 2**8 to 2**22.
        shortest, longest: lengths of the parts of words, from 2 to 8.
        pairs: whether pairs of words count, so that "not good" differs from "good".

    Raises:
        ValueError: for sizes out of range.

    References: Bojanowski, Grave, Joulin and Mikolov 2017, section 3.2 (parts of words); Joulin et al. 2017 (pairs);
        Fowler, Noll and Vo 1991 (the hash).
    """

    buckets: int = 1 << 16
    shortest: int = 3
    longest: int = 5
    pairs: bool = True

    def __post_init__(self) -> None:
        for name in ("buckets", "shortest", "longest"):
            if type(getattr(self, name)) is not int:  # True is an int, and no size
                raise ValueError(f"{name} must be a whole number")
        if not 1 << 8 <= self.buckets <= 1 << 22 or self.buckets & (self.buckets - 1):
            raise ValueError("buckets must be a power of two from 256 to 4194304")
        if not 2 <= self.shortest <= self.longest <= 8:
            raise ValueError("shortest and longest must lie between 2 and 8, in this order")
        if type(self.pairs) is not bool:
            raise ValueError("pairs must be true or false")

    def bags(self, texts: Inputs) -> Bags:
        """The features of each text; a text without tokens has none."""
        tokens = [TOKEN.findall(text.lower()) for text in texts]
        counts = np.fromiter((len(found) for found in tokens), dtype=np.int64, count=len(tokens))
        flat = [token for found in tokens for token in found]
        if not flat:
            return Bags(indices=np.empty(0, dtype=np.int64), starts=_starts(counts))
        # Each distinct token is hashed once: in a batch of variants of one text nearly all tokens repeat.
        distinct: dict[str, int] = {}
        ids = np.fromiter((distinct.setdefault(token, len(distinct)) for token in flat), np.int64, len(flat))
        words, parts = self._hash(list(distinct))
        sizes = feature_counts(parts)[ids]
        owner = np.repeat(np.arange(len(tokens)), counts)
        pieces, text_of = [parts.indices[_spans(parts.starts[ids], sizes)]], [np.repeat(owner, sizes)]
        if self.pairs:
            inside = np.flatnonzero(owner[1:] == owner[:-1])
            first, second = words[ids[inside]], words[ids[inside + 1]]
            with np.errstate(over="ignore"):
                pieces.append(self._bucket((first * _PRIME ^ second ^ _PAIR) * _PRIME))
            text_of.append(owner[inside])
        indices, owners = np.concatenate(pieces), np.concatenate(text_of)
        order = np.argsort(owners, kind="stable")
        return Bags(indices=indices[order], starts=_starts(np.bincount(owners, minlength=len(tokens))))

    def _hash(self, tokens: list[str]) -> tuple[npt.NDArray[np.uint64], Bags]:
        """Of each token: the hash of the whole, and the buckets of itself and of its parts."""
        framed = np.array([f"<{token[:MAX_TOKEN]}>" for token in tokens])  # one row of code points each
        lengths = np.fromiter((min(len(token), MAX_TOKEN) + 2 for token in tokens), np.int64, len(tokens))
        points = framed.view(np.uint32).reshape(len(tokens), -1).astype(np.uint64)
        width = points.shape[1]
        words = np.full(len(tokens), _BASIS, dtype=np.uint64)
        with np.errstate(over="ignore"):
            for column in range(width):
                words = np.where(column < lengths, (words ^ points[:, column]) * _PRIME, words)
            found, owners = [self._bucket(words)], [np.arange(len(tokens))]
            for size in range(self.shortest, min(self.longest, width) + 1):
                grams = np.full((len(tokens), width - size + 1), _BASIS ^ _GRAM, dtype=np.uint64)
                for column in range(size):
                    grams = (grams ^ points[:, column : column + grams.shape[1]]) * _PRIME
                # The whole of a framed token is the word itself and would count twice.
                rows, places = np.nonzero(
                    (np.arange(grams.shape[1]) + size <= lengths[:, None]) & (lengths > size)[:, None]
                )
                found.append(self._bucket(grams[rows, places]))
                owners.append(rows)
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        counts = np.bincount(owner, minlength=len(tokens))
        return words, Bags(indices=np.concatenate(found)[order], starts=_starts(counts))

    def _bucket(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        folded: npt.NDArray[np.int64] = ((hashes ^ (hashes >> np.uint64(32))) % np.uint64(self.buckets)).astype(
            np.int64
        )
        return folded


def feature_counts(bags: Bags) -> npt.NDArray[np.int64]:
    """How many features each text has: [rows]."""
    counts: npt.NDArray[np.int64] = np.diff(bags.starts, append=len(bags.indices))
    return counts


def _starts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    starts = np.zeros(len(counts), dtype=np.int64)
    np.cumsum(counts[:-1], out=starts[1:])
    return starts


def _spans(starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """All places from each start on, as many as its count: one flat array."""
    total = int(counts.sum())
    spans: npt.NDArray[np.int64] = np.arange(total) + np.repeat(starts - _starts(counts), counts)
    return spans
