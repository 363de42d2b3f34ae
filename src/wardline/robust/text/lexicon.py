"""Which words can stand in for which: from a task's own texts, or from a WordNet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wardline.core import DataError, Seeds
from wardline.models.predictor import Inputs
from wardline.models.text_vectors import WORD, WordVectors, train_vectors
from wardline.robust.text.edits import has_digit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lexicon:
    """Substitutes of words, and vectors that tell how near two texts are.

    Attributes:
        substitutes: for a lower-cased word, others that can stand in for it, the best first. The relation need not be
            symmetric.
        vectors: of the words; used for the nearness of texts.
    """

    substitutes: Mapping[str, tuple[str, ...]] = field(repr=False)
    vectors: WordVectors = field(repr=False)

    def of(self, word: str) -> tuple[str, ...]:
        """Substitutes of a word, in its case: all lower, Capitalised, or ALL UPPER."""
        found = self.substitutes.get(word.lower(), ())
        if word.isupper() and len(word) > 1:
            return tuple(other.upper() for other in found)
        if word[:1].isupper():
            return tuple(other[:1].upper() + other[1:] for other in found)
        return found

    def nearness(self, first: Sequence[str], second: Sequence[str]) -> npt.NDArray[np.float32]:
        """Cosine of the mean word vectors of each two texts: [rows]; 1 where neither has a word that is known."""
        left, right = self.vectors.means(first), self.vectors.means(second)
        cosines: npt.NDArray[np.float32] = (left * right).sum(axis=1)
        return np.where(left.any(axis=1) | right.any(axis=1), cosines, np.float32(1))


def corpus_lexicon(
    texts: Inputs,
    labels: npt.NDArray[np.int64],
    *,
    seeds: Seeds,
    least_count: int = 10,
    most: int = 30,
    cosine: float = 0.5,
    polarity: float = 0.5,
) -> Lexicon:
    """Substitutes from a task's own texts: near in company, and not opposed in what they say about the class.

    Word vectors put "good" beside "bad". A swap of the two changes the true class and proves nothing about a model, so
    neighbours whose frequencies speak for different classes are left out; Jin et al. (2020) use counter-fitted vectors
    to the same end. It is a crude filter: parts of speech and senses are not looked at. Words with digits are left out
    as well.

    Args:
        texts: the corpus.
        labels: classes of the texts, from 0 on.
        seeds: of the vectors.
        least_count: how often a word occurs at least, at least 1.
        most: substitutes of a word at most.
        cosine: how near a substitute is at least, in [-1, 1].
        polarity: how far the class log-odds of two words differ at most, in nats, above 0.

    References: Jin, Jin, Zhou and Szolovits 2020 (TextFooler).
    """
    vectors = train_vectors(list(texts), seeds=seeds, least_count=least_count)
    odds = _log_odds(texts, labels, vectors)
    near = vectors.neighbours(vectors.words, most=4 * most, cosine=cosine)
    substitutes = {}
    for place, (word, others) in enumerate(zip(vectors.words, near, strict=True)):
        own = odds[place]
        alike = [other for other in others if np.abs(odds[vectors.index[other]] - own).max() <= polarity]
        kept = [other for other in alike if not has_digit(other)]
        if kept and not has_digit(word):
            substitutes[word] = tuple(kept[:most])
    return Lexicon(substitutes=substitutes, vectors=vectors)


def wordnet_lexicon(folder: Path, vectors: WordVectors, *, most: int = 30) -> Lexicon:
    """Substitutes from the data files of WordNet: words that share a synset, single words that have a vector alone.

    Args:
        folder: holds ``data.adj``, ``data.adv``, ``data.noun`` and ``data.verb`` (any of them).
        vectors: decide which words are known, and their order: the nearest first.
        most: substitutes of a word at most.

    Raises:
        DataError: if none of the files is there, or one cannot be read.

    References: Fellbaum 1998; wndb(5WN) for the format.
    """
    files = [Path(folder) / f"data.{part}" for part in ("adj", "adv", "noun", "verb")]
    found = [path for path in files if path.is_file()]
    if not found:
        raise DataError("there is no WordNet", where=str(folder), hint="name the folder that holds data.noun")
    groups: dict[str, set[str]] = {}
    for path in found:
        for synset in _synsets(path):
            known = {word for word in synset if word in vectors.index}
            for word in known:
                groups.setdefault(word, set()).update(known - {word})
    substitutes = {}
    for word, others in sorted(groups.items()):
        own = vectors.vectors[vectors.index[word]]
        ranked = sorted(others, key=lambda other: (-float(own @ vectors.vectors[vectors.index[other]]), other))
        if ranked:
            substitutes[word] = tuple(ranked[:most])
    return Lexicon(substitutes=substitutes, vectors=vectors)


def _synsets(path: Path) -> list[list[str]]:
    """The words of each synset: ``offset file type count word id word id ...``, the count in hexadecimal."""
    synsets = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.startswith("  ") or not line.strip():  # the licence stands before the first synset
                continue
            fields = line.split(" ")
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            # An adjective may carry its place in brackets, as in "galore(ip)". Several words stand in for none.
            synsets.append([word.partition("(")[0].lower() for word in words if "_" not in word])
    except (OSError, ValueError, IndexError) as error:
        raise DataError("not a data file of WordNet", where=str(path), hint="take the files of WordNet 3") from error
    return synsets


def _log_odds(texts: Inputs, labels: npt.NDArray[np.int64], vectors: WordVectors) -> npt.NDArray[np.float64]:
    """What each word says about each class: the log of its smoothed share there over its mean share: [words, k].

    Only classes that there are texts of: of any other, a word's share would say how frequent the word is, no more.
    """
    classes, places = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(vectors.words), len(classes)))
    for text, label in zip(texts, places, strict=True):
        for word, count in Counter(WORD.findall(text.lower())).items():
            if word in vectors.index:
                counts[vectors.index[word], label] += count
    shares = (counts + 1.0) / (counts.sum(axis=0) + len(counts))
    log_odds: npt.NDArray[np.float64] = np.log(shares) - np.log(shares.mean(axis=1, keepdims=True))
    return log_odds
