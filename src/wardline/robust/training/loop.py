"""Robust training: weights fitted to the worst inputs nearby, and released at their best."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wardline.core import DataError, NoProgress, Progress, Seeds, UsageError
from wardline.data import Examples
from wardline.models import Network, TrainedModel, build, torch_generator
from wardline.models.architecture import Architecture, columns
from wardline.robust.training.augment import augmented
from wardline.robust.training.config import Fit, RobustConfig
from wardline.robust.training.looks import Looker
from wardline.robust.training.objectives import Objective
from wardline.robust.training.record import Ending, Look, RobustTraining

_SILENT = NoProgress()


def train_robust(
    architecture: Architecture,
    data: Examples,
    *,
    config: RobustConfig,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> tuple[TrainedModel, RobustTraining]:
    """Train a classifier to withstand small changes of its inputs.

    Some rows are kept out of training and attacked again and again; the weights that withstood most are released (for
    ``plain``: those that were right most often). For ``fgsm-rs``, and for any other method that searches, the guard
    compares one step with several at every look, and gives up where training has begun to hide gradients rather than
    to withstand changes.

    The same seeds give the same weights on one thread of the same machine with the same libraries.

    Args:
        architecture: what to train.
        data: the rows. With bounds in the configuration, every value must lie within them.
        config: how; see `default_robust_config`.
        seeds: rows kept out (stream ``robust.held``), initial weights (``robust.init``), order of rows
            (``robust.order``), starts, noise and images moved (``robust.draws``), and looks (``robust.look``).
        progress: told of every step, with the last look.

    Returns:
        The model, and the record of its training.

    Raises:
        ValueError: if rows, configuration and architecture do not fit together.
        DataError: if there are too few rows, or values out of bounds.
        UsageError: if the parameters overflow, or catastrophic overfitting was there at the first look.

    Guarantee:
        None. Robust accuracy that training reports is an upper bound found by a weak attack; what a model withstands is
        measured by attacks that know it, on rows that chose nothing. Certificates come from smoothing, not from here.

    References:
        Madry et al. 2018, section 2; Zhang et al. 2019, section 4; Wong et al. 2020, sections 4 and 5; Rice et al.
        2020, section 3 (the best checkpoint rather than the last); Cohen et al. 2019, section 3.3.
    """
    _check_fit(architecture, data, config)
    return _Training(architecture, data, config, seeds).run(progress)


@dataclass(slots=True)
class _Best:
    """The weights that have looked best so far."""

    score: int = -1
    look: int = -1
    weights: list[Tensor] = field(default_factory=list)


class _Training:
    def __init__(self, architecture: Architecture, data: Examples, config: RobustConfig, seeds: Seeds) -> None:
        self._data = data
        self._config = config
        self._seeds = seeds
        shuffled = seeds.numpy("robust.held").permutation(len(data))
        held, self._rows = np.sort(shuffled[: config.checks.rows]), np.sort(shuffled[config.checks.rows :])
        self._network = build(architecture, generator=torch_generator(seeds, "robust.init"))
        self._released = build(architecture)
        self._copy(list(self._network.parameters()))
        self._look = Looker(config, torch.from_numpy(data.x[held]), torch.from_numpy(data.y[held]), seeds=seeds)
        self._draws = torch_generator(seeds, "robust.draws")
        self._optimizer = _optimizer(self._network, config.fit)
        self._objective = Objective(self._network, config, generator=self._draws)
        self._batches = math.ceil(len(self._rows) / config.fit.batch)
        self._step = 0
        self._looks: list[Look] = []
        self._best = _Best()

    def run(self, progress: Progress) -> tuple[TrainedModel, RobustTraining]:
        began = time.process_time()
        ending = self._fit(progress)
        if self._best.look < 0:
            raise UsageError(
                "training overfitted to its own search before anything was learned",
                hint="take more steps (method pgd), a smaller radius, or look more often (each_epoch)",
            )
        self._copy(self._best.weights)
        model = TrainedModel(
            architecture=self._network.architecture,
            parameters={name: value.detach().numpy() for name, value in self._released.named_parameters()},
            features=self._data.features,
            classes=self._data.classes,
        )
        record = RobustTraining(
            config=self._config,
            seed=self._seeds.root,
            rows=len(self._rows),
            looks=tuple(self._looks),
            chosen=self._best.look,
            ending=ending,
            cpu_seconds=time.process_time() - began,
        )
        return model, record

    def _fit(self, progress: Progress) -> Ending:
        """Fit until the end, or until the looks say that it is no use."""
        config = self._config
        order = self._seeds.numpy("robust.order")
        # Looks fall on the last steps of equal parts of an epoch.
        ends = {
            math.ceil(self._batches * (part + 1) / config.checks.each_epoch) for part in range(config.checks.each_epoch)
        }
        total = self._batches * config.fit.epochs
        progress.start(f"robust training ({config.method})", total)
        losses: list[float] = []
        detail = ""
        for _ in range(config.fit.epochs):
            parts = np.array_split(order.permutation(self._rows), self._batches)
            for index, rows in enumerate(parts, start=1):
                losses.append(self._update(rows))
                if index in ends:
                    look = self._look_now(float(np.mean(losses)))
                    losses.clear()
                    detail = f"clean {look.clean}/{look.rows}, robust {look.robust}/{look.rows}"
                    ending = self._judge(look)
                    if ending is not None:
                        progress.finish(ending)
                        return ending
                progress.advance(self._step, detail)
        progress.finish(detail)
        return "complete"

    def _update(self, rows: npt.NDArray[np.int64]) -> float:
        """One step of the optimiser; the loss before it."""
        fit = self._config.fit
        rate = fit.learning_rate * _rate((self._step + 0.5) / (self._batches * fit.epochs), fit.rise)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        x, y = torch.from_numpy(self._data.x[rows]), torch.from_numpy(self._data.y[rows])
        if self._config.augmentation is not None:
            x = augmented(x, self._config.augmentation, generator=self._draws)
        loss = self._objective(x, y)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if fit.gradient_norm:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), fit.gradient_norm)
        self._optimizer.step()
        self._step += 1
        self._follow(fit.average)
        return float(loss.detach())

    def _follow(self, average: float) -> None:
        """Let the released weights follow: all the way at first, when what is behind is not worth remembering."""
        keep = min(average, self._step / (self._step + 10.0))
        with torch.no_grad():
            for kept, new in zip(self._released.parameters(), self._network.parameters(), strict=True):
                kept.lerp_(new, 1.0 - keep)

    def _look_now(self, loss: float) -> Look:
        if not all(bool(value.isfinite().all()) for value in self._network.parameters()):
            raise UsageError(
                "training diverged: the parameters are no longer finite", hint="choose a smaller learning_rate"
            )
        look = self._look(self._released, epoch=self._step / self._batches, loss=loss)
        self._looks.append(look)
        return look

    def _judge(self, look: Look) -> Ending | None:
        """Whether to go on (None); remembers the weights if they are the best so far."""
        searched = self._config.method not in ("plain", "noise")
        if searched and look.collapsed():
            return "overfitting"
        score = look.clean if self._config.method == "plain" else look.robust
        if score >= self._best.score:  # of equals the later ones, which have seen more
            weights = [value.detach().clone() for value in self._released.parameters()]
            self._best = _Best(score, len(self._looks) - 1, weights)
        patience = self._config.checks.patience
        if patience is not None and len(self._looks) - 1 - self._best.look >= patience:
            return "patience"
        return None

    def _copy(self, weights: list[Tensor]) -> None:
        with torch.no_grad():
            for value, new in zip(self._released.parameters(), weights, strict=True):
                value.copy_(new)


def _rate(done: float, rise: float) -> float:
    """The learning rate's share of the highest, when this share of training is done: a triangle (Smith 2018)."""
    return done / rise if done < rise else (1.0 - done) / (1.0 - rise)


