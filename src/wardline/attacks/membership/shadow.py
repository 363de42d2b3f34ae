"""Reference ("shadow") models: what a model looks like with and without each example.

This says which rows each of them sees; `wardline.models.train_stack` trains them side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.core.checks import at_least
from wardline.dp import PlainConfig
from wardline.models.architecture import Architecture

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRecipe:
    """How reference models are trained: like the unprotected twin, on sets that the attacker chooses.

    Attributes:
        architecture: the target's.
        training: Adam's settings, the unprotected twin's.
        references: how many models, even and at least 4, so that each example is in two and out of two.
        max_rows: the most rows in one reference's set, at least 2; more where its candidates alone are more.

    Raises:
        ValueError: for a number out of range.
    """

    architecture: Architecture
    training: PlainConfig
    references: int = 16
    max_rows: int = 10_000

    def __post_init__(self) -> None:
        at_least("references", self.references, 4)
        at_least("max_rows", self.max_rows, 2)
        if self.references % 2:
            raise ValueError("references must be even: each example is in one half of them")


def balanced_design(units: int, references: int, *, generator: np.random.Generator) -> Flags:
    """Which unit is in which reference: each in exactly half, sets equal in size but for one unit.

    References come in pairs that split the units at random.

    Args:
        units: how many there are, at least 2.
        references: an even number of models.
        generator: where the splits come from.

    Returns:
        inside: [references, units].
    """
    at_least("units", units, 2)
    inside = np.zeros((references, units), dtype=np.bool_)
    for first in range(0, references, 2):
        half = generator.permutation(units)[: units // 2]
        inside[first, half] = True
        inside[first + 1] = ~inside[first]
    return inside


def equal_sets(inside_rows: Flags, companions: Rows, *, max_rows: int, generator: np.random.Generator) -> Rows:
    """Sets of equal size: each reference's candidate rows, filled up with companions.

    Companions are rows that are no candidates; an attacker who knows all training data but one unit's has
    them. Where there are more than `max_rows`, companions at random are left out. Candidates never are: scores count
    them as trained on. Where companions do not make up for sets of different sizes, the smaller ones hold some of
    their rows twice.

    Args:
        inside_rows: [references, rows], whether a candidate row belongs to the reference.
        companions: indices of further rows, counted on from the candidates.
        max_rows: the most rows of one set, if its candidates are not more.
        generator: where the order comes from.

    Returns:
        [references, size], indices of rows.
    """
    counts = inside_rows.sum(axis=1)
    size = max(int(counts.max()), min(max_rows, int(counts.min()) + len(companions)))
    sets = []
    for inside in inside_rows:
        candidates = generator.permutation(np.flatnonzero(inside))
        sets.append(np.resize(np.concatenate([candidates, generator.permutation(companions)]), size))
    return np.stack(sets).astype(np.int64)
