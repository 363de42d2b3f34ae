"""Auto-PGD: gradient ascent without a step size to choose, on a loss of the true class or towards other classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from wardline.attacks.evasion.box import Box
from wardline.attacks.evasion.climb import Climb, Hill, climb
from wardline.attacks.evasion.gradient import prepared
from wardline.attacks.evasion.half_precision import half_precision
from wardline.attacks.evasion.in_ball import EIGHT, InBall
from wardline.attacks.evasion.losses import Loss
from wardline.attacks.evasion.masking import gradient_checks, headway
from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.result import Check
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Verdict
from wardline.core.checks import at_least
from wardline.models.torch_model import torch_generator
from wardline.robust.ball import Ball

ApgdLoss: TypeAlias = Literal["ce", "odds", "dlr"]
"""Cross-entropy, its logarithm of odds that never saturates, or the difference of logits ratio."""

_WIDER = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # L1: multiples of the radius, and their shares of the steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Apgd(InBall):
    """Auto-PGD on a loss of the true class.

    The steps start as long as the ball is wide and are halved, row by row, where the loss stops rising; there is no
    step size to choose. In L1 it searches in balls of three and two times the radius first, and its steps change as
    few features as the best place so far suggests.

    Attributes:
        ball: the changes that are allowed.
        loss: what is climbed: ``ce`` (cross-entropy), ``odds`` (the same slopes without saturation) or ``dlr``.
        steps: of each restart, at least 1.
        restarts: how often the rows that withstood are tried from another random start, at least 1.
        draws: how often a randomised model is asked at each point, at least 1.
        exact: whether gradients are computed in full precision; see `Pgd`.

    Raises:
        ValueError: for a number out of range.

    Guarantee: none. That it finds nothing does not prove that there is nothing to be found.

    References: Croce and Hein 2020 (AutoAttack), section 3 and algorithm 1; Croce and Hein 2021 (Mind the box),
    algorithm 1 and section 3.2 (l1).
    """

    ball: Ball = EIGHT
    loss: ApgdLoss = "ce"
    steps: int = 100
    restarts: int = 1
    draws: int = 1
    exact: bool = False
    needs: ClassVar[Access] = Access.WHITE_BOX

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "draws"):
            at_least(name, getattr(self, name), 1)
        if self.loss not in {"ce", "odds", "dlr"}:
            raise ValueError("loss must be ce, odds or dlr")

    @property
    def id(self) -> str:
        """``evasion.apgd_ce``, or as the loss is called."""
        return f"evasion.apgd_{self.loss}"

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return _paper(self.ball)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Search for every row of the batch.

        Raises:
            ValueError: if features are tied to groups or steps, which a gradient does not respect.
            BudgetSpent: if the budget ends; what was found by then stands in `batch.best`.
        """
        box = Box.of(target, batch, self.ball)
        if self.ball.radius == 0:
            return ()
        net = prepared(target.network(), box.x)
        checks = gradient_checks(net, box.x, box.y, loss=self.loss, draws=self.draws)
        rounded = _rounded(self, net, box, self.loss)
        hill = Hill(net=net, loss=self.loss, y=box.y, draws=self.draws, rounded=rounded)
        rows, stuck = torch.arange(len(box)), 0
        for restart in range(self.restarts):
            left = _attempt(hill, box, rows, self.steps, torch_generator(batch.seeds, f"start.{restart}"))
            rows, stuck = left.rows, left.stuck
            if not len(rows):
                break
        return (*checks, headway(stuck, len(rows)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApgdTargeted(InBall):
    """Auto-PGD towards other classes, one after the other, the likeliest first.

    Its loss is the targeted difference of logits ratio, which neither the scale of the logits nor their shift changes.
    With less than four classes that ratio is not defined, and the plain difference of two logits takes its place; a
    check says so.

    Attributes:
        ball: the changes that are allowed.
        steps: towards each class, at least 1.
        targets: how many classes are tried, at least 1; there are never more than the other classes.
        draws: how often a randomised model is asked at each point, at least 1.
        exact: whether gradients are computed in full precision; see `Pgd`.

    Raises:
        ValueError: for a number out of range.

    Guarantee: none. That it finds nothing does not prove that there is nothing to be found.

    References: Croce and Hein 2020 (AutoAttack), section 4.1 and equation 7.
    """

    ball: Ball = EIGHT
    steps: int = 100
    targets: int = 9
    draws: int = 1
    exact: bool = False
    id: ClassVar[str] = "evasion.apgd_t"
    needs: ClassVar[Access] = Access.WHITE_BOX

    def __post_init__(self) -> None:
        for name in ("steps", "targets", "draws"):
            at_least(name, getattr(self, name), 1)

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return _paper(self.ball)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Search for every row of the batch, towards each class; see `Apgd.craft`."""
        box = Box.of(target, batch, self.ball)
        if self.ball.radius == 0:
            return ()
        net = prepared(target.network(), box.x)
        checks = gradient_checks(net, box.x, box.y, loss="dlr_targeted", draws=self.draws)
        classes = likeliest_others(net(box.x).detach(), box.y)[:, : self.targets]
        rounded = _rounded(self, net, box, "dlr_targeted")
        rows, stuck = torch.arange(len(box)), 0
        for place, wanted in enumerate(classes.unbind(dim=1)):
            hill = Hill(net=net, loss="dlr_targeted", y=box.y, wanted=wanted, draws=self.draws, rounded=rounded)
            left = _attempt(hill, box, rows, self.steps, torch_generator(batch.seeds, f"start.{place}"))
            rows, stuck = left.rows, left.stuck
            if not len(rows):
                break
        return (*checks, headway(stuck, len(rows)), *few_classes(target.classes))


def _rounded(plan: Apgd | ApgdTargeted, net: nn.Module, box: Box, loss: Loss) -> nn.Module | None:
    if plan.exact or plan.draws > 1:
        return None
    return half_precision(net, box.x, box.y, loss=loss, norm=box.ball.norm)


def likeliest_others(logits: Tensor, y: Tensor) -> Tensor:
    """The classes other than the true one, the likeliest first: [rows, classes - 1]."""
    order = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, :-1]


def few_classes(classes: int) -> tuple[Check, ...]:
    """A statement that the targeted ratio was replaced, where there are too few classes for it."""
    if classes > 3:
        return ()
    detail = f"with {classes} classes the targeted ratio is not defined; the plain difference of two logits was climbed"
    return (Check(name="loss", outcome=Verdict.PASS, detail=detail),)


def _attempt(hill: Hill, box: Box, rows: Tensor, steps: int, generator: torch.Generator) -> Climb:
    """One climb of these rows from a random start; the highest place of those that withstand is kept as well."""
    ball = box.ball
    if ball.norm == "l1":
        left = _from_wider_balls(hill, box, rows, steps, generator)
    else:
        x = box.x[rows]
        start = box.take(rows).nearest(x + ball.draw(x, generator=generator))
        left = climb(hill, box, (rows, start), steps=steps)
    box.keep(left.rows, left.best)
    return left


def _from_wider_balls(hill: Hill, box: Box, rows: Tensor, steps: int, generator: torch.Generator) -> Climb:
    counts = [math.ceil(share * steps) for _, share in _WIDER[:-1]]
    counts.append(max(steps - sum(counts), 1))
    x = box.x[rows]
    x = x + torch.empty_like(x).normal_(generator=generator)
    for (factor, _), count in zip(_WIDER, counts, strict=True):
        wide = replace(box, ball=Ball(norm="l1", radius=factor * box.ball.radius))
        start = wide.take(rows).nearest(x)
        left = climb(hill, wide, (rows, start), steps=count, leave=factor == 1.0)
        x = left.best
    return left


def _paper(ball: Ball) -> str:
    paper = "Croce and Hein 2020 (AutoAttack), algorithm 1"
    return f"{paper}; Croce and Hein 2021 (Mind the box), algorithm 1" if ball.norm == "l1" else paper