def _optimizer(network: Network, fit: Fit) -> torch.optim.AdamW:
    decayed = [value for value in network.parameters() if value.ndim > 1]
    others = [value for value in network.parameters() if value.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": fit.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=fit.learning_rate,
        betas=(0.9, 0.95),
    )


def _check_fit(architecture: Architecture, data: Examples, config: RobustConfig) -> None:
    if data.x.shape[1] != columns(architecture):
        raise ValueError(f"rows have {data.x.shape[1]} columns, the architecture reads {columns(architecture)}")
    if len(data.classes) != architecture.classes:
        raise ValueError(f"the data has {len(data.classes)} classes, the architecture {architecture.classes}")
    if config.augmentation is not None and math.prod(config.augmentation.shape) != data.x.shape[1]:
        raise ValueError("the images of the augmentation are not the rows of the data")
    if len(data) <= config.checks.rows:
        raise DataError(
            f"{len(data)} rows are too few to keep {config.checks.rows} out of training",
            hint="give more rows, or keep fewer out",
        )
    if config.bounds is not None and not (data.x.min() >= config.bounds[0] and data.x.max() <= config.bounds[1]):
        raise DataError(
            f"rows hold values outside of the bounds {config.bounds[0]:g} to {config.bounds[1]:g}",
            hint="scale the rows into the bounds, or set bounds to what an input may be",
        )
