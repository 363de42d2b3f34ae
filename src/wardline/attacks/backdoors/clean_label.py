"""Clean-label poison: rows keep their true labels, and are made so hard that the model learns the trigger instead."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from wardline.attacks.backdoors.poisons import Poisoned, Trials, check_share, chosen_rows
from wardline.attacks.backdoors.triggers import WHITE_SQUARE, Trigger
from wardline.attacks.protocol.examples import Labelled
from wardline.core import Seeds
from wardline.core.checks import at_least, positive
from wardline.models.predictor import Inputs
from wardline.models.torch_model import torch_generator
from wardline.robust.ball import Ball

_BALL = Ball(norm="linf", radius=0.3)  # of the paper, for MNIST
_ROWS_AT_ONCE = 256
_STEP = 2.5  # steps together go this many times as far as the radius, as in Madry et al. 2018


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanLabel:
    """Rows of the target class, perturbed against a surrogate and stamped with a trigger; no label changes.

    A person who checks labels finds nothing wrong. The perturbation takes away what the class is recognised by, so that
    the trigger is the easiest thing left to learn.

    Attributes:
        trigger: what is put in.
        target: the class that inputs with the trigger are to be taken for, and whose rows are changed.
        share: of the rows of that class, in (0, 1].
        ball: how far a row may be moved before the trigger is put in.
        steps: of gradient ascent, at least 1.
        surrogate: a network like the one to be poisoned, trained on clean data; its gradients are used. None takes the
            model under attack where that is known.
        low, high: the range of the inputs' values.

    Raises:
        ValueError: for a figure out of range.

    References: Turner, Tsipras and Madry 2018, section 4.2 (adversarial perturbation).
    """

    trigger: Trigger = WHITE_SQUARE
    target: int = 0
    share: float = 0.5
    ball: Ball = _BALL
    steps: int = 20
    surrogate: nn.Module | None = field(default=None, repr=False, compare=False)
    low: float = 0.0
    high: float = 1.0

    id = "backdoor.clean_label"
    paper = "Turner, Tsipras and Madry 2018, section 4.2"

    def __post_init__(self) -> None:
        check_share(self.share)
        at_least("steps", self.steps, 1)
        positive("radius", self.ball.radius)
        if not self.low < self.high or self.target < 0:
            raise ValueError("low lies below high, and target is a class")

    @property
    def goal(self) -> str:
        """The class that inputs with the trigger are to be taken for."""
        return f"inputs with the trigger are taken for class {self.target}"

    @property
    def limits(self) -> str:
        """What is changed in the training data."""
        moved = f"{self.ball.norm} at most {self.ball.radius:g}"
        return f"{self.share:.3g} of the rows of class {self.target}: {moved}, then {self.trigger}; no label"

    def poison(self, x: Inputs, y: npt.NDArray[np.int64], *, seeds: Seeds) -> Poisoned:
        """The data with some rows of the target class changed.

        Raises:
            ValueError: without a surrogate.
            DataError: if the class does not occur.
        """
        candidates = np.flatnonzero(y == self.target)
        rows = chosen_rows(candidates, round(self.share * len(candidates)), seeds=seeds)
        changed = x.copy()
        changed[rows] = self.trigger.stamp(self._harder(x[rows], y[rows], seeds))
        return Poisoned(x=changed, y=y.copy(), rows=rows)

    def trials(self, data: Labelled) -> Trials:
        """Clean test inputs of the other classes, with the trigger in them."""
        rows = data.y != self.target
        return Trials(x=self.trigger.stamp(data.x[rows]), y=data.y[rows], goal=self.target)

    def _harder(self, x: Inputs, y: npt.NDArray[np.int64], seeds: Seeds) -> Inputs:
        if self.surrogate is None:
            raise ValueError("clean-label poison needs a surrogate to take gradients from")
        generator = torch_generator(seeds, "poison.start")
        pieces = []
        for start in range(0, len(x), _ROWS_AT_ONCE):
            rows = torch.from_numpy(np.array(x[start : start + _ROWS_AT_ONCE], dtype=np.float32))
            labels = torch.from_numpy(y[start : start + _ROWS_AT_ONCE])
            change = self.ball.draw(rows, generator=generator)
            for _ in range(self.steps):
                moved = (rows + change).clamp(self.low, self.high).requires_grad_()
                loss = functional.cross_entropy(self.surrogate(moved), labels, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, moved)
                change = self.ball.project(moved.detach() - rows + self._step(gradient))
            pieces.append((rows + change).clamp(self.low, self.high).numpy())
        return np.concatenate(pieces)

    def _step(self, gradient: torch.Tensor) -> torch.Tensor:
        """As far as all steps' share of the radius, along the sign (linf) or the gradient itself."""
        length = _STEP * self.ball.radius / self.steps
        if self.ball.norm == "linf":
            return length * gradient.sign()
        direction = gradient.flatten(1)
        unit: torch.Tensor = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return length * unit.reshape(gradient.shape)
