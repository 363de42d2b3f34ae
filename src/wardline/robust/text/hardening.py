"""Adversarial training of text classifiers: on the worst of several random changes of each text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.models.predictor import Inputs
from wardline.models.text_training import Losses
from wardline.robust.text.edits import KINDS, Kind, draw_edits, pieces
from wardline.robust.text.lexicon import Lexicon


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstOfSome:
    """Trains on the change of each text that the present model likes least, out of `tries` random ones.

    A change edits a share of the words, each by one edit of a random kind or, if there is a lexicon, by a substitute
    with probability `swap_prob`. Pass it to `wardline.models.text_training.train_text` as the adversary.

    Attributes:
        kinds: edits that are drawn from.
        lexicon: where substitutes come from; None uses edits alone.
        swap_prob: how often a changed word is substituted rather than edited, in [0, 1].
        word_rate: the share of words changed at most, in (0, 1]; each text draws its own share below it.
        share: the share of each batch that is changed, in (0, 1]; the rest keeps the clean accuracy.
        tries: changes that are tried for each text, at least 1.

    Raises:
        ValueError: for a number out of range, or no kind.

    References: Madry et al. 2018, section 2 (training on the worst change); Gao, Lanchantin, Soffa and Qi 2018
        (adversarial training on misspelt words). Random tries in place of a search make it affordable and weaker.
    """

    kinds: tuple[Kind, ...] = KINDS
    lexicon: Lexicon | None = None
    swap_prob: float = 0.5
    word_rate: float = 0.8
    share: float = 0.8
    tries: int = 8

    def __post_init__(self) -> None:
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds are some of {', '.join(KINDS)}")
        if not 0 <= self.swap_prob <= 1 or not 0 < self.word_rate <= 1 or not 0 < self.share <= 1 or self.tries < 1:
            raise ValueError("shares lie in (0, 1], swap_prob in [0, 1], and tries is at least 1")

    def change(
        self, texts: Inputs, labels: npt.NDArray[np.int64], *, losses: Losses, generator: np.random.Generator
    ) -> Inputs:
        """The texts of a batch, some of them changed."""
        changed = texts.copy()
        rows = np.flatnonzero(generator.random(len(texts)) < self.share)
        if not len(rows):
            return changed
        tried = np.array([self.one(texts[row], generator) for row in rows for _ in range(self.tries)], dtype=object)
        if self.tries > 1:
            worst = losses(tried, np.repeat(labels[rows], self.tries)).reshape(len(rows), self.tries).argmax(axis=1)
        else:
            worst = np.zeros(len(rows), dtype=np.int64)
        changed[rows] = tried.reshape(len(rows), self.tries)[np.arange(len(rows)), worst]
        return changed

    def one(self, text: str, generator: np.random.Generator) -> str:
        """One random change of a text."""
        cut = list(pieces(text))
        places = np.arange(1, len(cut), 2)
        if not len(places):
            return text
        chosen = places[generator.random(len(places)) < generator.random() * self.word_rate]
        for place in chosen if len(chosen) else generator.choice(places, size=1):
            cut[place] = self._word(cut[place], generator)
        return "".join(cut)

    def _word(self, word: str, generator: np.random.Generator) -> str:
        if self.lexicon is not None and generator.random() < self.swap_prob:
            others = self.lexicon.of(word)
            if others:
                return others[int(generator.integers(len(others)))]
        kind = self.kinds[int(generator.integers(len(self.kinds)))]
        return next(iter(draw_edits(word, kinds=(kind,), most=1, generator=generator)), word)
