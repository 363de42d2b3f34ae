"""The search of Auto-PGD: gradient ascent whose step lengths follow from how the loss behaves.

Rows that are misread leave at once, so that the work goes where it is still needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from wardline.attacks.evasion.ascent import ascend
from wardline.attacks.evasion.box import Box, columns_of
from wardline.attacks.evasion.expectation import Slope, slope
from wardline.attacks.evasion.half_precision import confirmed_slope
from wardline.attacks.evasion.losses import Loss

_MOMENTUM = 0.25  # weight of the last move (Croce and Hein 2020, section 3.1: alpha is 0.75)
_RISES = 0.75  # share of steps uphill below which steps are too long (rho)
_SHRINK_L1 = 1.5
_SHORTEST_L1 = 0.1
_FEWER_FEATURES = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hill:
    """What is climbed: a loss of a model's answers.

    Attributes:
        net: from inputs to logits; charges for what it is asked.
        loss: which loss.
        y: true classes of all rows of a box.
        wanted: the classes that a targeted loss aims at, for all rows.
        draws: how often a randomised model is asked at each point.
        rounded: a faster network to climb by, see `half_precision`; None unless `draws` is 1.
    """

    net: nn.Module
    loss: Loss
    y: Tensor
    wanted: Tensor | None = None
    draws: int = 1
    rounded: nn.Module | None = None

    def at(self, x: Tensor, rows: Tensor) -> Slope:
        """Loss and gradient at `x`, where these rows of the box stand."""
        wanted = None if self.wanted is None else self.wanted[rows]
        if self.rounded is not None:
            return confirmed_slope(self.net, self.rounded, x, self.y[rows], loss=self.loss, wanted=wanted)
        return slope(self.net, x, self.y[rows], loss=self.loss, draws=self.draws, wanted=wanted)


@dataclass(slots=True, kw_only=True)
class Climb:
    """Where each row stands. Every field has one entry a row.

    Attributes:
        rows: their places in the box.
        x, loss, gradient: here and now.
        last: where they stood before.
        best, best_loss, best_gradient: the highest place so far.
        first_loss: at the start.
        length: of a step, in the ball's norm.
        rises: steps uphill since the last checkpoint.
        noted: the best loss at the last checkpoint (L1: how many features the best place had changed).
        shortened: whether steps became shorter at the last checkpoint.
        share: L1: the share of the features that a step changes.
    """

    rows: Tensor
    x: Tensor
    loss: Tensor
    gradient: Tensor
    last: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    first_loss: Tensor
    length: Tensor
    rises: Tensor
    noted: Tensor
    shortened: Tensor
    share: Tensor

    @classmethod
    def begin(cls, rows: Tensor, x: Tensor, here: Slope, *, length: float) -> Climb:
        """At the start, with all steps of one length."""
        gradient = _gradient(here)
        return cls(
            rows=rows,
            x=x,
            loss=here.loss,
            gradient=gradient,
            last=x,
            best=x,
            best_loss=here.loss,
            best_gradient=gradient,
            first_loss=here.loss,
            length=torch.full((len(x),), length),
            rises=torch.zeros(len(x)),
            noted=here.loss,
            shortened=torch.ones(len(x), dtype=torch.bool),
            share=torch.zeros(len(x)),
        )

    @property
    def stuck(self) -> int:
        """Rows that never got higher than they started."""
        return int((self.best_loss <= self.first_loss).sum())

    def take(self, kept: Tensor) -> None:
        """Drop all rows but these."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name)[kept])

    def arrive(self, x: Tensor, here: Slope) -> None:
        """Stand at a new place."""
        gradient = _gradient(here)
        self.rises = self.rises + (here.loss > self.loss)
        self.last, self.x, self.loss, self.gradient = self.x, x, here.loss, gradient
        higher = here.loss > self.best_loss
        self.best_loss = torch.where(higher, here.loss, self.best_loss)
        wide = higher.reshape(columns_of(x))
        self.best = torch.where(wide, x, self.best)
        self.best_gradient = torch.where(wide, gradient, self.best_gradient)

    def back_to_best(self, chosen: Tensor) -> None:
        """Let these rows go on from the highest place so far."""
        wide = chosen.reshape(columns_of(self.x))
        self.x = torch.where(wide, self.best, self.x)
        self.gradient = torch.where(wide, self.best_gradient, self.gradient)


def climb(hill: Hill, box: Box, start: tuple[Tensor, Tensor], *, steps: int, leave: bool = True) -> Climb:
    """Climb from a start; rows that every draw misread are written into the box and leave.

    Args:
        hill: what is climbed.
        box: the whole batch.
        start: rows of the box, and a place within box and ball for each of them.
        steps: how many, at least 1.
        leave: whether misread rows are done. Not so while the ball is larger than the one that counts.

    Returns:
        Where the rows stand that are left.
    """
    rows, x = start
    here = hill.at(x, rows)
    if box.ball.norm == "l1":
        state = Climb.begin(rows, x, here, length=box.ball.radius)
        walk: _Walk = _Sparse(state, box, steps)
    else:
        state = Climb.begin(rows, x, here, length=2 * box.ball.radius)
        walk = _Momentum(state, box, steps)
    checkpoints = dict(walk.checkpoints())
    if leave:
        _leave(box, state, here)
    for step in range(1, steps + 1):
        if not len(state.rows):
            break
        x = walk.move()
        here = hill.at(x, state.rows)
        state.arrive(x, here)
        if leave:
            _leave(box, state, here)
        if step in checkpoints:
            walk.check(checkpoints[step])
    return state


