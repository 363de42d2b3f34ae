"""Attacks that follow the gradient: one step (FGSM), or many from a random start (PGD)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from wardline.attacks.evasion.ascent import ascend
from wardline.attacks.evasion.expectation import Slope, slope
from wardline.attacks.evasion.half_precision import confirmed_slope, convolves, half_precision
from wardline.attacks.evasion.in_ball import EIGHT, InBall
from wardline.attacks.evasion.losses import LOSSES, Loss
from wardline.attacks.evasion.masking import gradient_checks, headway
from wardline.attacks.protocol.examples import Batch
from wardline.attacks.protocol.result import Check
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Verdict
from wardline.models.predictor import Inputs
from wardline.models.torch_model import torch_generator
from wardline.robust.ball import Ball

_ROWS_TIMES_BYTES = 256
"""Rows of a convolutional network that are searched for at a time, times the bytes of a number in its layers.

What the layers keep for the backward pass then stays near the processor: with a small network and others at work on the
machine, a row was measured to take 0.65 of its time in batches of 128; with less beside it 0.91 to 0.96. In bfloat16 it
took 0.93 of its time in batches of 128 rather than 64.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgd(InBall):
    """Projected gradient descent: steps uphill from a random point of the ball, back into ball and bounds after each.

    Rows that are misread leave the batch at once, so a weak model costs little. For a model that answers at random set
    `draws`; a row leaves then when every draw misread it, and of all points on its way the one that misled most draws
    is kept.

    Attributes:
        ball: what may be changed, in the unit of the inputs.
        steps: how many, at least 1.
        loss: what is climbed. ``ce`` is the customary one and is blind where a model's logits are large; ``dlr`` and
            ``odds`` are not. ``dlr_targeted`` tries one other class a restart, the likeliest first.
        restarts: how many searches a row gets until one succeeds, at least 1.
        step_size: length of a step in the ball's norm; None takes 2.5 radius / steps, so that a search can cross the
            ball and turn round.
        random_start: whether a search starts at a random point, or at the example itself.
        early_stop: whether rows that are misread leave; False only spends more time.
        draws: how often a randomised model is asked at each point, at least 1.
        exact: whether gradients are computed in full precision. Otherwise those of a convolutional network are in
            bfloat16 where the processor has it, they point the same way on clean examples (see `half_precision`), and
            the model is asked once at each point; what is misread is always decided in full precision.

    Raises:
        ValueError: for a setting out of range.

    Guarantee: none. That it finds nothing proves nothing; its checks say when it could not have found anything.

    References: Madry et al. 2018, section 2.1; Tramer and Boneh 2019, section 4.1 (l1); Athalye et al. 2018.
    """

    ball: Ball = EIGHT
    steps: int = 40
    loss: Loss = "ce"
    restarts: int = 1
    step_size: float | None = None
    random_start: bool = True
    early_stop: bool = True
    draws: int = 1
    exact: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts, self.draws) < 1:
            raise ValueError("steps, restarts and draws must be at least 1")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}")
        if self.step_size is not None and not 0 < self.step_size < float("inf"):
            raise ValueError("step_size must be a finite number above 0")

    @property
    def id(self) -> str:
        """``evasion.pgd``, and the loss behind it unless that is cross-entropy."""
        return "evasion.pgd" if self.loss == "ce" else f"evasion.pgd_{self.loss}"

    @property
    def needs(self) -> Access:
        """Gradients."""
        return Access.WHITE_BOX

    @property
    def paper(self) -> str:
        """Where it comes from."""
        match self.loss:
            case "ce" | "odds":
                loss = ""
            case "margin":
                loss = "; loss: Carlini and Wagner 2017, section V-A"
            case "dlr" | "dlr_targeted":
                loss = "; loss: Croce and Hein 2020, section 4"
            case _:
                assert_never(self.loss)
        return f"Madry et al. 2018, section 2.1{loss}"

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Search for every row of the batch.

        Raises:
            ValueError: if features are tied to groups or steps, which a gradient does not respect.
            BudgetSpent: if the budget ends; what was reached by then stands in `batch.best`.
        """
        room = Room.of(target, batch.x)
        if self.ball.radius == 0:
            return ()
        net = prepared(target.network(), room.x)
        checks = gradient_checks(net, room.x, torch.from_numpy(batch.y), loss=self.loss, draws=self.draws)
        search = _Search(self, net=net, room=room, batch=batch)
        for index in range(self.restarts):
            search.restart(index)
        return (*checks, *search.checks())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fgsm(InBall):
    """The fast gradient sign method: a single step of full length from the example itself.

    It is quick and weak: use it to see whether a model has any defence, never to show that it has one.

    Attributes:
        ball: what may be changed; for ``l2`` and ``l1`` the step is the steepest one of that norm.

    References: Goodfellow et al. 2015, section 4.
    """

    ball: Ball = EIGHT

    @property
    def id(self) -> str:
        """Stands for it."""
        return "evasion.fgsm"

    @property
    def needs(self) -> Access:
        """Gradients."""
        return Access.WHITE_BOX

    @property
    def paper(self) -> str:
        """Where it comes from."""
        return "Goodfellow et al. 2015, section 4"

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        """Take the step; see `Pgd.craft`."""
        step = Pgd(ball=self.ball, steps=1, step_size=self.ball.radius or 1.0, random_start=False)
        single = Check(
            name="single-step",
            outcome=Verdict.INCONCLUSIVE,
            detail="one step finds so little that surviving it is no evidence; run an attack of many steps",
        )
        return (*step.craft(target, batch), single)


def pgd_dlr(*, ball: Ball = EIGHT) -> Pgd:
    """PGD on the difference of logits ratio, which the scale of the logits does not blind."""
    return Pgd(ball=ball, loss="dlr")


def pgd_targeted(*, ball: Ball = EIGHT) -> Pgd:
    """PGD towards each of the likeliest other classes in turn, one a restart."""
    return Pgd(ball=ball, loss="dlr_targeted", restarts=5)


def prepared(net: nn.Module, x: Tensor) -> nn.Module:
    """The network in the memory layout in which its convolutions are fastest.

    With channels last a forward and a backward pass of 3x3 convolutions were measured at 0.75 of the time. It is a
    network of our own (see `Differentiable.network`), and values change by rounding alone.
    """
    if x.dim() == 4 and convolves(net):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Room:
    """Where the rows of a batch may move, apart from the ball.

    Attributes:
        x: the examples, [rows, ...].
        low, high: bounds, of the shape of one input.
        mutable: which features may change, of that shape; None if all may.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    mutable: Tensor | None

    @classmethod
    def of(cls, target: Target, x: Inputs) -> Room:
        """The room that a target's specification leaves.

        Raises:
            ValueError: if it has one-hot groups or steps, or describes no numbers.
        """
        spec = target.spec
        if not isinstance(spec, InputSpec) or spec.groups or np.asarray(spec.steps).any():
            raise ValueError("a gradient attack needs inputs of free numbers; for rows of a table use a tabular attack")
        mutable = None if spec.mutable is None else torch.from_numpy(spec.mutable)
        low, high = (torch.from_numpy(np.array(end, dtype=np.float32)) for end in (spec.low, spec.high))
        return cls(x=torch.from_numpy(np.array(x, dtype=np.float32)), low=low, high=high, mutable=mutable)

    def ends(self, ball: Ball) -> tuple[Tensor, Tensor]:
        """The least and greatest value of each feature of each row: [rows, ...] each."""
        # A specification forgives rounding: an example a hair outside its bounds is its own bound.
        low, high = torch.minimum(self.low, self.x), torch.maximum(self.high, self.x)
        if ball.norm == "linf":
            low, high = torch.maximum(low, self.x - ball.radius), torch.minimum(high, self.x + ball.radius)
        if self.mutable is not None:
            low, high = torch.where(self.mutable, low, self.x), torch.where(self.mutable, high, self.x)
        return low, high


