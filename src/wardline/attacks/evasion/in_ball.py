"""What all attacks share that change inputs within a ball."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from wardline.attacks.protocol.examples import ExampleAttack, Labelled, attack_examples
from wardline.attacks.protocol.result import AttackResult, Budget, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.models.predictor import Inputs
from wardline.robust.ball import Ball

EIGHT = Ball(norm="linf", radius=8 / 255)
"""The customary threat to colour images in [0, 1]."""


class InBall:
    """The threat of an attack with the field `ball`, and how it is run; subclasses are frozen dataclasses."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def id(self) -> str:
            """Stands for it."""

        @property
        def needs(self) -> Access:
            """The least access it works with."""

        @property
        def paper(self) -> str:
            """Author, year, section."""

        @property
        def ball(self) -> Ball:
            """What may be changed."""

    def threat(self, target: Target) -> Threat:
        """An adversary with the access that the attack needs, who keeps within the ball and the specification."""
        return Threat(goal="misclassification", access=self.needs, limits=self.limits(target))

    def limits(self, target: Target) -> str:
        """What may be changed, in a few words."""
        spec, limits = target.spec, f"{self.ball.norm} at most {self.ball.radius:.6g}"
        if isinstance(spec, InputSpec) and spec.mutable is not None:
            limits += f", {int(spec.mutable.sum())} of {spec.features} features"
        return limits

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each change lies in the ball, up to rounding: [rows]."""
        change = torch.from_numpy(np.asarray(changed, dtype=np.float64) - np.asarray(original, dtype=np.float64))
        inside: npt.NDArray[np.bool_] = self.ball.contains(change).numpy()
        return inside

    def run(self: ExampleAttack, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack these examples."""
        return attack_examples(self, target, data, budget=budget, seed=seed)
