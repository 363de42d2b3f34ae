"""Jacobian-based augmentation: few inputs of one's own, and synthetic ones where the copy is unsure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import torch

from wardline.attacks.extraction.substitute import Substitute, hand_in_copy
from wardline.attacks.extraction.theft import ExtractionData, Theft, run_theft
from wardline.attacks.protocol.result import AttackResult, Budget, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.core.checks import at_least, positive
from wardline.models import Architecture
from wardline.models.predictor import Inputs

Variant: TypeAlias = Literal["jacobian", "t-rnd"]

_SMALL_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Jbda:
    """Starts from few inputs and doubles them round by round with synthetic ones.

    Attributes:
        seed_rows: inputs of the pool that it starts with, at least 2.
        rounds: how often the set is doubled, at least 1.
        step: how far a synthetic input lies from its parent, as a share of each feature's range.
        variant: ``jacobian`` steps along the sign of the gradient of the named class's logit (Papernot et al.);
            ``t-rnd`` takes small steps towards a class drawn at random (Juuti et al.).
        architecture: of the copy; None takes one from the inputs' shape.
        steps: of each training, at least 1.
        most_queries: no round goes beyond so many questions.

    Raises:
        ValueError: for a number out of range.

    References: Papernot et al. 2017, algorithm 1; Juuti et al. 2019, section 3 (T-RND).
    """

    seed_rows: int = 100
    rounds: int = 5
    step: float = 0.05
    variant: Variant = "jacobian"
    architecture: Architecture | None = None
    steps: int = 600
    most_queries: int = 6400
    id: ClassVar[str] = "extraction.jbda"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Papernot, McDaniel, Goodfellow, Jha, Celik and Swami 2017, algorithm 1"

    def __post_init__(self) -> None:
        at_least("seed_rows", self.seed_rows, 2)
        at_least("rounds", self.rounds, 1)
        at_least("steps", self.steps, 1)
        at_least("most_queries", self.most_queries, self.seed_rows)
        positive("step", self.step)
        if self.variant not in ("jacobian", "t-rnd"):
            raise ValueError("variant is jacobian or t-rnd")

    def run(self, target: Target, data: ExtractionData, budget: Budget, seed: int) -> AttackResult:
        """Copy the target; `details` tells the agreement after each round."""
        threat = Threat(
            goal="a copy",
            access=target.access,
            limits=f"at most {self.most_queries} queries, {self.variant}",
            knowledge=f"{min(self.seed_rows, len(data.pool))} inputs without classes",
        )
        return run_theft(self, target, data, threat=threat, budget=budget, seed=seed)

    def steal(self, theft: Theft) -> None:
        """Ask, train, step, and again; what was asked before is not asked again."""
        total = theft.allowance(self.most_queries)
        rng = theft.seeds.numpy("jbda")
        fresh = theft.pool[rng.permutation(len(theft.pool))[: min(self.seed_rows, total)]]
        for turn in range(self.rounds + 1):
            theft.ask(fresh)
            copy = hand_in_copy(theft, architecture=self.architecture, steps=self.steps, stream=f"round.{turn}")
            x, answers = theft.transcript()
            left = total - theft.queries
            if turn == self.rounds or left <= 0:
                return
            parents = rng.permutation(len(x))[:left]  # a sample where all would be too many
            fresh = self._children(theft, copy, x[parents], answers[parents].argmax(axis=1), rng)

    def _children(
        self, theft: Theft, copy: Substitute, x: Inputs, labels: np.typing.NDArray[np.int64], rng: np.random.Generator
    ) -> Inputs:
        spec = theft.spec
        length = torch.from_numpy(np.asarray(spec.high) - np.asarray(spec.low)) * self.step
        place = torch.from_numpy(x.copy())
        if self.variant == "jacobian":
            # The sign changes from input to input, so that both sides of the boundary are explored.
            sign = torch.from_numpy(rng.choice(np.array([-1, 1], dtype=np.float32), len(x)))
            place += sign.reshape(-1, *(1,) * (place.dim() - 1)) * length * _slope(copy, place, labels).sign()
        else:
            others = (labels + rng.integers(1, theft.classes, len(x))) % theft.classes
            for _ in range(_SMALL_STEPS):
                place += length / _SMALL_STEPS * _slope(copy, place, others).sign()
        found = place.numpy()
        return replace(spec, mutable=None).repair(found, np.full_like(found, np.nan))


def _slope(copy: Substitute, place: torch.Tensor, labels: np.typing.NDArray[np.int64]) -> torch.Tensor:
    """The gradient of each input's logit of one class, relative to the others."""
    x = place.detach().clone().requires_grad_()
    chosen = copy(x).log_softmax(dim=1).gather(1, torch.from_numpy(labels)[:, None]).sum()
    (slope,) = torch.autograd.grad(chosen, x)
    return slope