class _Search:
    """All restarts over one batch; rows leave as they are misread."""

    def __init__(self, plan: Pgd, *, net: nn.Module, room: Room, batch: Batch) -> None:
        self.plan, self.net, self.room, self.batch = plan, net, room, batch
        self.y = torch.from_numpy(batch.y)
        self.rounded: nn.Module | None = None
        if plan.draws == 1 and not plan.exact:
            self.rounded = half_precision(net, room.x, self.y, loss=plan.loss, norm=plan.ball.norm)
        self.lower, self.upper = room.ends(plan.ball)
        self.size = 2.5 * plan.ball.radius / plan.steps if plan.step_size is None else plan.step_size
        self.left = torch.arange(len(self.y))
        self.misled = torch.zeros(len(self.y))
        bytes_each = 4 if self.rounded is None else 2
        self.at_once = _ROWS_TIMES_BYTES // bytes_each if convolves(net) else len(self.y)
        self.stuck = 0
        self._ranking: Tensor | None = None

    def restart(self, index: int) -> None:
        """One search for every row that is left."""
        if not len(self.left):
            return
        self.stuck = 0
        wanted = self._wanted(index)
        generator = torch_generator(self.batch.seeds, f"restart.{index}")
        parts = (self.left[start : start + self.at_once] for start in range(0, len(self.left), self.at_once))
        self.left = torch.cat([self._search(rows, wanted, generator) for rows in parts])

    def _search(self, rows: Tensor, wanted: Tensor | None, generator: torch.Generator) -> Tensor:
        """One search for these rows; those that withstood it."""
        plan = self.plan
        x = self._start(rows, generator)
        x0, y, lower, upper = self._frame(rows)
        began: Tensor | None = None
        try:
            for step in range(plan.steps + 1):
                last = step == plan.steps
                found = self._slope(x, y, None if wanted is None else wanted[rows], step)
                began = found.loss if began is None else began
                gradient, ended = found.gradient, found.loss
                if found.misled.any():
                    self._note(rows, x, found.misled)
                    keep = found.misled < 1.0
                    if (plan.early_stop or last) and not keep.all():
                        rows, x, began, ended = rows[keep], x[keep], began[keep], ended[keep]
                        gradient = None if gradient is None else gradient[keep]
                        x0, y, lower, upper = self._frame(rows)
                if last:
                    self.stuck += int((ended <= began).sum())
                if gradient is None or not len(rows):
                    break
                x = self._move(x, x0, gradient, lower, upper)
        finally:
            # Also when the budget ends: the last point counts where none misled the model before.
            open_rows = self.misled[rows] == 0
            self.batch.best[rows[open_rows].numpy()] = x[open_rows].numpy()
        return rows

    def _slope(self, x: Tensor, y: Tensor, wanted: Tensor | None, step: int) -> Slope:
        """Loss, gradient and outcome; exact at the first and at the last point, whose losses are compared."""
        plan, last = self.plan, step == self.plan.steps
        if self.rounded is None or not step or last:
            return slope(self.net, x, y, loss=plan.loss, draws=plan.draws, wanted=wanted, differentiate=not last)
        return confirmed_slope(self.net, self.rounded, x, y, loss=plan.loss, wanted=wanted)

    def checks(self) -> tuple[Check, ...]:
        """Whether the last search got anywhere."""
        return (headway(self.stuck, len(self.left)),)

    def _frame(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.room.x[rows], self.y[rows], self.lower[rows], self.upper[rows]

    def _start(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        x0, _, lower, upper = self._frame(rows)
        if not self.plan.random_start:
            return x0
        return torch.clamp(x0 + self.plan.ball.draw(x0, generator=generator), lower, upper)

    def _move(self, x: Tensor, x0: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        ball = self.plan.ball
        if ball.norm == "linf":  # the ends already are those of the ball
            return torch.clamp(x.add_(gradient.sign_(), alpha=self.size), lower, upper, out=x)
        # Features that stand at their end and would be pushed beyond it must not use up the step.
        blocked = ((x >= upper) & (gradient > 0)) | ((x <= lower) & (gradient < 0))
        moved = x + ascend(gradient.masked_fill(blocked, 0.0), ball.norm, self.size)
        if ball.norm == "l2":  # within both, as usual; their nearest common point costs as much as a pass
            return torch.clamp(x0 + ball.project(moved - x0), lower, upper)
        return x0 + ball.project_between(moved - x0, lower - x0, upper - x0)

    def _note(self, rows: Tensor, x: Tensor, misled: Tensor) -> None:
        better = misled > self.misled[rows]
        self.misled[rows[better]] = misled[better]
        self.batch.best[rows[better].numpy()] = x[better].numpy()

    def _wanted(self, index: int) -> Tensor | None:
        """The class that each row shall be taken for: the likeliest other ones in turn."""
        if self.plan.loss != "dlr_targeted":
            return None
        if self._ranking is None:
            with torch.no_grad():
                logits = self.net(self.room.x).scatter(1, self.y[:, None], -torch.inf)
            self._ranking = logits.argsort(dim=1, descending=True)
        others = self._ranking.shape[1] - 1
        return self._ranking[:, index % others]
