"""Changed characters: typing errors, look-alikes, invisible characters, cut words (in the manner of DeepWordBug)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.text.search import Ranking, Search, State
from wardline.models.predictor import Inputs
from wardline.robust.text.edits import KINDS, Kind, draw_edits, edit_distance, has_digit, keeps_numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Characters:
    """Changes a few characters of the words that matter most.

    Words are ranked by what the model's margin loses without them, or by Gao et al.'s temporal score. Then each is
    edited in turn: of `tries` single edits the one with the lowest margin is kept, if it lowers it. Unlike the paper,
    which edits a word blindly once it is ranked, each edit is judged by the model; that costs queries and breaks more.

    Attributes:
        edits: single edits of a text at most, in the Damerau-Levenshtein distance, at least 0.
        kinds: what may be done, see `wardline.robust.text.edits.Kind`.
        edits_per_word: of one word at most, at least 1.
        tries: edits tried at each visit of a word, drawn evenly from all kinds, at least 1.
        ranking: how words are ranked.
        beam: states kept for each text, at least 1.
        queries_each: queries for each text at most; None for no end.
        patience: visits in a row that do not move the margin, after which a text is given up; None for no end.
        numbers: whether words with digits may be edited too. A spammer who garbles the number to call gains nothing.

    Raises:
        ValueError: for a number out of range, or no kind.

    References: Gao, Lanchantin, Soffa and Qi 2018 (DeepWordBug); Boucher, Shumailov, Anderson and Papernot 2022
        (look-alikes and invisible characters).
    """

    edits: int = 5
    kinds: tuple[Kind, ...] = KINDS
    edits_per_word: int = 2
    tries: int = 24
    ranking: Ranking = "deletion"
    beam: int = 1
    queries_each: int | None = None
    patience: int | None = None
    numbers: bool = False

    def __post_init__(self) -> None:
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds are some of {', '.join(KINDS)}")
        if self.edits < 0 or self.edits_per_word < 1 or self.tries < 1:
            raise ValueError("edits must be at least 0, edits_per_word and tries at least 1")
        self._search()

    @property
    def id(self) -> str:
        """``text.characters``."""
        return "text.characters"

    @property
    def needs(self) -> Access:
        """Scores."""
        return Access.SCORES

    @property
    def paper(self) -> str:
        """Where the method comes from."""
        return "Gao, Lanchantin, Soffa and Qi 2018 (DeepWordBug), each edit judged by the model"

    def threat(self, target: Target) -> Threat:
        """Another answer for a text that people read alike."""
        return Threat(
            goal="misclassification of a text that is still legible",
            access=target.access,
            limits=f"at most {self.edits} character edits, {self.edits_per_word} a word: {', '.join(self.kinds)}"
            + ("" if self.numbers else "; numbers kept"),
        )

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether the edit distance of each whole text is within `edits`, however it came about: [rows]."""
        return within_edits(changed, original, edits=self.edits, numbers=self.numbers)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Search greedily, or with a beam."""
        return self._search().run(target, batch, self)

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack texts and judge the outcome.

        Args:
            target: the model, with scores.
            data: texts with their true classes.
            budget: what may be spent.
            seed: of the choice of edits.
        """
        return attack_examples(self, target, data, budget=budget, seed=seed)

    def room(self, original: tuple[str, ...]) -> int:
        """Edits of a text at most."""
        del original
        return self.edits

    def at(
        self, original: tuple[str, ...], state: State, place: int, *, generator: np.random.Generator
    ) -> Sequence[State]:
        """The single edits to try at a word, on top of what was done to the text before."""
        if state.cost >= self.edits or (not self.numbers and has_digit(original[place])):
            return ()
        words = draw_edits(state.cut[place], kinds=self.kinds, most=self.tries, generator=generator)
        return [
            State(cut=(*state.cut[:place], word, *state.cut[place + 1 :]), cost=state.cost + 1, loss=state.cost + 1)
            for word in words
        ]

    def _search(self) -> Search:
        return Search(
            ranking=self.ranking,
            beam=self.beam,
            passes=self.edits_per_word,
            queries_each=self.queries_each,
            patience=self.patience,
        )


def within_edits(changed: Inputs, original: Inputs, *, edits: int, numbers: bool) -> npt.NDArray[np.bool_]:
    """Whether each whole text is within so many edits of its original, and keeps its numbers: [rows].

    Args:
        changed: texts.
        original: as many texts.
        edits: the most, in the Damerau-Levenshtein distance.
        numbers: whether words with digits may differ.
    """
    pairs = zip(changed, original, strict=True)
    return np.array(
        [edit_distance(new, old, most=edits) <= edits and (numbers or keeps_numbers(new, old)) for new, old in pairs],
        dtype=np.bool_,
    )
