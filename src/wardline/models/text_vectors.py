"""Word vectors from a task's own texts: which words stand in the same company.

Positive pointwise mutual information, cut down by a singular value decomposition: what skip-gram with negative sampling
approaches, in seconds and without a training loop.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from wardline.core import Seeds
from wardline.core.checks import at_least

WORD = re.compile(r"\w+(?:['’]\w+)*")  # noqa: RUF001 (the apostrophe that people type)
"""A word as people see it: letters and digits, with apostrophes inside."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordVectors:
    """A vector of length 1 for each word.

    Attributes:
        words: lower-cased, the most frequent first.
        vectors: float32 [words, dimensions], each row of length 1.
    """

    words: tuple[str, ...]
    vectors: npt.NDArray[np.float32] = field(repr=False)
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.words) != len(self.vectors) or len(set(self.words)) != len(self.words):
            raise ValueError("there must be one vector for each word, and each word once")
        object.__setattr__(self, "index", {word: place for place, word in enumerate(self.words)})

    def neighbours(self, words: Sequence[str], *, most: int, cosine: float) -> list[tuple[str, ...]]:
        """The nearest other words of each word, the nearest first; none for a word without a vector.

        Args:
            words: lower-cased.
            most: how many at most, at least 1.
            cosine: how near they are at least, in [-1, 1].
        """
        at_least("most", most, 1)
        known = [place for place, word in enumerate(words) if word in self.index]
        found: list[tuple[str, ...]] = [()] * len(words)
        for start in range(0, len(known), 1024):
            rows = known[start : start + 1024]
            own = np.array([self.index[words[row]] for row in rows])
            nearness = self.vectors[own] @ self.vectors.T
            nearness[np.arange(len(own)), own] = -2.0
            best = np.argsort(-nearness, axis=1, kind="stable")[:, :most]
            for row, places, values in zip(rows, best, np.take_along_axis(nearness, best, axis=1), strict=True):
                found[row] = tuple(self.words[place] for place in places[values >= cosine])
        return found

    def means(self, texts: Iterable[str]) -> npt.NDArray[np.float32]:
        """The mean of the vectors of each text's words, of length 1: [rows, dimensions]; 0 where no word is known."""
        rows = []
        for text in texts:
            places = [self.index[word] for word in WORD.findall(text.lower()) if word in self.index]
            mean = self.vectors[places].sum(axis=0) if places else np.zeros(self.vectors.shape[1], dtype=np.float32)
            rows.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        empty = np.empty((0, self.vectors.shape[1]), dtype=np.float32)
        return np.stack(rows).astype(np.float32) if rows else empty


def train_vectors(
    texts: Sequence[str],
    *,
    seeds: Seeds,
    dimensions: int = 100,
    window: int = 2,
    least_count: int = 10,
    most_words: int = 20_000,
) -> WordVectors:
    """Vectors of all words that occur often enough.

    Args:
        texts: the corpus.
        seeds: of the decomposition, which is randomised.
        dimensions: of a vector, at least 1; fewer where there are fewer words.
        window: how far apart two words count as neighbours, at least 1. Each place in it is a context of its own: that
            finds words that can stand in for each other, of the same part of speech more often than not, where a
            plain window finds words of the same topic.
        least_count: how often a word occurs at least, at least 1.
        most_words: how many words at most, the most frequent ones.

    Raises:
        ValueError: for a number out of range, or if fewer than three words occur often enough.

    References: Levy and Goldberg 2014 (NIPS), section 3 (the link to skip-gram); Levy and Goldberg 2014 (CoNLL),
        section 2 (positional contexts); Levy, Goldberg and Dagan 2015, section 3 (contexts smoothed by a power of 0.75,
        singular values to the power of 0.5).
    """
    for name, value in (("dimensions", dimensions), ("window", window), ("least_count", least_count)):
        at_least(name, value, 1)
    split = [WORD.findall(text.lower()) for text in texts]
    counts = Counter(word for words in split for word in words)
    # Ties are broken by the alphabet: the order of a Counter depends on the order of the texts.
    ranked = sorted((word for word, count in counts.items() if count >= least_count), key=lambda w: (-counts[w], w))
    vocabulary = ranked[:most_words]
    if len(vocabulary) < 3:
        raise ValueError(f"fewer than three words occur {least_count} times")
    together = _together(split, {word: place for place, word in enumerate(vocabulary)}, window).tocoo()
    own = np.asarray(together.sum(axis=1)).ravel()
    contexts = np.asarray(together.sum(axis=0)).ravel() ** 0.75
    expected = own[together.row] * contexts[together.col] / contexts.sum()
    values = np.maximum(np.log(together.data / expected), 0.0)
    ppmi = sparse.csr_matrix((values, (together.row, together.col)), shape=together.shape)
    left, strengths, _ = randomized_svd(
        ppmi, min(dimensions, len(vocabulary) - 1), random_state=seeds.integer("vectors.svd") % 2**32
    )
    vectors = left * np.sqrt(strengths)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A word that stands alone has the vector 0: it is near nothing.
    return WordVectors(words=tuple(vocabulary), vectors=(vectors / np.maximum(lengths, 1e-12)).astype(np.float32))


def _together(split: list[list[str]], index: dict[str, int], window: int) -> sparse.csr_matrix:
    """How often each word has each word at each place around it: [words, words times places]."""
    gap = np.full(window, -1, dtype=np.int64)  # so that the last word of a text is no neighbour of the next one's first
    places = [np.array([index.get(word, -1) for word in words], dtype=np.int64) for words in split]
    flat = np.concatenate([part for words in places for part in (words, gap)])
    size = len(index)
    blocks = []
    for distance in range(1, window + 1):
        first, second = flat[:-distance], flat[distance:]
        known = (first >= 0) & (second >= 0)
        ones = np.ones(int(known.sum()))
        block = sparse.csr_matrix((ones, (first[known], second[known])), shape=(size, size))
        blocks += [block, block.T]
    return sparse.csr_matrix(sparse.hstack(blocks))
