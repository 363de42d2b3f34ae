"""Swapped words: each replaced by one that stands in like company (in the manner of TextFooler)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.text.search import Ranking, Search, State
from wardline.core import Seeds, Verdict
from wardline.models.predictor import Inputs
from wardline.robust.text.edits import pieces
from wardline.robust.text.lexicon import Lexicon, corpus_lexicon

_LEAST_SUBSTITUTES = 0.1  # the share of words with a substitute below which a failure says little about the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Replaces some of the words that matter most by others from a lexicon.

    As in TextFooler, words are ranked by what the margin loses without them; each is replaced by the substitute that
    lowers the margin most, and among substitutes that change the class by the one that leaves the text nearest to the
    original. Parts of speech are not checked: Jin et al. use a tagger. Nearness is the cosine of mean word vectors; Jin
    et al. use a sentence encoder, which is stricter.

    Attributes:
        lexicon: substitutes. None makes one from the texts under attack, which is weak where they are few: the
            adversary is better off with the texts of the task, see `wardline.robust.text.lexicon.corpus_lexicon`.
        share: of a text's words that are changed at most, in [0, 1]; rounded down, but one word in any text that is not
            empty, unless it is 0.
        nearness: of the changed text to the original at least, in [-1, 1].
        ranking: how words are ranked.
        beam: states kept for each text, at least 1.
        queries_each: queries for each text at most; None for no end.

    Raises:
        ValueError: for a number out of range.

    References: Jin, Jin, Zhou and Szolovits 2020, algorithm 1.
    """

    lexicon: Lexicon | None = field(default=None, repr=False)
    share: float = 0.25
    nearness: float = 0.8
    ranking: Ranking = "deletion"
    beam: int = 1
    queries_each: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not -1 <= self.nearness <= 1:
            raise ValueError("share lies in [0, 1] and nearness in [-1, 1]")
        self._search()

    @property
    def id(self) -> str:
        """``text.words``."""
        return "text.words"

    @property
    def needs(self) -> Access:
        """Scores."""
        return Access.SCORES

    @property
    def paper(self) -> str:
        """Where the method comes from."""
        return "Jin, Jin, Zhou and Szolovits 2020, algorithm 1 (TextFooler), without tagger and sentence encoder"

    def threat(self, target: Target) -> Threat:
        """Another answer for a text that means much the same."""
        at_least_one = ", but one in any text" if self.share else ""
        return Threat(
            goal="misclassification of a text whose words are replaced by near ones",
            access=target.access,
            limits=f"at most {self.share:g} of the words{at_least_one}, nearness at least {self.nearness:g}",
            knowledge="texts of the task, for the substitutes" if self.lexicon is not None else "",
        )

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each changed text has few enough other words, known substitutes all, and is near enough: [rows].

        Everything is counted anew from the two texts.

        Raises:
            ValueError: without a lexicon, which `run` makes if there is none.
        """
        lexicon = self._lexicon()
        near = lexicon.nearness(list(changed), list(original)) >= self.nearness - 1e-6  # 32-bit sums in another order
        pairs = zip(changed, original, strict=True)
        few = np.array([self._few(new, old, lexicon) for new, old in pairs], dtype=np.bool_)
        return np.logical_and(near, few)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Search greedily, or with a beam."""
        lexicon = self._lexicon()
        words = [word for text in batch.x for word in pieces(text)[1::2]]
        known = sum(bool(lexicon.of(word)) for word in words)
        enough = not words or known >= _LEAST_SUBSTITUTES * len(words)
        check = Check(
            name="substitutes",
            outcome=Verdict.PASS if enough else Verdict.INCONCLUSIVE,
            detail=f"{known} of {len(words)} words have a substitute",
        )
        return (check, *self._search().run(target, batch, self))

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack texts and judge the outcome.

        Args:
            target: the model, with scores.
            data: texts with their true classes.
            budget: what may be spent.
            seed: of the lexicon, where one is made.
        """
        attack = self
        if self.lexicon is None:
            made = corpus_lexicon(data.x, data.y, seeds=Seeds(seed).child("lexicon"), least_count=2)
            attack = dataclasses.replace(self, lexicon=made)
        return attack_examples(attack, target, data, budget=budget, seed=seed)

    def room(self, original: tuple[str, ...]) -> int:
        """Words of a text that may be changed."""
        words = len(original) // 2
        return min(words, max(1, math.floor(self.share * words))) if self.share else 0

    def at(
        self, original: tuple[str, ...], state: State, place: int, *, generator: np.random.Generator
    ) -> Sequence[State]:
        """The substitutes to try for a word, those alone that leave the text near enough."""
        del generator
        lexicon = self._lexicon()
        others = lexicon.of(original[place])
        if state.cost >= self.room(original) or not others:
            return ()
        cuts = [(*state.cut[:place], other, *state.cut[place + 1 :]) for other in others]
        before = "".join(original)
        nearness = lexicon.nearness(["".join(cut) for cut in cuts], [before] * len(cuts))
        return [
            State(cut=cut, cost=state.cost + 1, loss=1.0 - float(near))
            for cut, near in zip(cuts, nearness, strict=True)
            if near >= self.nearness
        ]

    def _few(self, changed: str, original: str, lexicon: Lexicon) -> bool:
        new, old = pieces(changed), pieces(original)
        if len(new) != len(old) or new[::2] != old[::2]:
            return False
        swapped = [(now, then) for now, then in zip(new[1::2], old[1::2], strict=True) if now != then]
        return len(swapped) <= self.room(old) and all(now in lexicon.of(then) for now, then in swapped)

    def _lexicon(self) -> Lexicon:
        if self.lexicon is None:
            raise ValueError("there is no lexicon yet; run makes one")
        return self.lexicon

    def _search(self) -> Search:
        return Search(ranking=self.ranking, beam=self.beam, queries_each=self.queries_each)
