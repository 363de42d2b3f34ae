"""Changed characters for an adversary who sees labels alone: many guesses, none of them informed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.text.characters import within_edits
from wardline.models.predictor import Inputs
from wardline.robust.text.edits import KINDS, Kind, draw_edits, has_digit, pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """Tries random character edits until the label changes.

    It needs no scores, so it also tells whether a defence only blinds the search: where guesses find more than
    `wardline.attacks.text.characters.Characters`, the scores mislead.

    Attributes:
        edits: single edits of a text, in the Damerau-Levenshtein distance, at least 0.
        kinds: what may be done.
        guesses: for each text, at least 1.
        numbers: whether words with digits may be edited too.

    Raises:
        ValueError: for a number out of range, or no kind.

    References: Gao, Lanchantin, Soffa and Qi 2018 (random edits, their baseline).
    """

    edits: int = 5
    kinds: tuple[Kind, ...] = KINDS
    guesses: int = 100
    numbers: bool = False

    def __post_init__(self) -> None:
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds are some of {', '.join(KINDS)}")
        if self.edits < 0 or self.guesses < 1:
            raise ValueError("edits must be at least 0 and guesses at least 1")

    @property
    def id(self) -> str:
        """``text.guesses``."""
        return "text.guesses"

    @property
    def needs(self) -> Access:
        """Labels."""
        return Access.LABELS

    @property
    def paper(self) -> str:
        """Where the method comes from."""
        return "Gao, Lanchantin, Soffa and Qi 2018 (random edits, their baseline), repeated"

    def threat(self, target: Target) -> Threat:
        """Another answer for a text that people read alike."""
        return Threat(
            goal="misclassification of a text that is still legible",
            access=target.access,
            limits=f"at most {self.edits} character edits: {', '.join(self.kinds)}"
            + ("" if self.numbers else "; numbers kept"),
        )

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether the edit distance of each whole text is within `edits`: [rows]."""
        return within_edits(changed, original, edits=self.edits, numbers=self.numbers)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """One guess for each text that still holds out, as often as there are guesses."""
        generator = batch.seeds.numpy("guesses")
        left = np.arange(len(batch.x))
        for _ in range(self.guesses if self.edits else 0):
            tried = np.empty(len(left), dtype=object)
            tried[:] = [self._guess(batch.x[row], generator) for row in left]
            labels = target.labels(tried)
            hit = (labels >= 0) & (labels != batch.y[left])
            batch.best[left[hit]] = tried[hit]
            left = left[~hit]
            if not len(left):
                break
        return ()

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack texts and judge the outcome.

        Args:
            target: the model.
            data: texts with their true classes.
            budget: what may be spent.
            seed: of the guesses.
        """
        return attack_examples(self, target, data, budget=budget, seed=seed)

    def _guess(self, text: str, generator: np.random.Generator) -> str:
        cut = list(pieces(text))
        places = [place for place in range(1, len(cut), 2) if self.numbers or not has_digit(cut[place])]
        for _ in range(self.edits if places else 0):
            place = places[int(generator.integers(len(places)))]
            kind = self.kinds[int(generator.integers(len(self.kinds)))]
            cut[place] = next(iter(draw_edits(cut[place], kinds=(kind,), most=1, generator=generator)), cut[place])
        return "".join(cut)
