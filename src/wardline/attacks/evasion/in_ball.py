"""What all attacks share that know the model and change inputs within a ball."""

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
        def ball(self) -> Ball:
            """What may be changed."""

    def threat(self, target: Target) -> Threat:
        """An adversary who knows the model and may change inputs within the ball and the specification's bounds."""
        spec = target.spec
        limits = f"{self.ball.norm} at most {self.ball.radius:.6g}"
        if isinstance(spec, InputSpec) and spec.mutable is not None:
            limits += f", {int(spec.mutable.sum())} of {spec.features} features"
        return Threat(goal="misclassification", access=Access.WHITE_BOX, limits=limits)

    def within(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each change lies in the ball, up to rounding: [rows]."""
        change = torch.from_numpy(np.asarray(changed, dtype=np.float64) - np.asarray(original, dtype=np.float64))
        inside: npt.NDArray[np.bool_] = self.ball.contains(change).numpy()
        return inside

    def run(self: ExampleAttack, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        """Attack these examples."""
        return attack_examples(self, target, data, budget=budget, seed=seed)
