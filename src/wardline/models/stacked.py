"""Many networks of one architecture side by side: answered with, and trained, all at once.

Parameters are stacked along a new first axis, and one optimiser trains them all. Nothing mixes across that axis: sets
of equal size give every model the same batch sizes, the loss of a model is the sum over its batch divided by the
batch's size, the losses add up, no norm is taken over all parameters, and no architecture here has batch
normalisation. So each model is the one that training it alone would have given, up to rounding.

Dense layers are one batched product, which spares the overhead of `torch.func.vmap`. Convolutions are one grouped
convolution with the channels innermost in memory: torch's maximum pooling takes a thirtieth of the time there (5.7
against 0.17 ms for 62 images of 8x8 and 256 channels), and pooling is what small convolutional networks spend most of
their time on. Residual networks go through `vmap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional

from wardline.core import NoProgress, Progress, Seeds
from wardline.models.architecture import Architecture, Cnn, ResNet, parameter_shapes
from wardline.models.torch_model import build, torch_generator

_SILENT = NoProgress()
_BYTES_AT_ONCE = 1 << 28
_ROWS_AT_ONCE = 2048


def stacked_logits(architecture: Architecture, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Logits of every model on its own rows.

    Args:
        architecture: of all models.
        parameters: each parameter with a first axis for the models.
        x: [models, rows, columns].

    Returns:
        [models, rows, classes]; each model's are those of the network `wardline.models.build` makes, up to rounding.
    """
    if isinstance(architecture, ResNet):
        network = build(architecture)
        answers: Tensor = vmap(lambda values, rows: functional_call(network, values, (rows,)))(dict(parameters), x)
        return answers
    hidden = x[..., : architecture.inputs]
    if isinstance(architecture, Cnn):
        hidden = _convolved(architecture, parameters, hidden)
    names = [name.removesuffix(".weight") for name in parameter_shapes(architecture) if name.endswith(".weight")]
    # Units before rows: so the gradient of a weight comes out in the weight's own layout, and nothing is copied.
    hidden = hidden.transpose(1, 2)
    for name in names:
        weight = parameters[f"{name}.weight"]
        if name == "wide":
            hidden = torch.baddbmm(hidden, weight, x[..., architecture.inputs :].transpose(1, 2))
        elif weight.ndim == 3:
            hidden = torch.baddbmm(parameters[f"{name}.bias"][..., None], weight, hidden)
            if name != "head":
                hidden = functional.relu(hidden, inplace=True)
    return hidden.transpose(1, 2)


def _convolved(architecture: Cnn, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """[models, rows, numbers of the last convolution], in the order in which a network flattens them."""
    models, rows = x.shape[:2]
    depth, height, width = architecture.shape
    # One image a row, the models' channels side by side.
    images = x.reshape(models, rows, depth, height, width).transpose(0, 1).flatten(1, 2)
    hidden = images.contiguous(memory_format=torch.channels_last)
    for index in range(len(architecture.channels)):
        weight, bias = (parameters[f"conv{index}.{kind}"] for kind in ("weight", "bias"))
        hidden = functional.conv2d(hidden, weight.flatten(0, 1), bias.flatten(), padding=1, groups=models)
        hidden = torch.tanh(functional.max_pool2d(hidden, 2))
    return hidden.reshape(rows, models, -1).transpose(0, 1)


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


class AdamSettings(Protocol):
    """How networks are trained: Adam with decoupled weight decay, its rate falling linearly to 0."""

    @property
    def batch(self) -> int:
        """Rows in a step, at least 1."""

    @property
    def epochs(self) -> int:
        """Passes over the data, at least 1."""

    @property
    def learning_rate(self) -> float:
        """At the first step."""

    @property
    def weight_decay(self) -> float:
        """At least 0."""


def train_stack(
    architecture: Architecture,
    settings: AdamSettings,
    *,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    sets: npt.NDArray[np.int64],
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> Stack:
    """Train one model on each set of rows, as many at a time as fit into memory.

    Args:
        architecture: of all models.
        settings: of Adam.
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
    batch = min(settings.batch, sets.shape[1])
    group = max(1, min(len(sets), _BYTES_AT_ONCE // (_row_bytes(architecture) * batch)))
    progress.start("reference models", math.ceil(len(sets) / group) * settings.epochs)
    groups = [
        _train_group(
            architecture,
            settings,
            x=torch.from_numpy(x),
            y=torch.from_numpy(y),
            sets=sets[start : start + group],
            start=start,
            seeds=seeds,
            on_epoch=partial(_advance, progress, done * settings.epochs),
        )
        for done, start in enumerate(range(0, len(sets), group))
    ]
    progress.finish()
    return Stack(
        architecture=architecture,
        parameters={name: torch.cat([one[name] for one in groups]) for name in groups[0]},
    )


def _advance(progress: Progress, before: int, epochs: int) -> None:
    progress.advance(before + epochs)


def _train_group(
    architecture: Architecture,
    settings: AdamSettings,
    *,
    x: Tensor,
    y: Tensor,
    sets: npt.NDArray[np.int64],
    start: int,
    seeds: Seeds,
    on_epoch: Callable[[int], None],
) -> dict[str, Tensor]:
    models, size = sets.shape
    names = [f"reference.{start + index}" for index in range(models)]
    parameters = _initial(architecture, [torch_generator(seeds, f"{name}.init") for name in names])
    orders = [seeds.numpy(f"{name}.order") for name in names]
    # Adam works number by number, so one optimiser over the stack is as many optimisers as there are models.
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    batches = math.ceil(size / settings.batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=batches * settings.epochs)
    for epoch in range(settings.epochs):
        shuffled = np.stack([rows[order.permutation(size)] for rows, order in zip(sets, orders, strict=True)])
        for chosen in np.array_split(shuffled, batches, axis=1):
            index = torch.from_numpy(chosen.ravel())
            rows = x.index_select(0, index).reshape(models, -1, x.shape[1])
            logits = stacked_logits(architecture, parameters, rows)
            # The sum over all models of each one's mean loss.
            loss = functional.cross_entropy(logits.flatten(0, 1), y.index_select(0, index), reduction="sum")
            optimizer.zero_grad(set_to_none=True)
            (loss / chosen.shape[1]).backward()
            optimizer.step()
            schedule.step()
        on_epoch(epoch + 1)
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