def _leave(box: Box, state: Climb, here: Slope) -> None:
    done = here.misled == 1.0
    if done.any():
        box.keep(state.rows[done], state.x[done])
        state.take(~done)


def _gradient(here: Slope) -> Tensor:
    if here.gradient is None:
        raise TypeError("a climb asks for gradients")
    return here.gradient


class _Walk(Protocol):
    """How a norm's steps are made and adapted."""

    def checkpoints(self) -> Iterator[tuple[int, int]]:
        """Steps after which the lengths are looked at, with how many steps passed since the last time."""

    def move(self) -> Tensor:
        """The next place of each row."""

    def check(self, since: int) -> None:
        """Adapt the steps, so many steps after the last time."""


class _Rest:
    """The box of the rows that are left."""

    def __init__(self, state: Climb, box: Box) -> None:
        self._state, self._whole = state, box
        self._rows, self._box = state.rows, box.take(state.rows)

    @property
    def box(self) -> Box:
        """Taken anew only after rows have left: that copies all bounds."""
        if self._rows is not self._state.rows:
            self._rows, self._box = self._state.rows, self._whole.take(self._state.rows)
        return self._box


class _Momentum(_Rest):
    """Moves of Auto-PGD for linf and l2 (Croce and Hein 2020, algorithm 1)."""

    def __init__(self, state: Climb, box: Box, steps: int) -> None:
        super().__init__(state, box)
        self._steps = steps
        self._moved = False

    def checkpoints(self) -> Iterator[tuple[int, int]]:
        """At 22 % of all steps, then after periods that shorten by 3 % down to 6 % (equation 2)."""
        before, place, period = 0, 22, 22
        while place < 100:
            step = -(-place * self._steps // 100)
            if step > before:
                yield step, step - before
            before, period = step, max(period - 3, 6)
            place += period

    def move(self) -> Tensor:
        """A step uphill, mixed with the last move; before the first move there is none to mix in."""
        state, box = self._state, self.box
        uphill = ascend(state.gradient, box.ball.norm, 1.0)
        there = box.nearest(state.x + state.length.reshape(columns_of(state.x)) * uphill)
        if not self._moved:
            self._moved = True
            return there
        return box.nearest(state.x + (1 - _MOMENTUM) * (there - state.x) + _MOMENTUM * (state.x - state.last))

    def check(self, since: int) -> None:
        """Halve the steps of rows that seldom rose, or that found nothing better with steps as long as before."""
        state = self._state
        seldom = state.rises < _RISES * since
        stuck = ~state.shortened & (state.best_loss <= state.noted)
        state.shortened = seldom | stuck
        state.noted = state.best_loss
        state.rises = torch.zeros_like(state.rises)
        state.length = torch.where(state.shortened, state.length / 2, state.length)
        state.back_to_best(state.shortened)


class _Sparse(_Rest):
    """Moves of Auto-PGD for l1: steps that change few features (Croce and Hein 2021, algorithm 1)."""

    def __init__(self, state: Climb, box: Box, steps: int) -> None:
        super().__init__(state, box)
        self._steps = steps
        self._features = state.x[0].numel()
        state.noted = self._changed(state.x)
        state.share = state.noted / self._features / _SHRINK_L1

    def checkpoints(self) -> Iterator[tuple[int, int]]:
        """Every twenty-fifth part of the steps."""
        period = max(self._steps // 25, 1)
        yield from ((step, period) for step in range(period, self._steps + 1, period))

    def move(self) -> Tensor:
        """A step along the features of the largest slopes, then back into ball and bounds."""
        state, box = self._state, self.box
        # A feature at its bound cannot move outwards: a step would be wasted on it.
        free = torch.where(state.gradient > 0, state.x < box.high, state.x > box.low)
        slopes = torch.where(free, state.gradient, 0.0).flatten(1)
        count = (state.share * self._features).long().clamp(1, self._features)
        line = slopes.abs().sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
        signs = torch.where(slopes.abs() >= line, slopes.sign(), 0.0)
        step = signs * (state.length[:, None] / signs.abs().sum(dim=1, keepdim=True).clamp_min(1.0))
        return box.nearest(state.x + step.reshape(state.x.shape))

    def check(self, since: int) -> None:
        """Follow the best places: long steps again where they changed fewer features, shorter ones elsewhere."""
        del since
        state, longest = self._state, self.box.ball.radius
        changed = self._changed(state.best)
        sparser = changed < _FEWER_FEATURES * state.noted
        shorter = (state.length / _SHRINK_L1).clamp_min(_SHORTEST_L1 * longest)
        state.share = changed / self._features / _SHRINK_L1
        state.length = torch.where(sparser, longest, shorter)
        state.noted = changed
        state.back_to_best(sparser)

    def _changed(self, x: Tensor) -> Tensor:
        return (x != self.box.x).flatten(1).sum(dim=1).float()
