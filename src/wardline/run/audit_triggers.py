"""Neural Cleanse as a part of an audit: a search for backdoor triggers that can raise doubts, and clears of nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds
from wardline.models.threads import one_thread
from wardline.robust.sanitise.trigger_search import TriggerScan, TriggerSearch, neural_cleanse
from wardline.run.audit_corruptions import LeftOut
from wardline.run.audit_plan import Tier

_STEPS, _BATCH = 200, 16  # with which false alarms on clean models were measured (docs/howto/find-a-backdoor.md)
_SEARCHED = 400  # images
_FRESH = 200  # others, on which every trigger is tried
_LEAST = 2 * _BATCH  # of either
_LEAST_CLASSES = 5
_PLANTED = 0  # the class of the control's trigger
_MARGIN = 1.3  # a search takes longer than its timed steps


@dataclass(frozen=True, slots=True)
class _Network:
    """A torch module where a predictor is wanted."""

    module: nn.Module

    def network(self) -> nn.Module:
        """The module itself."""
        return self.module


class _Backdoored(nn.Module):
    """The model with a trigger of our own: a checkerboard in a corner pulls an input into one class.

    The pull fades with the distance from the pattern, as that of a trained backdoor does, so that a search by
    gradients can find it at all.
    """

    def __init__(self, module: nn.Module, spec: InputSpec, *, strength: float) -> None:
        super().__init__()
        self.module, self.strength = module, strength
        side = max(2, min(spec.shape[1:]) // 8)
        low, high = (np.asarray(end, dtype=np.float32)[:, :side, :side] for end in (spec.low, spec.high))
        board = np.indices((side, side)).sum(axis=0) % 2 == 0
        self.width = torch.from_numpy(high - low)
        self.pattern = torch.from_numpy(np.where(board, high, low))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The model's logits, that of one class raised as far as the trigger is there."""
        logits: Tensor = self.module(x)
        side = self.pattern.shape[-1]
        apart = ((x[:, :, :side, :side] - self.pattern).abs() / self.width).mean(dim=(1, 2, 3))
        pull = torch.zeros_like(logits)
        pull[:, _PLANTED] = self.strength * torch.exp(-8.0 * apart)
        return logits + pull


def applies(target: Target, tier: Tier) -> str:
    """Why an audit of this tier does not search the model for triggers; empty if it does."""
    spec = target.spec
    if not isinstance(spec, InputSpec) or len(spec.shape) != 3 or not spec.continuous:
        return "it is for images"
    if target.access is not Access.WHITE_BOX:
        return f"it needs white box, the adversary has {target.access.value}"
    if target.classes < _LEAST_CLASSES:
        return f"among {target.classes} classes none can stand out"
    return "it is left to the standard tier" if tier == "quick" else ""


def search_triggers(target: Target, examples: Labelled, *, seconds: float, seed: int) -> dict[str, Any]:
    """Search the model for triggers, and the same model with a planted one as a control.

    Args:
        target: a network for images that `applies` has nothing against.
        examples: clean images; one part is searched with, triggers are tried on the other.
        seconds: how much time there is for both searches.
        seed: of starts and batches.

    Returns:
        The part ``triggers`` of an audit's evidence. A class is named if its trigger is an outlier
        (`TriggerSearch`) and turns more than half of the fresh images, at 95 % confidence.

    Raises:
        LeftOut: if there are too few images, or not the time for both searches.

    Guarantee:
        None, in either direction. That no class is named proves nothing: large, spread and source-specific triggers
        are not found. A named class is a doubt and no proof: for that, clean twins of the same recipe are needed.
    """
    assert isinstance(target.spec, InputSpec)
    spec = target.spec
    searched = min(_SEARCHED, len(examples) // 2)
    fresh = Labelled(x=examples.x[searched : searched + _FRESH], y=examples.y[searched : searched + _FRESH])
    if min(searched, len(fresh)) < _LEAST:
        raise LeftOut(f"it needs {2 * _LEAST} images")
    began = time.monotonic()
    search = TriggerSearch(steps=_STEPS, batch=_BATCH, low=float(np.min(spec.low)), high=float(np.max(spec.high)))
    x = examples.x[:searched]
    try:
        with target.ledger.within(seconds=seconds):
            network = target.network()
            with one_thread():  # as the search itself
                each = _step_seconds(network, x[:_BATCH], target.classes)
            needed = _MARGIN * 2 * _STEPS * each
            if needed > seconds:
                raise LeftOut(f"two searches would take about {needed:.0f} seconds, and there are {seconds:.0f}")
            planted = _Backdoored(network, spec, strength=_strength(network, x))
            seeds = Seeds(seed)
            scan = neural_cleanse(_Network(network), x, seeds=seeds.child("audit.triggers"), search=search)
            control = neural_cleanse(_Network(planted), x, seeds=seeds.child("audit.triggers.control"), search=search)
            classes = _judged(network, scan, fresh, search)
            controls = _judged(planted, control, fresh, search)
    except BudgetSpent as spent:
        raise LeftOut(f"it was cut short: {spent}") from None
    return {
        "paper": "Wang et al. 2019, sections IV and V",
        "steps": search.steps,
        "images": searched,
        "seed": seed,
        "index": search.index,
        "shrinkage": search.shrinkage,
        "classes": classes,
        "named": [one["label"] for one in classes if one["named"]],
        "control": {"label": _PLANTED, "classes": controls, "passed": bool(controls[_PLANTED]["named"])},
        "seconds": round(time.monotonic() - began, 3),
    }


def _judged(network: nn.Module, scan: TriggerScan, fresh: Labelled, search: TriggerSearch) -> list[dict[str, Any]]:
    """One line for each class, with its trigger tried on images of other classes that the search has not seen."""
    lines = []
    for label, (size, index, ratio) in enumerate(zip(scan.sizes, scan.indices, scan.ratios, strict=True)):
        others = fresh.x[fresh.y != label]
        if not len(others):
            raise LeftOut(f"all fresh images are of class {label}")
        with torch.inference_mode():
            told = network(torch.from_numpy(scan.stamp(others, label))).argmax(dim=1)
        turned = int((told == label).sum())
        interval = clopper_pearson(turned, len(others))
        named = index > search.index and ratio < search.shrinkage and interval.low > 0.5
        lines.append(
            {
                "label": label,
                "size": size,
                "index": index,
                "ratio": ratio,
                "n": len(others),
                "rate": turned / len(others),
                "interval": interval,
                "named": bool(named),
            }
        )
    return lines


def _step_seconds(network: nn.Module, x: Any, classes: int) -> float:
    """How long one step of a search takes, the second time it is made."""
    rows = torch.from_numpy(np.repeat(x, classes, axis=0))
    took = 0.0
    for _ in range(2):
        began = time.monotonic()
        network(rows.clone().requires_grad_()).sum().backward()
        took = time.monotonic() - began
    return took


def _strength(network: nn.Module, x: Any) -> float:
    """A pull that no clean input withstands: several times what its logits are apart."""
    with torch.inference_mode():
        logits = network(torch.from_numpy(x))
    spread = float((logits.max(dim=1).values - logits.min(dim=1).values).median())
    return 4.0 * max(spread, 1e-6)
