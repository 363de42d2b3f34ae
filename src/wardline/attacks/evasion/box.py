"""The examples of a batch with the values that each of their features may take; rows can be taken out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from wardline.attacks.evasion.gradient import Room
from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.target import Target
from wardline.models.predictor import Inputs
from wardline.robust.ball import Ball


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Box:
    """Originals and the values that each of their features may take within a ball.

    A feature that cannot be changed has a box of the one value that it has. So whatever keeps to the box keeps to the
    mask, and no attack needs to know of masks.

    Attributes:
        ball: the changes that count.
        x: the originals, [rows, ...].
        y: their true classes, [rows].
        low, high: bounds of each feature, [rows, ...]; for ``linf`` those of the ball as well.
        best: the batch's own array: what is written there counts.
    """

    ball: Ball
    x: Tensor
    y: Tensor
    low: Tensor
    high: Tensor
    best: Inputs

    @classmethod
    def of(cls, target: Target, batch: Batch, ball: Ball) -> Box:
        """The box around a batch.

        Raises:
            ValueError: for texts, one-hot groups and features that take only some values.
        """
        room = Room.of(target, batch.x)
        low, high = room.ends(ball)
        # A specification forgives rounding: an original that is a hair outside its bounds is its own bound.
        low, high = low.minimum(room.x), high.maximum(room.x)
        return cls(ball=ball, x=room.x, y=torch.from_numpy(batch.y), low=low, high=high, best=batch.best)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor) -> Box:
        """Some of the rows. To write what was found, `keep` of the whole box has the places."""
        return Box(
            ball=self.ball, x=self.x[rows], y=self.y[rows], low=self.low[rows], high=self.high[rows], best=self.best
        )

    def clip(self, changed: Tensor) -> Tensor:
        """The nearest inputs within the bounds, in every norm."""
        return changed.clamp(self.low, self.high)

    def nearest(self, changed: Tensor) -> Tensor:
        """Inputs near the given ones that lie within bounds and ball.

        They are the nearest ones for ``linf`` and ``l1``. For ``l2`` the change is shortened and then clipped, which
        stays in both sets but is not the projection onto what they share; Auto-PGD is defined that way.
        """
        match self.ball.norm:
            case "linf":
                return self.clip(changed)
            case "l2":
                return self.clip(self.x + self.ball.project(changed - self.x))
            case "l1":
                change = self.ball.project_between(changed - self.x, self.low - self.x, self.high - self.x)
                return self.clip(self.x + change)
            case _:
                assert_never(self.ball.norm)

    def keep(self, rows: Tensor, changed: Tensor) -> None:
        """Write what was found for these rows where it counts."""
        self.best[rows.numpy()] = changed.detach().numpy()


def columns_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape in which one number a row fits `tensor`: (-1, 1, ...)."""
    return (-1, *(1,) * (tensor.dim() - 1))
