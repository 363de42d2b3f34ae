"""Whose membership is asked about, and reference models that were or were not trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.attacks.membership.scores import Array, scaled_confidence
from wardline.attacks.membership.shadow import Flags, ReferenceRecipe, balanced_design, equal_sets
from wardline.core import NoProgress, Progress, Seeds
from wardline.core.checks import at_least
from wardline.data import Examples
from wardline.models import train_stack

_SILENT = NoProgress()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """A sample of members and non-members, whose units an attack tells apart.

    Attributes:
        examples: rows of the candidates, members' first.
        members: how many units, the first ones, are members.
        companions: all rows of members that are no candidates.
    """

    examples: Examples
    members: int
    companions: Examples

    def accompanied(self, others: Examples) -> Candidates:
        """The same candidates, with further companions."""
        joined = join(self.companions, others)
        return Candidates(examples=self.examples, members=self.members, companions=joined)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """Scaled confidences of reference models on the candidates.

    Attributes:
        phi: [models, rows].
        inside: [models, units], whether a model was trained on the unit.
        rows: how many rows each model was trained on.
    """

    phi: Array
    inside: Flags
    rows: int


def pick_candidates(members: Examples, non_members: Examples, *, most: int, seeds: Seeds) -> Candidates:
    """Sample at most so many units of each side.

    Args:
        members: examples that the target was trained on.
        non_members: examples that it was not trained on.
        most: the most units of a side, at least 2.
        seeds: streams ``membership.members`` and ``membership.non_members``.

    Raises:
        ValueError: if a side has fewer than two units, or the sides have other columns or classes.
    """
    if members.features != non_members.features or members.classes != non_members.classes:
        raise ValueError("members and non-members must have the same columns and classes")
    at_least("members", members.n_units, 2)
    at_least("non-members", non_members.n_units, 2)
    sides = []
    for name, side in (("members", members), ("non_members", non_members)):
        order = seeds.numpy(f"membership.{name}").permutation(side.n_units)
        chosen = np.zeros(side.n_units, dtype=np.bool_)
        chosen[order[:most]] = True
        sides.append(chosen[side.unit])
    inside, outside = (
        side.take(np.flatnonzero(rows)) for side, rows in zip((members, non_members), sides, strict=True)
    )
    companions = members.take(np.flatnonzero(~sides[0]))
    return Candidates(examples=join(inside, outside), members=inside.n_units, companions=companions)


def join(first: Examples, second: Examples) -> Examples:
    """Rows of both, the first's before the second's; no unit of one is a unit of the other."""
    return Examples(
        x=np.concatenate([first.x, second.x]),
        y=np.concatenate([first.y, second.y]),
        unit=np.concatenate([first.unit, first.n_units + second.unit]),
        features=first.features,
        classes=first.classes,
    )


def online_references(
    candidates: Candidates, recipe: ReferenceRecipe, *, seeds: Seeds, progress: Progress = _SILENT
) -> Answers:
    """References that were each trained on a random half of the candidates, and on companions.

    Args:
        candidates: whom the attack asks about.
        recipe: how references are trained.
        seeds: streams ``membership.design`` and ``membership.sets``, and the child ``membership``.
        progress: told how training goes.
    """
    examples, companions = candidates.examples, candidates.companions
    inside = balanced_design(examples.n_units, recipe.references, generator=seeds.numpy("membership.design"))
    sets = equal_sets(
        inside[:, examples.unit],
        len(examples) + np.arange(len(companions)),
        max_rows=recipe.max_rows,
        generator=seeds.numpy("membership.sets"),
    )
    stack = train_stack(
        recipe.architecture,
        recipe.training,
        x=np.concatenate([examples.x, companions.x]),
        y=np.concatenate([examples.y, companions.y]),
        sets=sets,
        seeds=seeds.child("membership"),
        progress=progress,
    )
    phi = scaled_confidence(stack.logits(examples.x), examples.y)
    return Answers(phi=phi, inside=inside, rows=int(sets.shape[1]))


def offline_references(
    candidates: Candidates,
    population: Examples,
    recipe: ReferenceRecipe,
    *,
    size: int,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> Answers:
    """References that were trained on none of the candidates: they can be made before anybody knows whom to ask about.

    Args:
        candidates: whom the attack asks about.
        population: rows of the same kind that are no candidates.
        recipe: how references are trained.
        size: rows of the target's training set; a reference takes as many, but at most half of the population.
        seeds: stream ``membership.population``, and the child ``membership.offline``.
        progress: told how training goes.

    Raises:
        ValueError: if the population has fewer than four rows, or other columns or classes.
    """
    examples = candidates.examples
    if population.features != examples.features or population.classes != examples.classes:
        raise ValueError("the population must have the candidates' columns and classes")
    at_least("rows of the population", len(population), 4)
    rows = min(recipe.max_rows, size, len(population) // 2)
    generator = seeds.numpy("membership.population")
    sets: npt.NDArray[np.int64] = np.stack(
        [generator.permutation(len(population))[:rows] for _ in range(recipe.references)]
    )
    stack = train_stack(
        recipe.architecture,
        recipe.training,
        x=population.x,
        y=population.y,
        sets=sets,
        seeds=seeds.child("membership.offline"),
        progress=progress,
    )
    return Answers(
        phi=scaled_confidence(stack.logits(examples.x), examples.y),
        inside=np.zeros((recipe.references, examples.n_units), dtype=np.bool_),
        rows=rows,
    )
