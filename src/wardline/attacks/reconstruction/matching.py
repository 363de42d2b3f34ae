"""Gradient inversion by matching: look for rows whose gradient is the one that was shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.reconstruction.leakage import About, Found, attack_gradients
from wardline.attacks.reconstruction.pictures import total_variation
from wardline.attacks.reconstruction.sharing import GradientData, Gradients
from wardline.core import Seeds
from wardline.core.checks import at_least, positive
from wardline.models import torch_generator
from wardline.models.predictor import Inputs

Objective: TypeAlias = Literal["dlg", "idlg", "cosine"]

_PAPERS: dict[Objective, str] = {
    "dlg": "Zhu, Liu, Han 2019, algorithm 1",
    "idlg": "Zhao, Mopuri, Bilen 2020, sections 2 and 3",
    "cosine": "Geiping, Bauermeister, Droege, Moeller 2020, section 4",
}
_GUARD = 1e-12
_WEAK = 1e-7  # weight of the prior where entries are missing: it decides what the others leave open
_DECAYS = (3 / 8, 5 / 8, 7 / 8)  # where the step shrinks to a tenth (Geiping et al. 2020, section 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientMatching:
    """Rows whose gradient matches the shared one, found by gradient descent on the rows.

    The attack is adapted to every defence. Its own gradients are clipped as the sharer clips. Entries that were not
    shared are known to be no larger than the least that was. Where there is noise or entries are missing, ``dlg`` and
    ``idlg`` look for probable rows, with the spread of public rows (or of the whole range) as the prior; ``cosine``
    relies more on smoothness where there is noise.

    Attributes:
        objective: ``dlg`` compares squared distances and searches for the classes too; ``idlg`` reads the class off the
            last layer's gradient (batches of one row); ``cosine`` compares directions, steps by signs and adds total
            variation. Where a batch has several rows, ``idlg`` and ``cosine`` are told their classes.
        steps: of Adam, at least 1. (DLG's authors take L-BFGS, which cannot run many searches side by side.)
        starts: random starts of each batch, of which the best match is kept; at least 1.
        learning_rate: as a share of the inputs' range; above 0.
        smooth: weight of total variation for pictures, at least 0.
        success_db: from which PSNR on a row counts as reconstructed.
    """

    objective: Objective = "idlg"
    steps: int = 400
    starts: int = 1
    learning_rate: float = 0.1
    smooth: float = 1e-2
    success_db: float = 20.0

    def __post_init__(self) -> None:
        if self.objective not in _PAPERS:
            raise ValueError(f"objective must be one of {', '.join(_PAPERS)}")
        at_least("steps", self.steps, 1)
        at_least("starts", self.starts, 1)
        positive("learning_rate", self.learning_rate)
        if not 0 <= self.smooth < np.inf:
            raise ValueError("smooth must be a finite number of at least 0")

    @property
    def id(self) -> str:
        """``reconstruction.gradients``."""
        return "reconstruction.gradients"

    @property
    def needs(self) -> Access:
        """White box: the parameters at which gradients were taken."""
        return Access.WHITE_BOX

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return _PAPERS[self.objective]

    def run(self, target: Target, data: GradientData, budget: Budget, seed: int) -> AttackResult:
        """Reconstruct and judge; see `wardline.attacks.reconstruction.leakage.attack_gradients`."""
        told = data.y.shape[1] > 1 and self.objective != "dlg"
        knowledge = "the parameters, the gradient, what was done to it, the size of the batch"
        about = About(
            attack=self.id,
            paper=self.paper,
            knowledge=knowledge + (", and the classes of its rows" if told else ""),
            success_db=self.success_db,
        )
        return attack_gradients(about, self._search, target, data, budget=budget, seed=seed)

    def _search(self, target: Target, module: nn.Module, data: GradientData, seeds: Seeds) -> Found:
        spec = target.spec
        if not isinstance(spec, InputSpec):
            raise TypeError("inputs must be numeric")
        batches, rows = data.y.shape
        inferred = np.array([infer_class(one, target.classes) for one in data.gradients])
        classes = np.repeat(np.where(rows == 1, inferred[:, None], data.y), self.starts, axis=0)
        shared = torch.stack([_flat(one) for one in data.gradients]).repeat_interleave(self.starts, dim=0)
        search = _Descent(self, module, data, shared, spec)
        complete = True
        try:
            search.run(torch.from_numpy(classes), target, torch_generator(seeds, "matching.start"))
        except BudgetSpent:
            complete = False
        found, costs = search.found, search.costs
        best = costs.reshape(batches, self.starts).argmin(axis=1)
        kept = found.reshape(batches, self.starts, rows, *spec.shape)[np.arange(batches), best]
        details: dict[str, object] = {"objective": self.objective, "steps": self.steps, "starts": self.starts}
        if rows == 1:
            details["classes_inferred"] = float((inferred == data.y[:, 0]).mean())
        return Found(rows=list(kept), complete=np.full(batches, complete), details=details)


def infer_class(gradients: Gradients, classes: int) -> int:
    """The class of a batch of one row: where the gradient of the last layer is negative.

    The gradient by the last bias is the predicted probabilities minus one at the true class, which alone is negative.
    Without a bias the rows of the last weight matrix tell the same, if their inputs are not negative. The wide part of
    Wardline's networks stands after the head and reads inputs of any sign, so it is passed over.

    Args:
        gradients: by parameters, in the order of the network.
        classes: how many there are.

    Raises:
        ValueError: if no parameter has a row for each class.

    References: Zhao, Mopuri, Bilen 2020, section 2.
    """
    last = [
        value
        for name, value in gradients.items()
        if value.shape[:1] == (classes,) and name.split(".")[-2:] != ["wide", "weight"]
    ]
    if not last:
        raise ValueError("the network has no last layer with a row for each class")
    rows = last[-1].reshape(classes, -1).sum(axis=1)
    return int(rows.argmin())


class _Descent:
    """Searches side by side: their costs add up and none depends on another's rows."""

    def __init__(
        self, attack: GradientMatching, module: nn.Module, data: GradientData, shared: Tensor, spec: InputSpec
    ) -> None:
        defence = data.defence
        self.attack, self.defence, self.shared = attack, defence, shared
        self.low, self.high = (torch.from_numpy(np.array(end, dtype=np.float32)) for end in (spec.low, spec.high))
        self.shape = spec.shape
        self.mask = (shared != 0).to(shared) if defence.kept < 1 else torch.ones_like(shared)
        # The share of the shared gradient's energy that is noise: known, since the noise is.
        energy = shared.square().sum(dim=1)
        noise = (defence.noise**2 * self.mask.sum(dim=1) / (energy + _GUARD)).clamp(max=1.0)
        self.smooth = attack.smooth * (1.0 + 20.0 * noise)
        self.doubt = defence.noise**2 / (energy + _GUARD) + (_WEAK if defence.kept < 1 else 0.0)
        # What was not shared is no larger than the least that was.
        self.least = torch.where(shared != 0, shared.abs(), torch.inf).amin(dim=1, keepdim=True)
        self.mean, self.variance = _prior(data, spec)
        self.gradient_of = _flat_gradient(module)
        middle = ((self.low + self.high) / 2).numpy()
        self.found: Inputs = np.broadcast_to(middle, (len(shared), data.y.shape[1], *spec.shape))
        self.costs: npt.NDArray[np.float64] = np.full(len(shared), np.inf)

    def run(self, classes: Tensor, target: Target, generator: torch.Generator) -> None:
        """Descend; rows [searches, rows, *shape] and the cost of each search stand in `found` and `costs`."""
        attack = self.attack
        searches, rows = classes.shape
        place = torch.empty((searches, rows, *self.shape)).uniform_(0.3, 0.7, generator=generator).requires_grad_()
        weights = functional.one_hot(classes, target.classes).to(torch.float32)
        leaves = [place]
        if attack.objective == "dlg":
            guess = torch.empty(weights.shape).normal_(generator=generator).requires_grad_()
            leaves.append(guess)
        optimizer = torch.optim.Adam(leaves, lr=attack.learning_rate)
        schedule = torch.optim.lr_scheduler.MultiStepLR(
            optimizer, [max(1, round(share * attack.steps)) for share in _DECAYS], gamma=0.1
        )
        for _ in range(attack.steps):
            target.ledger.charge(searches * rows, gradients=True)
            labels = guess.softmax(dim=2) if attack.objective == "dlg" else weights
            costs = self._costs(place, labels)
            self.found = (self.low + place.detach() * (self.high - self.low)).numpy()
            self.costs = costs.detach().numpy().astype(np.float64)
            slopes = torch.autograd.grad(costs.sum(), leaves)
            for leaf, slope in zip(leaves, slopes, strict=True):
                leaf.grad = slope.sign() if attack.objective == "cosine" else slope
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                place.clamp_(0, 1)

    def _costs(self, place: Tensor, labels: Tensor) -> Tensor:
        x = self.low + place * (self.high - self.low)
        each: Tensor = vmap(vmap(self.gradient_of))(x, labels)  # [searches, rows, parameters]
        if self.defence.clip_norm is not None:
            each = each * (self.defence.clip_norm / (each.norm(dim=2, keepdim=True) + _GUARD)).clamp(max=1.0)
        mean, shared = each.mean(dim=1), self.shared
        own = mean * self.mask
        match self.attack.objective:
            case "dlg" | "idlg":
                # In units of the shared gradient, so that one learning rate fits all networks.
                costs = (own - shared).square().sum(dim=1) / (shared.square().sum(dim=1) + _GUARD)
                # Twice the negative log-posterior under Gaussian noise and a Gaussian prior, in the same units.
                unlikely = ((place - self.mean).square() / self.variance).flatten(1).sum(dim=1)
                costs = costs + self.doubt * unlikely
                if self.defence.kept < 1:
                    excess = (mean.abs() - self.least).relu() * (1.0 - self.mask)
                    costs = costs + excess.square().sum(dim=1) / (shared.square().sum(dim=1) + _GUARD)
            case "cosine":
                costs = 1.0 - functional.cosine_similarity(own, shared, dim=1)
            case _:
                assert_never(self.attack.objective)
        if place.ndim == 5 and self.attack.smooth and self.attack.objective == "cosine":
            rough = total_variation(place.flatten(0, 1)).reshape(place.shape[:2]).mean(dim=1)
            costs = costs + self.smooth * rough
        return costs


def _prior(data: GradientData, spec: InputSpec) -> tuple[Tensor, Tensor]:
    """Mean and variance of every feature, in units of its range."""
    if data.prior is None:
        return torch.full(spec.shape, 0.5), torch.full(spec.shape, 1.0 / 12.0)
    low, high = np.asarray(spec.low), np.asarray(spec.high)
    places = (data.prior - low) / (high - low)
    mean, variance = places.mean(axis=0), places.var(axis=0)
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(variance.astype(np.float32)).clamp(min=1e-3)


def _flat(gradients: Gradients) -> Tensor:
    return torch.cat([torch.from_numpy(np.array(value, dtype=np.float32)).ravel() for value in gradients.values()])


def _flat_gradient(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def loss(values: dict[str, Tensor], row: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(module, values, (row[None],)), label[None])

    def gradient(row: Tensor, label: Tensor) -> Tensor:
        found: dict[str, Tensor] = grad(loss)(parameters, row, label)
        return torch.cat([value.flatten() for value in found.values()])

    return gradient
