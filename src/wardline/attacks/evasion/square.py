"""Square: random search that needs scores alone, changing one small window of an input at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wardline.attacks.evasion.box import Box
from wardline.attacks.evasion.in_ball import EIGHT, InBall
from wardline.attacks.evasion.losses import margin
from wardline.attacks.evasion.windows import Proposals, proposals
from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.result import Check
from wardline.attacks.protocol.target import Access, Target
from wardline.core.checks import at_least, probability
from wardline.models.torch_model import torch_generator
from wardline.robust.ball import Ball

# Queries out of 10,000 after which the windows shrink to half of their area (Andriushchenko et al. 2020, section 3.2).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Square(InBall):
    """The square attack: it sees scores and no gradients, so no defence misleads it by hiding them.

    Each query tries one random window of each row and keeps it if the true class leads by less. Inputs of one axis are
    taken for a line whose windows are segments, inputs of two for an image of one channel.

    Attributes:
        ball: the changes that are allowed. For ``l1`` the moves of ``l2`` are made with sums in place of squares.
        queries: the most questions for one row, at least 1. Windows shrink as if twice as many were to come, which
            with 5,000 is the schedule that AutoAttack uses.
        first_share: of the features that the first windows cover, in (0, 1).

    Raises:
        ValueError: for a number out of range.

    Guarantee: none. That it finds nothing does not prove that there is nothing to be found.

    References: Andriushchenko et al. 2020, sections 3.2 to 3.4; l1 as in Croce and Hein 2021 (Mind the box), section 4.
    """

    ball: Ball = EIGHT
    queries: int = 5000
    first_share: float = 0.8
    id: ClassVar[str] = "evasion.square"
    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Andriushchenko et al. 2020, section 3"

    def __post_init__(self) -> None:
        at_least("queries", self.queries, 1)
        probability("first_share", self.first_share)

    def limits(self, target: Target) -> str:
        """What may be changed, and how often may be asked."""
        return f"{InBall.limits(self, target)}, {self.queries} queries an example"

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Search for every row of the batch.

        Raises:
            ValueError: if features are tied to groups or steps.
            BudgetSpent: if the budget ends; what was reached by then stands in `batch.best`.
        """
        box = Box.of(target, batch, self.ball)
        if self.ball.radius == 0:
            return ()
        moves = proposals(box, torch_generator(batch.seeds, "square"))
        search = _Search(target, box, moves)
        for query in range(1, self.queries):
            if not len(search.rows):
                break
            search.ask(self._share(query))
        search.give_back()
        return ()

    def _share(self, query: int) -> float:
        """Of the features that the window of this query covers."""
        place = query * 10_000 // (2 * self.queries)
        return self.first_share / float(2 ** sum(place > line for line in _HALVINGS))


class _Search:
    """The best change of each row so far; rows that are misread leave."""

    def __init__(self, target: Target, box: Box, moves: Proposals) -> None:
        self._target, self._whole, self._moves = target, box, moves
        self.rows, self._box = torch.arange(len(box)), box
        self._best = moves.first()
        self._lead = torch.full((len(box),), torch.inf)
        self._judge(self._best)

    def ask(self, share: float) -> None:
        """Try one window of each row."""
        self._judge(self._moves.next(self._box, self._best, share))

    def give_back(self) -> None:
        """Leave the best of the rows that withstood as well."""
        self._whole.keep(self.rows, self._best)

    def _judge(self, x: Tensor) -> None:
        scores = torch.from_numpy(self._target.scores(x.numpy()))
        finite = scores.isfinite().all(dim=1)
        lead = torch.where(finite, -margin(scores, self._box.y), torch.inf)
        misread = finite & (scores.argmax(dim=1) != self._box.y)
        if misread.any():
            self._whole.keep(self.rows[misread], x[misread])
        better = lead < self._lead
        self._best[better] = x[better]
        self._lead = lead.minimum(self._lead)
        if misread.any():
            left = ~misread
            self.rows, self._box = self.rows[left], self._box.take(left)
            self._best, self._lead = self._best[left], self._lead[left]
