"""The attack of Carlini and Wagner for the Euclidean norm: one optimisation for each weight of being misread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from wardline.attacks.evasion.box import Box
from wardline.attacks.evasion.gradient import prepared
from wardline.attacks.evasion.losses import margin
from wardline.attacks.evasion.masking import gradient_checks
from wardline.attacks.evasion.nearest import Nearest, NearestAttack
from wardline.attacks.protocol.result import Check
from wardline.attacks.protocol.target import Access
from wardline.core.checks import at_least, positive
from wardline.robust.ball import Ball

_HALF = Ball(norm="l2", radius=0.5)
_FIRST_WEIGHT, _LARGEST_WEIGHT = 1e-3, 1e10
_INSIDE = 0.999  # tanh reaches the bounds at infinity alone
_DECAY, _DECAY_SQUARE, _TINY = 0.9, 0.999, 1e-8  # Adam's own constants
_NO_PROGRESS = 0.9999
_LOOKS = 10  # how often in a search is asked whether it still gets anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class CarliniWagner(NearestAttack):
    """The attack of Carlini and Wagner in L2: slow, and the customary yardstick for small distances.

    For a weight c it minimises the squared distance plus c times the lead of the true class, over a variable whose
    tanh is the input, so that bounds hold by themselves. A binary search for each row finds the smallest c that still
    misleads. Rows whose search no longer gets anywhere leave it early. `run` tells the distances.

    Attributes:
        ball: within what a find counts as a success, of norm ``l2``.
        steps: of Adam for each weight, at least 1.
        weights: how many weights are tried, at least 1.
        rate: of Adam at the start, above 0; it falls to 0 along a line, because with a constant one distances below
            its order of magnitude are not resolved.
        confidence: by how much another class is to lead, in logits, at least 0. More of it costs distance and buys
            nothing here; it makes examples that mislead other models too.

    Raises:
        ValueError: for another norm or a number out of range.

    Guarantee: none. A distance is one at which the model fails; it may fail nearer.

    References: Carlini and Wagner 2017, sections V and VI-A.
    """

    ball: Ball = _HALF
    steps: int = 1000
    weights: int = 9
    rate: float = 0.01
    confidence: float = 0.0
    id: ClassVar[str] = "evasion.cw_l2"
    needs: ClassVar[Access] = Access.WHITE_BOX
    paper: ClassVar[str] = "Carlini and Wagner 2017, section VI-A"

    def __post_init__(self) -> None:
        if self.ball.norm != "l2":
            raise ValueError("the attack of Carlini and Wagner is for the norm l2 here")
        at_least("steps", self.steps, 1)
        at_least("weights", self.weights, 1)
        positive("rate", self.rate)
        if not (np.isfinite(self.confidence) and self.confidence >= 0):
            raise ValueError("confidence must be a finite number of at least 0")

    def search(self, found: Nearest) -> tuple[Check, ...]:
        """Search for the weight of each row. Nothing is drawn at random."""
        net = prepared(found.target.network(), found.box.x)
        checks = gradient_checks(net, found.box.x, found.box.y, loss="margin")
        rows = len(found.box)
        weight = torch.full((rows,), _FIRST_WEIGHT)
        low, high = torch.zeros(rows), torch.full((rows,), _LARGEST_WEIGHT)
        for _ in range(self.weights):
            misled = self._minimise(net, found, weight)
            high = torch.where(misled, weight.minimum(high), high)
            low = torch.where(misled, low, weight.maximum(low))
            bracketed = high < _LARGEST_WEIGHT
            weight = torch.where(bracketed, (low + high) / 2, (weight * 10).clamp_max(_LARGEST_WEIGHT))
        return checks

    def _minimise(self, net: nn.Module, nearest: Nearest, weight: Tensor) -> Tensor:
        """One run of Adam for each row; whether it misled the model towards its end.

        At its start it does not count: Adam's first steps have the same length whatever the weight is, and would
        mislead near the boundary with no weight at all.
        """
        misled = torch.zeros(len(weight), dtype=torch.bool)
        rows = torch.arange(len(weight))
        box = nearest.box
        adam = _Adam(_to_tanh(box, box.x))
        before = torch.full((len(weight),), torch.inf)
        for step in range(self.steps):
            at = adam.value.detach().requires_grad_()
            x = _from_tanh(box, at)
            logits = net(x)
            lead = -margin(logits, box.y)
            cost = (x - box.x).flatten(1).square().sum(dim=1) + weight[rows] * (lead + self.confidence).clamp_min(0.0)
            slope = torch.autograd.grad(cost.sum(), at)[0]
            wrong = logits.isfinite().all(dim=1) & (lead.detach() < -self.confidence)
            misled[rows] |= wrong
            if wrong.any():
                nearest.offer(rows[wrong], x.detach()[wrong])
            adam.step(torch.nan_to_num(slope, nan=0.0), self.rate * (1 - step / self.steps))
            if (step + 1) % max(self.steps // _LOOKS, 1) == 0:
                going = cost.detach() <= _NO_PROGRESS * before[rows]
                before[rows] = cost.detach()
                rows, box = rows[going], box.take(going)
                adam.take(going)
                if not len(rows):
                    break
                if step + 1 < self.steps:
                    misled[rows] = False
        return misled


class _Adam:
    """Adam for rows that end at different times (Kingma and Ba 2015, algorithm 1)."""

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._mean, self._square = torch.zeros_like(value), torch.zeros_like(value)
        self._count = 0

    def step(self, slope: Tensor, rate: float) -> None:
        """Downhill."""
        self._count += 1
        self._mean.lerp_(slope, 1 - _DECAY)
        self._square.lerp_(slope.square(), 1 - _DECAY_SQUARE)
        mean = self._mean / (1 - _DECAY**self._count)
        size = (self._square / (1 - _DECAY_SQUARE**self._count)).sqrt_().add_(_TINY)
        self.value = self.value - rate * mean / size

    def take(self, kept: Tensor) -> None:
        """Drop all rows but these."""
        self.value, self._mean, self._square = self.value[kept], self._mean[kept], self._square[kept]


def _to_tanh(box: Box, x: Tensor) -> Tensor:
    """The variable whose tanh, scaled to the bounds, is x; anything where the bounds leave one value."""
    half = ((box.high - box.low) / 2).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.atanh(((x - (box.high + box.low) / 2) / half).clamp(-1.0, 1.0) * _INSIDE)


def _from_tanh(box: Box, value: Tensor) -> Tensor:
    return (box.high + box.low) / 2 + (box.high - box.low) / 2 * torch.tanh(value)
