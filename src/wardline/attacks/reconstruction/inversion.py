"""Model inversion: an input that the model takes for the very picture of a class."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.reconstruction.pictures import total_variation
from wardline.core import Seeds, Verdict
from wardline.core.checks import at_least, positive
from wardline.models import torch_generator
from wardline.models.predictor import Inputs, Predictor, labels_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InversionData:
    """What representatives of classes are judged by; the adversary has none of it.

    Attributes:
        judge: a classifier of the same inputs and classes, trained on other rows.
        means: the mean training input of every class, float32 [classes, *shape].
        twin: a model without protection; None if there is none. An attack that finds nothing is tried on it, to see
            whether it finds anything anywhere.
    """

    judge: Predictor = field(repr=False)
    means: npt.NDArray[np.float32] = field(repr=False)
    twin: Predictor | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInversion:
    """Gradient ascent on a class's probability, from a grey start, kept smooth by total variation.

    A trial is one class and one start. It succeeds if the independent judge puts the result into the class that it was
    made for; the correlation with the class's mean stands in the details beside that of the mean of all classes,
    which needs no model.

    **What it is not.** A representative shows what a class looks like to the model, at best something like the class's
    mean. It is no training row, and says nothing about a person, unless a class *is* a person, as in face recognition.
    A high rate tells that the model's idea of its classes can be read out, which for classes like digits is no secret.

    Attributes:
        starts: trials for each class, at least 1.
        steps: of Adam, at least 1.
        learning_rate: as a share of the inputs' range; above 0.
        smooth: weight of total variation, at least 0; images alone.

    References:
        Fredrikson, Jha, Ristenpart 2015, section 5 (algorithm 1, MI-Face).
    """

    starts: int = 3
    steps: int = 200
    learning_rate: float = 0.05
    smooth: float = 1.0

    def __post_init__(self) -> None:
        at_least("starts", self.starts, 1)
        at_least("steps", self.steps, 1)
        positive("learning_rate", self.learning_rate)
        if not 0 <= self.smooth < np.inf:
            raise ValueError("smooth must be a finite number of at least 0")

    @property
    def id(self) -> str:
        """``reconstruction.inversion``."""
        return "reconstruction.inversion"

    @property
    def needs(self) -> Access:
        """White box."""
        return Access.WHITE_BOX

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return "Fredrikson, Jha, Ristenpart 2015, section 5"

    def run(self, target: Target, data: InversionData, budget: Budget, seed: int) -> AttackResult:
        """Make representatives of all classes, and have them judged.

        Args:
            target: what is differentiated.
            data: the judge and the class means.
            budget: what may be spent. Starts that were cut short do not count.
            seed: of the starts.

        Raises:
            AccessDenied: if the adversary has no white-box access.
            ValueError: if the target takes no numbers, or judge and means do not fit it.
        """
        spec = target.spec
        if not isinstance(spec, InputSpec):
            raise ValueError("inversion needs numeric inputs")  # noqa: TRY004 (a fault of the target, not of a type)
        if data.means.shape != (target.classes, *spec.shape) or data.judge.classes != target.classes:
            raise ValueError("judge and means must have the target's classes, and means the shape of its inputs")
        began, before = time.process_time(), (target.ledger.queries, target.ledger.gradients)
        with target.ledger.within(queries=budget.queries, seconds=budget.seconds):
            pictures, classes = self._attempts(target, spec, seed)
        judged = self._judged(data, pictures, classes)
        starts = len(pictures) // target.classes
        n = len(pictures)
        details: dict[str, object] = {"paper": self.paper, "access": self.needs.value, "starts": starts}
        if n:
            overall = np.broadcast_to(data.means.mean(axis=0), data.means.shape)
            details |= {
                "correlation_to_class_mean": _mean_correlation(pictures, data.means[classes]),
                "correlation_of_overall_mean": _mean_correlation(overall, data.means),
            }
        interval = clopper_pearson(int(judged.sum()), n) if n else None
        line = max(1.0 / target.classes, budget.tolerated)
        return AttackResult(
            attack=self.id,
            threat=Threat(
                goal="make an input that shows what a class looks like",
                access=self.needs,
                knowledge="the shape and range of inputs; no data at all",
            ),
            paper=self.paper,
            quantity="representatives_recognised",
            n=n,
            rate=float(judged.mean()) if n else None,
            interval=interval,
            chance=1.0 / target.classes,
            tolerated=budget.tolerated,
            queries=target.ledger.queries - before[0],
            gradients=target.ledger.gradients - before[1],
            checks=(
                Check(
                    name="budget",
                    outcome=Verdict.PASS if starts == self.starts else Verdict.INCONCLUSIVE,
                    detail=f"{self.starts - starts} of {self.starts} starts were cut short",
                ),
                self._control(target, data, seed, succeeded=interval is not None and interval.low > line),
            ),
            seed=seed,
            details=details,
            cpu_seconds=time.process_time() - began,
            examples={"x": pictures, "y": classes, "found": judged},
        )

    def _attempts(self, target: Target, spec: InputSpec, seed: int) -> tuple[Inputs, npt.NDArray[np.int64]]:
        """Pictures of all classes from every start that was not cut short, and the class of each."""
        network, seeds = target.network(), Seeds(seed)
        made: list[Inputs] = [np.zeros((0, *spec.shape), dtype=np.float32)]
        for start in range(self.starts):
            try:
                made.append(self._representatives(network, spec, torch_generator(seeds, f"inversion.{start}")))
            except BudgetSpent:
                break
        return np.concatenate(made), np.tile(np.arange(target.classes, dtype=np.int64), len(made) - 1)

    def _judged(self, data: InversionData, pictures: Inputs, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        if not len(pictures):
            return np.zeros(0, dtype=np.bool_)
        found: npt.NDArray[np.bool_] = labels_of(data.judge.answer(pictures), data.judge.gives) == classes
        return found

    def _control(self, target: Target, data: InversionData, seed: int, *, succeeded: bool) -> Check:
        """Whether the attack reads classes out of a model that nothing protects."""
        if succeeded:
            return Check(name="control", outcome=Verdict.PASS, detail="not needed: the attack succeeded")
        if data.twin is None or not isinstance(target.spec, InputSpec):
            detail = "no model without protection was given, so nobody can tell whether the attack works at all"
            return Check(name="control", outcome=Verdict.INCONCLUSIVE, detail=detail)
        other = Target(data.twin, target.spec, name="twin")
        judged = self._judged(data, *self._attempts(other, target.spec, seed))
        found = clopper_pearson(int(judged.sum()), len(judged))
        works = Verdict.PASS if found.low > 1.0 / target.classes else Verdict.INCONCLUSIVE
        return Check(
            name="control", outcome=works, detail=f"on a model without protection it makes {judged.mean():.3f}"
        )

    def _representatives(self, network: torch.nn.Module, spec: InputSpec, generator: torch.Generator) -> Inputs:
        """One picture of every class, [classes, *shape]."""
        low, high = (torch.from_numpy(np.array(end, dtype=np.float32)) for end in (spec.low, spec.high))
        with torch.no_grad():
            classes = network(((low + high) / 2)[None]).shape[1]
        wanted = torch.arange(classes)
        # In units of the range, so that one learning rate fits all features.
        place = torch.empty((classes, *spec.shape)).uniform_(0.4, 0.6, generator=generator).requires_grad_()
        optimizer = torch.optim.Adam([place], lr=self.learning_rate)
        for _ in range(self.steps):
            x: Tensor = low + place * (high - low)
            loss = functional.cross_entropy(network(x), wanted, reduction="sum")
            if place.ndim == 4 and self.smooth:
                loss = loss + self.smooth * total_variation(place).sum()
            (place.grad,) = torch.autograd.grad(loss, [place])
            optimizer.step()
            with torch.no_grad():
                place.clamp_(0, 1)
        found: Inputs = (low + place.detach() * (high - low)).numpy()
        return found


def _mean_correlation(first: Inputs, second: Inputs) -> float:
    """Mean over pictures of Pearson's correlation over pixels; that of a constant picture is 0."""
    one, other = (part.reshape(len(part), -1).astype(np.float64) for part in (first, second))
    one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1)
    return float(np.where(norms > 0, products / np.where(norms > 0, norms, 1.0), 0.0).mean())
