"""The memorising control: an unprotected model that has something to memorise, attacked like the target.

An unprotected model that generalises well may leak too little for an attack to be seen to work, above all on
small or easy data. Then nothing tells a safe model from a blunt attack. So the same architecture is trained on
rows of the same data whose labels were replaced by fair draws: all it can learn there is to remember them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.attacks.membership.shadow import Flags, ReferenceRecipe, balanced_design
from wardline.core import NoProgress, Progress, Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig
from wardline.models import Architecture, Logistic, Stack, parameter_count, train_stack

MOST_UNITS = 1000
"""The most units on either side of one control."""

_LEAST_UNITS = 40
_POOLED_UNITS = 1000
_STEPS = 500
_BATCH = 128
_SILENT = NoProgress()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memorised:
    """What an attack needs to know about the controls, their references and their candidates.

    Attributes:
        logits: [rows, classes], each row by the control whose candidate it is.
        reference_logits: [references, rows, classes], by that control's references.
        y: [rows], the drawn labels.
        unit: [rows], dense; members first. A unit is new in every control.
        inside: [references, units], whether the reference of that number was trained on the unit.
        members: how many units, the first ones, a control was trained on.
        controls: how many controls were pooled.
    """

    logits: npt.NDArray[np.float32]
    reference_logits: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    inside: Flags
    members: int
    controls: int


def memorise(
    candidates: Examples,
    members: int,
    *,
    recipe: ReferenceRecipe,
    pooled: int = 0,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> Memorised:
    """Train controls and their references on randomly labelled candidates.

    A control takes as many units a side as the architecture has parameters (within `MOST_UNITS` and what there
    is): about what it could memorise (Cover 1965). More would only be learned in part, and show less. Where that
    is few, several controls with fresh labels are trained and their candidates pooled, so that chance is told from
    success.

    Args:
        candidates: members first, then non-members.
        members: how many units, the first ones, are members.
        recipe: architecture and number of references; the training settings are the control's own.
        pooled: how many units a side all controls must have together, at least.
        seeds: labels, choice of units, weights and orders.
        progress: told how training goes.
    """
    side = min(members, candidates.n_units - members, max(_LEAST_UNITS, parameter_count(recipe.architecture)))
    side = min(side, MOST_UNITS)
    controls = math.ceil(max(pooled, _POOLED_UNITS) / side)
    draws = [_draw(candidates, members, side, recipe.references, seeds.child(f"control.{k}")) for k in range(controls)]
    first_row = np.cumsum([0, *(len(draw.rows) for draw in draws)])
    rows = np.concatenate([draw.rows for draw in draws])
    y = np.concatenate([draw.y for draw in draws])
    sets = [
        first + np.flatnonzero(flags) for draw, first in zip(draws, first_row, strict=False) for flags in draw.flags
    ]
    size = max(map(len, sets))
    stack = train_stack(
        recipe.architecture,
        _training(recipe.architecture, size),
        x=candidates.x[rows],
        y=y,
        # The shorter sets hold some of their rows twice, so that no member is left out.
        sets=np.stack([np.resize(one, size) for one in sets]),
        seeds=seeds.child("control"),
        progress=progress,
    )
    models = recipe.references + 1
    answers = np.concatenate(
        [stack.part(k * models, (k + 1) * models).logits(candidates.x[draw.rows]) for k, draw in enumerate(draws)],
        axis=1,
    )
    # Members of all controls first, then all non-members.
    unit = np.concatenate(
        [
            np.where(draw.unit < side, draw.unit + k * side, draw.unit + (controls - 1 + k) * side)
            for k, draw in enumerate(draws)
        ]
    )
    inside = np.concatenate(
        [draw.inside[:, :side] for draw in draws] + [draw.inside[:, side:] for draw in draws], axis=1
    )
    return Memorised(
        logits=answers[0],
        reference_logits=answers[1:],
        y=y,
        unit=unit,
        inside=inside,
        members=controls * side,
        controls=controls,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memoriser:
    """One model that was made to memorise random labels, to be asked whatever an attack asks.

    Attributes:
        stack: holds the one model.
        examples: its candidates with the drawn labels; members' units first.
        members: how many units, the first ones, it was trained on.
    """

    stack: Stack
    examples: Examples
    members: int


def memoriser(candidates: Examples, members: int, *, recipe: ReferenceRecipe, seeds: Seeds) -> Memoriser:
    """Train one control alone, for attacks that need more than its answers on the candidates.

    Args:
        candidates: members first, then non-members.
        members: how many units, the first ones, are members.
        recipe: the architecture; training settings are the control's own.
        seeds: labels, choice of units, weights and orders.
    """
    side = min(members, candidates.n_units - members, MOST_UNITS)
    draw = _draw(candidates, members, side, recipe.references, seeds.child("memoriser"))
    inside = np.flatnonzero(draw.unit < side)
    x = candidates.x[draw.rows]
    stack = train_stack(
        recipe.architecture,
        _training(recipe.architecture, len(inside)),
        x=x,
        y=draw.y,
        sets=inside[None],
        seeds=seeds.child("memoriser"),
    )
    order = np.argsort(draw.unit, kind="stable")
    examples = Examples(
        x=x[order], y=draw.y[order], unit=draw.unit[order], features=candidates.features, classes=candidates.classes
    )
    return Memoriser(stack=stack, examples=examples, members=side)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draw:
    """One control's candidates: the first half of its units are members."""

    rows: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    inside: Flags

    @property
    def flags(self) -> Flags:
        """[1 + references, rows]: on which rows the control, then each reference is trained."""
        member = np.arange(self.inside.shape[1]) < self.inside.shape[1] // 2
        return np.concatenate([member[None], self.inside])[:, self.unit]


def _draw(candidates: Examples, members: int, side: int, references: int, seeds: Seeds) -> _Draw:
    chooser = seeds.numpy("units")
    inside = chooser.permutation(members)[:side]
    outside = members + chooser.permutation(candidates.n_units - members)[:side]
    place = np.full(candidates.n_units, -1, dtype=np.int64)
    place[np.concatenate([inside, outside])] = np.arange(2 * side)
    rows = np.flatnonzero(place[candidates.unit] >= 0)
    return _Draw(
        rows=rows,
        unit=place[candidates.unit[rows]],
        y=seeds.numpy("labels").integers(len(candidates.classes), size=len(rows)),
        inside=balanced_design(2 * side, references, generator=seeds.numpy("design")),
    )


def _training(architecture: Architecture, size: int) -> PlainConfig:
    """Some hundred steps of Adam without any regularisation: enough to memorise what there is."""
    batch = min(_BATCH, max(1, size // 2))
    epochs = max(1, round(_STEPS / math.ceil(size / batch)))
    return PlainConfig(batch=batch, epochs=epochs, learning_rate=3e-2 if isinstance(architecture, Logistic) else 1e-2)
