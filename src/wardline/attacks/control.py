"""The memorising control: an unprotected model that has something to memorise, attacked like the target.

An unprotected model that generalises well may leak too little for an attack to be seen to work, above all on
small or easy data. Then nothing tells a safe model from a blunt attack. So the same architecture is trained on
rows of the same data whose labels were replaced by fair draws: all it can learn there is to remember them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.attacks.shadow import Flags, ReferenceRecipe, balanced_design, train_stack
from wardline.core import NoProgress, Progress, Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig
from wardline.models import parameter_count

MOST_UNITS = 1000
"""The most units on either side of the control."""

_LEAST_UNITS = 40
_STEPS = 1000
_BATCH = 128
_LEARNING_RATE = 5e-3
_SILENT = NoProgress()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemorisedCandidates:
    """What an attack needs to know about the control and its candidates.

    Attributes:
        logits: [rows, classes], of the control.
        reference_logits: [models, rows, classes].
        y: [rows], the drawn labels.
        unit: [rows], dense.
        inside: [models, units], which reference was trained on which unit.
        members: how many units, the first ones, the control was trained on.
    """

    logits: npt.NDArray[np.float32]
    reference_logits: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    inside: Flags
    members: int


def memorise(
    candidates: Examples, members: int, *, recipe: ReferenceRecipe, seeds: Seeds, progress: Progress = _SILENT
) -> MemorisedCandidates:
    """Train the control and its references on randomly labelled candidates.

    It takes as many units a side as the architecture has parameters (within `MOST_UNITS` and what there is):
    about what it could memorise (Cover 1965). More would only be learned in part, and show less.

    Args:
        candidates: members first, then non-members.
        members: how many units, the first ones, are members.
        recipe: architecture and number of references; the training settings are the control's own.
        seeds: labels, choice of units, weights and orders.
        progress: told how training goes.
    """
    side = min(members, candidates.n_units - members, MOST_UNITS)
    side = min(side, max(_LEAST_UNITS, parameter_count(recipe.architecture)))
    chooser = seeds.numpy("control.units")
    chosen = np.concatenate(
        [chooser.permutation(members)[:side], members + chooser.permutation(candidates.n_units - members)[:side]]
    )
    place = np.full(candidates.n_units, -1, dtype=np.int64)
    place[chosen] = np.arange(2 * side)
    rows = np.flatnonzero(place[candidates.unit] >= 0)
    unit = place[candidates.unit[rows]]
    y = seeds.numpy("control.labels").integers(len(candidates.classes), size=len(rows))
    inside = balanced_design(2 * side, recipe.references, generator=seeds.numpy("control.design"))
    inside = np.concatenate([(np.arange(2 * side) < side)[None], inside])
    recipe = dataclasses.replace(recipe, training=_training(inside[:, unit]))
    sets = _padded_sets(inside[:, unit])
    stack = train_stack(recipe, candidates.x[rows], y, sets, seeds=seeds.child("control"), progress=progress)
    logits = stack.logits(candidates.x[rows])
    return MemorisedCandidates(
        logits=logits[0], reference_logits=logits[1:], y=y, unit=unit, inside=inside[1:], members=side
    )


def _training(inside_rows: Flags) -> PlainConfig:
    """About a thousand steps of Adam without any regularisation: enough to memorise what there is."""
    size = int(inside_rows.sum(axis=1).max())
    batch = min(_BATCH, max(1, size // 2))
    epochs = max(1, round(_STEPS / math.ceil(size / batch)))
    return PlainConfig(batch=batch, epochs=epochs, learning_rate=_LEARNING_RATE)


def _padded_sets(inside_rows: Flags) -> npt.NDArray[np.int64]:
    """Sets of equal size, the shorter ones with some of their rows twice: no member is left out."""
    rows = [np.flatnonzero(inside) for inside in inside_rows]
    size = max(map(len, rows))
    return np.stack([np.resize(one, size) for one in rows])
