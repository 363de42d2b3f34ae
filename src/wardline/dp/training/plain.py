"""Training without protection: the twin that shows what privacy costs and that the attacks work.

What this makes is not private and is never released; the run keeps its figures and drops its parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from wardline.core import NoProgress, Progress, Seeds, UsageError
from wardline.core.checks import at_least
from wardline.data import Examples
from wardline.dp.training._fit import check_fit
from wardline.dp.training.config import check_learning_rate
from wardline.models import Architecture, Cnn, TrainedModel, build, torch_generator

_SILENT = NoProgress()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainConfig:
    """The parameters of training without protection; `default_plain_config` derives them.

    Attributes:
        batch: rows in a step, at least 1.
        epochs: passes over the data, at least 1.
        learning_rate: Adam's, at the first step; it falls linearly to 0. Above 0, at most 1e30.
        weight_decay: decoupled weight decay (Loshchilov and Hutter 2019), at least 0.

    Raises:
        ValueError: for a figure out of range.
    """

    batch: int
    epochs: int
    learning_rate: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 1)
        at_least("epochs", self.epochs, 1)
        check_learning_rate(self.learning_rate)
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError("weight_decay must be a finite number of at least 0")


def default_plain_config(*, n_rows: int, architecture: Architecture) -> PlainConfig:
    """Settings that reach a good accuracy without a search.

    About 1,500 steps of Adam, 10 to 100 epochs. Mean accuracy (lowest) over splits with 25 % held out: Adult
    (24,421 rows, 3 splits) `Mlp(hidden=(64,))` 0.853 (0.850), `Logistic` 0.843 (0.839); breast cancer (427 rows,
    6 splits) `Mlp(hidden=(32,))` 0.971 (0.958), `Logistic` 0.967 (0.951).

    Args:
        n_rows: rows to train on, at least 1.
        architecture: what is trained.

    Raises:
        ValueError: if there are no rows.
    """
    at_least("n_rows", n_rows, 1)
    batch = max(1, min(256, n_rows // 8))
    steps = 1500
    epochs = min(100, max(10, round(steps * batch / n_rows)))
    return PlainConfig(batch=batch, epochs=epochs, learning_rate=1e-3 if isinstance(architecture, Cnn) else 1e-2)


def train_plain(
    architecture: Architecture,
    examples: Examples,
    *,
    config: PlainConfig,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> TrainedModel:
    """Train a classifier with Adam and without any protection.

    Args:
        architecture: what to train.
        examples: the rows.
        config: how; see `default_plain_config`.
        seeds: initial weights (stream ``plain.init``) and order of rows (stream ``plain.order``).
        progress: told of every epoch.

    Raises:
        ValueError: if examples and architecture do not fit together.
        DataError: if there are no rows.
        UsageError: if the parameters overflow.
    """
    check_fit(architecture, examples)
    network = build(architecture, generator=torch_generator(seeds, "plain.init"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    order = seeds.numpy("plain.order")
    batches = math.ceil(len(examples) / config.batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=batches * config.epochs)
    progress.start("training without protection", config.epochs)
    for epoch in range(config.epochs):
        for rows in np.array_split(order.permutation(len(examples)), batches):
            loss = functional.cross_entropy(
                network(torch.from_numpy(examples.x[rows])), torch.from_numpy(examples.y[rows])
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        progress.advance(epoch + 1)
    if not all(bool(value.isfinite().all()) for value in network.parameters()):
        raise UsageError(
            "training diverged: the parameters are no longer finite", hint="choose a smaller learning_rate"
        )
    progress.finish()
    return TrainedModel(
        architecture=architecture,
        parameters={name: value.detach().numpy() for name, value in network.named_parameters()},
        features=examples.features,
        classes=examples.classes,
    )
