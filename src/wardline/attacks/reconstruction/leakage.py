"""What reconstructions from gradients amount to: nearness to the true rows, rates, and whether the attack works."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.reconstruction.pictures import psnr
from wardline.attacks.reconstruction.sharing import GradientData, Simulation
from wardline.core import Seeds, Verdict
from wardline.models.predictor import Inputs

_MOST_TOLD = 200  # figures of single rows in the details


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What an attack made of shared gradients.

    Attributes:
        rows: for each batch, candidates for its rows, [any number, *shape].
        complete: for each batch, whether the search ran to its end.
        details: finite JSON values for the result.
    """

    rows: Sequence[Inputs]
    complete: npt.NDArray[np.bool_]
    details: dict[str, object] = field(default_factory=dict)


Search = Callable[[Target, nn.Module, GradientData, Seeds], Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What stands in the result whatever was found.

    Attributes:
        attack: its id.
        paper: author, year, section.
        knowledge: what the adversary knows beforehand.
        success_db: from which nearness on a row counts as reconstructed, in dB.
    """

    attack: str
    paper: str
    knowledge: str
    success_db: float


def attack_gradients(
    about: About, search: Search, target: Target, data: GradientData, *, budget: Budget, seed: int
) -> AttackResult:
    """Reconstruct rows from gradients and judge them.

    A row counts as reconstructed if the nearest candidate of its batch lies within `success_db`. Guessing reaches what
    the mean of public inputs (or the middle of the range) reaches. An attack on defended gradients that finds nothing
    is mounted on the same rows without the defence; if it fails there too, the result is inconclusive.

    Args:
        about: what stands in the result.
        search: the attack.
        target: the model at whose parameters gradients were taken.
        data: gradients, and what they came from.
        budget: what may be spent.
        seed: of all randomness, at least 0.

    Raises:
        AccessDenied: if the adversary has no white-box access.
        ValueError: if the gradients are not of the target's parameters, or rows not what it takes.
    """
    spec = target.spec
    if not isinstance(spec, InputSpec):
        raise ValueError("gradients are inverted to numeric inputs")  # noqa: TRY004 (a fault of the target)
    target.require(Access.WHITE_BOX)
    spec.check(data.x.reshape(-1, *spec.shape))
    module = unmetered(target)
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    if {name: value.shape for name, value in data.gradients[0].items()} != shapes:
        raise ValueError("the gradients are not of the target's parameters")
    began, before = time.process_time(), (target.ledger.queries, target.ledger.gradients)
    seeds = Seeds(seed)
    with target.ledger.within(queries=budget.queries, seconds=budget.seconds):
        found = search(target, module, data, seeds)
        spent = target.ledger.queries - before[0], target.ledger.gradients - before[1]
        near = _nearness(found, data, spec)
        trials = near[found.complete].ravel()
        right = trials >= about.success_db
        guess = psnr(_without_gradients(data, spec), data.x.reshape(-1, *spec.shape), value_range=_range(spec))
        chance = float((guess >= about.success_db).mean())
        interval = clopper_pearson(int(right.sum()), len(right)) if len(right) else None
        line = max(chance, budget.tolerated)
        checks = [
            Check(
                name="budget",
                outcome=Verdict.PASS if found.complete.all() else Verdict.INCONCLUSIVE,
                detail=f"{int((~found.complete).sum())} of {len(found.complete)} batches were cut short",
            )
        ]
        if interval is not None and interval.low > line:
            checks.append(Check(name="control", outcome=Verdict.PASS, detail="not needed: the attack succeeded"))
        else:
            checks.append(_control(about, search, target, module, data, line=line))
    details: dict[str, object] = {
        "paper": about.paper,
        "access": Access.WHITE_BOX.value,
        "prior": about.knowledge,
        "defence": data.defence,
        "batch": int(data.y.shape[1]),
        "success_db": about.success_db,
        "psnr_of_guess_db": {"mean": float(guess.mean()), "highest": float(guess.max())},
        **found.details,
    }
    if len(trials):
        details["psnr_db"] = {
            "mean": float(trials.mean()),
            "median": float(np.median(trials)),
            "each": [float(value) for value in trials[:_MOST_TOLD]],
        }
    return AttackResult(
        attack=about.attack,
        threat=Threat(
            goal="reconstruct rows from shared gradients", access=Access.WHITE_BOX, knowledge=about.knowledge
        ),
        paper=about.paper,
        quantity="rows_reconstructed",
        n=len(trials),
        rate=float(right.mean()) if len(trials) else None,
        interval=interval,
        chance=chance,
        tolerated=budget.tolerated,
        queries=spent[0],
        gradients=spent[1],
        checks=tuple(checks),
        seed=seed,
        details=details,
        cpu_seconds=time.process_time() - began,
        examples={"x": data.x, "found": [np.asarray(rows) for rows in found.rows], "y": data.y},
    )


def unmetered(target: Target) -> nn.Module:
    """The target's network itself: gradients by parameters run in `vmap`, so who uses it charges the ledger."""
    module = target.network().module
    if not isinstance(module, nn.Module):
        raise TypeError("the target's network holds no module")
    return module


def _nearness(found: Found, data: GradientData, spec: InputSpec) -> npt.NDArray[np.float64]:
    """PSNR of the nearest candidate of every row, [batches, rows]."""
    near = np.zeros(data.y.shape)
    for batch, candidates in enumerate(found.rows):
        for row, true in enumerate(data.x[batch]):
            if len(candidates):
                near[batch, row] = psnr(
                    candidates, np.broadcast_to(true, candidates.shape), value_range=_range(spec)
                ).max()
    return near


def _without_gradients(data: GradientData, spec: InputSpec) -> Inputs:
    middle = (np.asarray(spec.low) + np.asarray(spec.high)) / 2 if data.prior is None else data.prior.mean(axis=0)
    count = data.y.size
    return np.broadcast_to(middle, (count, *spec.shape))


def _range(spec: InputSpec) -> npt.NDArray[np.float32]:
    return np.asarray(spec.high, dtype=np.float32) - np.asarray(spec.low, dtype=np.float32)


def _control(
    about: About, search: Search, target: Target, module: nn.Module, data: GradientData, *, line: float
) -> Check:
    """The same attack on the same rows, shared as they are."""
    if data.defence.none:
        detail = "the gradients had no defence, and the attack found nothing: nobody can tell whether it works at all"
        return Check(name="control", outcome=Verdict.INCONCLUSIVE, detail=detail)
    rows, classes = data.x.reshape(-1, *data.x.shape[2:]), data.y.ravel()
    sharer = Simulation(module, seeds=Seeds(0))
    bare = GradientData.collect(sharer, rows, classes, batch=data.y.shape[1], prior=data.prior)
    if not isinstance(target.spec, InputSpec):
        raise TypeError("inputs must be numeric")
    found = search(target, module, bare, Seeds(0))
    right = _nearness(found, bare, target.spec)[found.complete].ravel() >= about.success_db
    works = len(right) > 0 and clopper_pearson(int(right.sum()), len(right)).low > line
    detail = f"without the defence it reconstructs {int(right.sum())} of {len(right)} rows"
    return Check(name="control", outcome=Verdict.PASS if works else Verdict.INCONCLUSIVE, detail=detail)
