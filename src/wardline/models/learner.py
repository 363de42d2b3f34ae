"""How a model is made from training data, as a function: what attacks and defences that train anew are given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from wardline.core import Seeds
from wardline.core.checks import at_least, positive
from wardline.models.architecture import Architecture
from wardline.models.predictor import Inputs, Predictor
from wardline.models.threads import one_thread
from wardline.models.torch_model import build, torch_generator
from wardline.models.torch_predictor import TorchPredictor

Labels: TypeAlias = npt.NDArray[np.int64]
"""Class indices, one a row."""


class Learner(Protocol):
    """Makes a model from labelled rows. Equal rows in equal order and equal seeds give equal models."""

    def __call__(self, x: Inputs, y: Labels, *, seeds: Seeds) -> Predictor:
        """The model of these rows; both arrays are left as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model in the middle of its training.

    Attributes:
        predictor: the model as it was then.
        learning_rate: of the steps that led to it.
    """

    predictor: TorchPredictor
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLearner:
    """Trains one of Wardline's networks with Adam; inputs of any shape are flattened.

    Attributes:
        architecture: what is trained; it reads as many columns as an input has numbers.
        epochs: passes over the data, at least 1.
        batch: rows in a step, at least 1.
        learning_rate: Adam's, at the first step; it falls linearly to 0.

    Raises:
        ValueError: for a figure out of range.
    """

    architecture: Architecture
    epochs: int = 10
    batch: int = 64
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 1)
        at_least("batch", self.batch, 1)
        positive("learning_rate", self.learning_rate)

    def __call__(self, x: Inputs, y: Labels, *, seeds: Seeds) -> TorchPredictor:
        """The trained network, which takes inputs of the shape it was trained on and gives logits."""
        *_, last = self._epochs(x, y, seeds)
        return last.predictor

    def checkpoints(self, x: Inputs, y: Labels, *, seeds: Seeds, count: int = 5) -> tuple[Checkpoint, ...]:
        """The network after `count` epochs evenly spread over the training, the last one included.

        Args:
            x: inputs [rows, ...], float32.
            y: their labels.
            seeds: initial weights (stream ``learner.init``) and order of rows (stream ``learner.order``).
            count: how many, from 1 to `epochs`.

        Raises:
            ValueError: for a count out of range.
        """
        if not 1 <= count <= self.epochs:
            raise ValueError(f"count must lie between 1 and {self.epochs}, not {count}")
        wanted = {math.ceil(self.epochs * (index + 1) / count) for index in range(count)}
        every = enumerate(self._epochs(x, y, seeds), start=1)
        return tuple(checkpoint for epoch, checkpoint in every if epoch in wanted)

    def _epochs(self, x: Inputs, y: Labels, seeds: Seeds) -> Iterator[Checkpoint]:
        if len(x) != len(y) or not len(y):
            raise ValueError("there must be as many labels as inputs, at least one")
        # A copy each epoch is cheap beside the epoch, and a network that is trained on must not change the earlier one.
        network = build(self.architecture, generator=torch_generator(seeds, "learner.init"))
        module = nn.Sequential(nn.Flatten(), network)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        order = seeds.numpy("learner.order")
        rows_x, rows_y = torch.from_numpy(np.array(x, dtype=np.float32)), torch.from_numpy(np.array(y, dtype=np.int64))
        batches = math.ceil(len(y) / self.batch)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=batches * self.epochs)
        with one_thread():
            for _ in range(self.epochs):
                rate = float(schedule.get_last_lr()[0])
                for rows in np.array_split(order.permutation(len(y)), batches):
                    index = torch.from_numpy(rows)
                    loss = functional.cross_entropy(module(rows_x[index]), rows_y[index])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
                predictor = TorchPredictor(module, classes=self.architecture.classes)
                yield Checkpoint(predictor=predictor, learning_rate=rate)
