"""Reference ("shadow") models: what a model looks like with and without each example, trained all at once.

The models are stacked along a new axis, trained by one optimiser and run side by side (`stacked_logits`).
Nothing mixes across that axis: sets of equal size give every model the same batch sizes, the loss of a model is
the sum over its batch divided by the batch's size, the losses add up, no norm is taken over all parameters, and
no architecture here has batch normalisation. So each model is the one that training it alone would have given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from wardline.attacks.membership.stacked import stacked_logits
from wardline.core import NoProgress, Progress, Seeds
from wardline.core.checks import at_least
from wardline.dp import PlainConfig
from wardline.models import Architecture, Cnn, build, parameter_shapes, torch_generator

_SILENT = NoProgress()
_BYTES_AT_ONCE = 1 << 28
_ROWS_AT_ONCE = 2048

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRecipe:
    """How reference models are trained: like the unprotected twin, on sets that the attacker chooses.

    Attributes:
        architecture: the target's.
        training: Adam's settings, the unprotected twin's.
        references: how many models, even and at least 4, so that each example is in two and out of two.
        max_rows: the most rows in one reference's set, at least 2.

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
    them. Where the sets' sizes differ, or exceed `max_rows`, rows at random are left out.

    Args:
        inside_rows: [references, rows], whether a candidate row belongs to the reference.
        companions: indices of further rows, counted on from the candidates.
        max_rows: the most rows of one set.
        generator: where the order comes from.

    Returns:
        [references, size], indices of rows.
    """
    wanted = int(inside_rows.sum(axis=1).min()) + len(companions)
    size = min(max_rows, wanted)
    sets = []
    for inside in inside_rows:
        candidates = generator.permutation(np.flatnonzero(inside))
        sets.append(np.concatenate([candidates, generator.permutation(companions)])[:size])
    return np.stack(sets).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Models of one architecture, side by side.

    Attributes:
        architecture: theirs.
        parameters: each parameter with a first axis for the models.
    """

    architecture: Architecture
    parameters: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def part(self, start: int, stop: int) -> Stack:
        """The models from `start` up to, not including, `stop`."""
        parameters = {name: value[start:stop] for name, value in self.parameters.items()}
        return Stack(architecture=self.architecture, parameters=parameters)

    def logits(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits of every model: [models, rows, classes]."""
        pieces = []
        at_once = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (_row_bytes(self.architecture) * len(self))))
        with torch.no_grad():
            for start in range(0, len(x), at_once):
                rows = torch.from_numpy(x[start : start + at_once]).expand(len(self), -1, -1)
                pieces.append(stacked_logits(self.architecture, self.parameters, rows).numpy())
        return np.concatenate(pieces, axis=1)


def train_stack(
    recipe: ReferenceRecipe,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    sets: Rows,
    *,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> Stack:
    """Train one model on each set of rows, as many at a time as fit into memory.

    Args:
        recipe: how.
        x: [rows, columns].
        y: [rows], class indices.
        sets: [models, size], indices of rows.
        seeds: model i takes its initial weights from the stream ``reference.i.init``, its order of rows from
            ``reference.i.order``, so that it does not depend on how many others there are.
        progress: told of every epoch of every group.

    Raises:
        ValueError: if there is no set, or sets are empty.
    """
    if sets.ndim != 2 or 0 in sets.shape:
        raise ValueError("sets is a table with a row for each model and at least one column")
    batch = min(recipe.training.batch, sets.shape[1])
    group = max(1, min(len(sets), _BYTES_AT_ONCE // (_row_bytes(recipe.architecture) * batch)))
    progress.start("reference models", math.ceil(len(sets) / group) * recipe.training.epochs)
    groups = [
        _train_group(
            recipe,
            torch.from_numpy(x),
            torch.from_numpy(y),
            sets[start : start + group],
            start=start,
            seeds=seeds,
            progress=progress,
        )
        for start in range(0, len(sets), group)
    ]
    progress.finish()
    return Stack(
        architecture=recipe.architecture,
        parameters={name: torch.cat([one[name] for one in groups]) for name in groups[0]},
    )


def _train_group(
    recipe: ReferenceRecipe, x: Tensor, y: Tensor, sets: Rows, *, start: int, seeds: Seeds, progress: Progress
) -> dict[str, Tensor]:
    models, size = sets.shape
    training = recipe.training
    names = [f"reference.{start + index}" for index in range(models)]
    parameters = _initial(recipe.architecture, [torch_generator(seeds, f"{name}.init") for name in names])
    orders = [seeds.numpy(f"{name}.order") for name in names]
    # Adam works number by number, so one optimiser over the stack is as many optimisers as there are models.
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    batches = math.ceil(size / training.batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=batches * training.epochs)
    for epoch in range(training.epochs):
        shuffled = np.stack([rows[order.permutation(size)] for rows, order in zip(sets, orders, strict=True)])
        for chosen in np.array_split(shuffled, batches, axis=1):
            index = torch.from_numpy(chosen.ravel())
            rows = x.index_select(0, index).reshape(models, -1, x.shape[1])
            logits = stacked_logits(recipe.architecture, parameters, rows)
            # The sum over all models of each one's mean loss.
            loss = functional.cross_entropy(logits.flatten(0, 1), y.index_select(0, index), reduction="sum")
            optimizer.zero_grad(set_to_none=True)
            (loss / chosen.shape[1]).backward()
            optimizer.step()
            schedule.step()
        progress.advance(start // models * training.epochs + epoch + 1)
    return {name: value.detach() for name, value in parameters.items()}


def _initial(architecture: Architecture, generators: list[torch.Generator]) -> dict[str, Tensor]:
    networks = [build(architecture, generator=generator) for generator in generators]
    return {
        name: torch.stack([network.get_parameter(name).detach() for network in networks]).requires_grad_()
        for name in parameter_shapes(architecture)
    }


def _row_bytes(architecture: Architecture) -> int:
    """About how much memory one row of one model takes in a training step: inputs, activations, derivatives."""
    numbers = architecture.inputs
    height, width = getattr(architecture, "shape", (0, 1, 1))[1:]
    for name, shape in parameter_shapes(architecture).items():
        if len(shape) == 4:
            numbers += shape[0] * height * width
            if isinstance(architecture, Cnn):  # a residual network shrinks its images late: an upper bound will do
                height, width = height // 2, width // 2
        elif name.endswith(".bias") and not name.startswith("conv"):
            numbers += shape[0]
    return 4 * 4 * numbers
