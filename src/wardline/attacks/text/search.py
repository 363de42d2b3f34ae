"""Greedy and beam search over words of texts, for all texts of a batch at once.

What is tried at a word is the attack's; which word comes next, what is kept and when a text is done stands here. All
candidates of all texts go to the model in one batch a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.result import Check
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.models.predictor import Inputs
from wardline.robust.text.edits import pieces

Ranking: TypeAlias = Literal["deletion", "temporal"]
"""How words are ranked: by what the margin loses without the word, or by what the text before the word and the text
from it on say with it and without it (Gao et al. 2018, the combined score)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A changed text during the search.

    Attributes:
        cut: the text cut at the words of the original; a word's piece may hold anything by now.
        cost: what was spent on it, in the attack's unit.
        margin: the true class's score less the best other one's; below 0 the attack has succeeded.
        loss: what breaks ties between successes: less is better, for example a greater distance in meaning.
    """

    cut: tuple[str, ...]
    cost: int = 0
    margin: float = np.inf
    loss: float = 0.0

    @property
    def text(self) -> str:
        """The text itself."""
        return "".join(self.cut)


class Moves(Protocol):
    """What an attack tries at a word."""

    def room(self, original: tuple[str, ...]) -> int:
        """How much may be spent on this text."""

    def at(
        self, original: tuple[str, ...], state: State, place: int, *, generator: np.random.Generator
    ) -> Sequence[State]:
        """The states to try next at a word of the text; their margins are not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which words are visited, in which order, and how many states are kept.

    Attributes:
        ranking: how words are ranked.
        beam: states kept for each text, at least 1; 1 is greedy.
        passes: how often each word is visited, at least 1.
        queries_each: queries for each text at most, ranking included; None for no end.
        patience: visits in a row without any change of the margin, after which a text is given up; None for no end. A
            defence that undoes all that is tried would otherwise be asked about every word.

    Raises:
        ValueError: for a number out of range.
    """

    ranking: Ranking = "deletion"
    beam: int = 1
    passes: int = 1
    queries_each: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.ranking not in ("deletion", "temporal"):
            raise ValueError("ranking must be deletion or temporal")
        ends = [end for end in (self.queries_each, self.patience) if end is not None]
        if min(self.beam, self.passes, *ends) < 1:
            raise ValueError("beam, passes, queries_each and patience must be at least 1")

    def run(self, target: Target, batch: Batch, moves: Moves) -> tuple[Check, ...]:
        """Search, and write the best text found for each row into `batch.best`.

        Raises:
            BudgetSpent: passes through; `batch.best` holds what was found by then.
        """
        generator = batch.seeds.numpy("search")
        texts = [_Text(row=row, cut=pieces(text)) for row, text in enumerate(batch.x)]
        for text, margin in zip(texts, _margins(target, batch.x, batch.y), strict=True):
            text.kept = [State(cut=text.cut, margin=float(margin))]
            text.clean = float(margin)
            text.asked = 1
            text.open = margin >= 0 and moves.room(text.cut) > 0
        self._rank(target, batch, [text for text in texts if text.open])
        visits = self.passes * max((len(text.order) for text in texts), default=0)
        for visit in range(visits):
            self._visit(target, batch, texts, visit, moves=moves, generator=generator)
        return _checks(texts, moves)

    def _rank(self, target: Target, batch: Batch, texts: list[_Text]) -> None:
        for text in texts:
            text.order = list(range(1, len(text.cut), 2))
        # A single word needs no ranking.
        ranked = [text for text in texts if len(text.order) > 1]
        asked: list[str] = []
        for text in ranked:
            asked += _without_words(text.cut, text.order, self.ranking)
        each = {"deletion": 1, "temporal": 4}[self.ranking]
        owners = [text.row for text in ranked for _ in range(each * len(text.order))]
        if not owners:
            return
        margins, at = _margins(target, _texts(asked), batch.y[owners]), 0
        for text in ranked:
            own = margins[at : at + each * len(text.order)].reshape(len(text.order), each)
            at += own.size
            text.asked += own.size
            if self.ranking == "deletion":
                loss = text.clean - own[:, 0]
            else:  # head with the word less head without it, and the same for the tail
                loss = own[:, 0] - own[:, 1] + own[:, 2] - own[:, 3]
            text.order = [text.order[place] for place in np.argsort(-loss, kind="stable")]

    def _visit(
        self,
        target: Target,
        batch: Batch,
        texts: list[_Text],
        visit: int,
        *,
        moves: Moves,
        generator: np.random.Generator,
    ) -> None:
        tried: list[tuple[_Text, list[State]]] = []
        for text in texts:
            if not text.open or visit >= self.passes * len(text.order):
                continue
            place = text.order[visit % len(text.order)]
            states = [new for kept in text.kept for new in moves.at(text.cut, kept, place, generator=generator)]
            states = list({new.text: new for new in states}.values())
            if self.queries_each is not None and text.asked + len(states) > self.queries_each:
                text.open, text.cut_short = False, True
                continue
            if states:
                tried.append((text, states))
        if not tried:
            return
        owners = [text.row for text, states in tried for _ in states]
        margins = _margins(target, _texts([new.text for _, states in tried for new in states]), batch.y[owners])
        at = 0
        for text, states in tried:
            known = [
                State(cut=new.cut, cost=new.cost, loss=new.loss, margin=float(margin))
                for new, margin in zip(states, margins[at : at + len(states)], strict=True)
            ]
            at += len(states)
            text.asked += len(states)
            text.keep(known, self.beam)
            if text.idle == self.patience:
                text.open = False
            batch.best[text.row] = text.kept[0].text


@dataclass(slots=True, kw_only=True, eq=False)
class _Text:
    """One text and how far its search has come."""

    row: int
    cut: tuple[str, ...]
    order: list[int] = field(default_factory=list)
    kept: list[State] = field(default_factory=list)
    clean: float = np.inf
    asked: int = 0
    idle: int = 0
    open: bool = False
    cut_short: bool = False

    def keep(self, new: list[State], beam: int) -> None:
        """The best of what there was and what is new; a success closes the text."""
        before = {state.margin for state in self.kept}
        self.idle = self.idle + 1 if {state.margin for state in new} <= before else 0
        done = [state for state in new if state.margin < 0]
        if done:
            self.kept = [min(done, key=lambda state: (state.loss, state.cost, state.margin))]
            self.open = False
            return
        self.kept = sorted(self.kept + new, key=lambda state: (state.margin, state.cost))[:beam]


def _margins(target: Target, texts: Inputs, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The true class's score less the best other one's; infinite where the model does not answer, or not in numbers.

    A refusal is no success: the attacker wants another answer, and gets none.
    """
    scores = target.scores(texts).astype(np.float64)
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, labels] = -np.inf
    with np.errstate(invalid="ignore"):  # inf - inf, of scores that are no numbers anyway
        margins = scores[rows, labels] - others.max(axis=1)
    # The first of equal classes wins: a tie with an earlier class is a success already.
    margins = np.where((margins == 0) & (scores.argmax(axis=1) != labels), -np.finfo(np.float64).tiny, margins)
    found: npt.NDArray[np.float64] = np.where(np.isfinite(scores).all(axis=1), margins, np.inf)
    return found


def _without_words(cut: tuple[str, ...], order: list[int], ranking: Ranking) -> list[str]:
    if ranking == "deletion":
        return ["".join(cut[:place] + cut[place + 1 :]) for place in order]
    asked = []
    for place in order:
        asked += ["".join(cut[: place + 1]), "".join(cut[:place]), "".join(cut[place:]), "".join(cut[place + 1 :])]
    return asked


def _texts(texts: list[str]) -> Inputs:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _checks(texts: list[_Text], moves: Moves) -> tuple[Check, ...]:
    short = sum(text.cut_short for text in texts)
    free = [text for text in texts if text.order and moves.room(text.cut) > 0]
    moved = sum(text.kept[0].margin < text.clean for text in free)
    return (
        Check(
            name="queries-each",
            outcome=Verdict.INCONCLUSIVE if short else Verdict.PASS,
            detail=f"the search of {short} of {len(texts)} texts ended at the cap on queries for one text",
        ),
        Check(
            name="margin-moves",
            outcome=Verdict.PASS if not free or 2 * moved >= len(free) else Verdict.INCONCLUSIVE,
            detail=f"the search lowered the margin of {moved} of {len(free)} texts that may be changed",
        ),
    )
