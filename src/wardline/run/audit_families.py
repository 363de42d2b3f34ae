"""What each family of attacks is given in an audit, and where its positive control comes from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from wardline.attacks.extraction.theft import ExtractionData
from wardline.attacks.membership.driver import MembershipData
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds
from wardline.data import Examples
from wardline.models import torch_generator
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball, Norm
from wardline.run.audit_attributes import attribute_data, hidden_attribute
from wardline.run.audit_data import AuditData

_MANY_EDITS = 40  # of a text: enough to leave nothing of its words

CONTROL_EXAMPLES = 24
"""How many examples a control is tried on; all of them broken give an interval above 0.85."""


def largest_radius(spec: InputSpec, norm: Norm) -> float:
    """The radius at which an adversary can put any input in place of any other."""
    width = np.asarray(spec.high, dtype=np.float64) - np.asarray(spec.low, dtype=np.float64)
    match norm:
        case "linf":
            return float(width.max())
        case "l2":
            return float(np.sqrt((width**2).sum()))
        case "l1":
            return float(width.sum())


def data_for(entry: AttackEntry, examples: Labelled, data: AuditData, target: Target) -> Any:
    """What an attack of this family takes.

    Args:
        entry: which attack.
        examples: held-out examples, as many as it is to be tried on.
        data: everything that is known.
        target: the model; its predictor says how many classes there are.

    Raises:
        ValueError: if there is not enough for it.
    """
    match entry.family:
        case "extraction":
            if len(examples) < 2:
                raise ValueError("copying a model needs inputs to ask about and others to judge on")
            half = len(examples) // 2
            return ExtractionData(pool=examples.x[:half], held_out=examples.x[half:], truth=examples.y[half:])
        case "membership":
            if data.train is None:
                raise ValueError("nobody said what the model was trained on")
            members, non_members = (_examples(side, data, target.classes) for side in (data.train, examples))
            return MembershipData(members=members, non_members=non_members, recipe=data.recipe)
        case "reconstruction" if entry.id == "reconstruction.attribute":
            attribute = hidden_attribute(target.spec, data.held_out.x)
            if data.train is None:
                raise ValueError("nobody said what the model was trained on")
            if attribute is None:
                raise ValueError("no column is a category or a yes-or-no, so there is no attribute to hide")
            return attribute_data(attribute, people=data.train, population=data.held_out, classes=target.classes)
        case _:
            return examples


def without_limits(attack: Any, target: Target) -> Any | None:
    """The same attack by an adversary who may change an input into almost any other; None where it has no limits.

    That is the positive control of an attack on single examples: if even this breaks nothing, the attack is blunt.
    """
    names = {one.name for one in dataclasses.fields(attack)} if dataclasses.is_dataclass(attack) else set()
    wider: dict[str, Any] = {}
    if "ball" in names and isinstance(target.spec, InputSpec):
        wider = {"ball": Ball(norm=attack.ball.norm, radius=largest_radius(target.spec, attack.ball.norm))}
    elif {"changes", "cost"} <= names and isinstance(target.spec, InputSpec):
        wider = {"changes": target.spec.features, "cost": None}
    elif "edits" in names:
        wider = {"edits": _MANY_EDITS, **({"edits_per_word": _MANY_EDITS} if "edits_per_word" in names else {})}
    elif {"share", "nearness"} <= names:
        wider = {"share": 1.0, "nearness": -1.0}
    made: Any = attack
    return dataclasses.replace(made, **wider) if wider else None


def copyable(target: Target, *, seed: int) -> Target:
    """A linear model of the same inputs with drawn weights: what every attack that copies models must copy."""
    spec = target.spec
    if not isinstance(spec, InputSpec):
        raise ValueError("texts have no linear model here")  # noqa: TRY004 (a value of the wrong kind, not a type error)
    linear = nn.Linear(spec.features, target.classes)
    width = torch.from_numpy(np.array(spec.high - spec.low, dtype=np.float32).reshape(-1))
    generator = torch_generator(Seeds(seed), "audit.copyable")
    with torch.no_grad():
        # Logits spread by a few units over the range of inputs, whatever their number and unit.
        weights = torch.empty_like(linear.weight).normal_(generator=generator)
        linear.weight.copy_(8.0 * weights / (width * spec.features**0.5))
        middle = torch.from_numpy(np.array(spec.high + spec.low, dtype=np.float32).reshape(-1)) / 2
        linear.bias.copy_(-(linear.weight @ middle))
    predictor = TorchPredictor(nn.Sequential(nn.Flatten(), linear), classes=target.classes)
    access = target.access if target.access is not Access.WHITE_BOX else Access.SCORES
    return Target(predictor, spec, access=access, name="a linear model")


def _examples(rows: Labelled, data: AuditData, classes: int) -> Examples:
    flat = np.ascontiguousarray(rows.x.reshape(len(rows), -1))
    features = data.features if len(data.features) == flat.shape[1] else tuple(f"f{k}" for k in range(flat.shape[1]))
    return Examples(
        x=flat,
        y=rows.y,
        unit=np.arange(len(rows), dtype=np.int64),
        features=features,
        classes=tuple(f"c{k}" for k in range(classes)),
    )
