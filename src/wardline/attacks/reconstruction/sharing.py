"""Gradients that somebody shares, what was done to them before, and the data of attacks on them.

Nothing here knows why gradients are shared. Whoever has some, a training protocol or a simulation, is a `Sharer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from wardline.core import Seeds
from wardline.core.checks import positive
from wardline.models import torch_generator
from wardline.models.predictor import Inputs

Gradients: TypeAlias = Mapping[str, npt.NDArray[np.float32]]
"""The gradient of a batch's mean cross-entropy, by the parameters' names."""

_GUARD = 1e-12  # keeps a gradient of zero from being divided by its norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Defence:
    """What was done to gradients before they were shared. The adversary knows it: a defence is no secret.

    Attributes:
        clip_norm: each example's gradient is scaled down to this Euclidean norm; None leaves them as they are.
        noise: standard deviation of the Gaussian noise on every entry of the batch's mean gradient, at least 0.
        kept: the share of entries with the largest magnitudes that is shared, in (0, 1]; the others are sent as 0.

    Raises:
        ValueError: for a number out of range.
    """

    clip_norm: float | None = None
    noise: float = 0.0
    kept: float = 1.0

    def __post_init__(self) -> None:
        if self.clip_norm is not None:
            positive("clip_norm", self.clip_norm)
        if not 0 <= self.noise < np.inf:
            raise ValueError("noise must be a finite number of at least 0")
        if not 0 < self.kept <= 1:
            raise ValueError("kept must be above 0 and at most 1")

    @classmethod
    def dp_sgd(cls, *, clip_norm: float, noise_multiplier: float, batch: int) -> Defence:
        """What DP-SGD does to a batch: clipping, and noise of `noise_multiplier` times `clip_norm` on the sum."""
        return cls(clip_norm=clip_norm, noise=noise_multiplier * clip_norm / batch)

    @property
    def none(self) -> bool:
        """Whether gradients are shared as they are."""
        return self == Defence()


class Sharer(Protocol):
    """Somebody who computes gradients on private rows and shares them."""

    @property
    def defence(self) -> Defence:
        """What is done to gradients first."""

    def share(self, x: Inputs, y: npt.NDArray[np.int64]) -> Gradients:
        """The gradient of one batch as others see it."""


class Simulation:
    """Shares gradients of a torch module's mean cross-entropy. It tries defences out; it protects nobody.

    Args:
        module: maps [rows, *shape] to logits; it is not changed.
        defence: what is done to gradients first.
        seeds: of the noise. Reproducible noise is no protection: a real sharer draws it from `SecureRandom`.
    """

    def __init__(self, module: nn.Module, *, defence: Defence | None = None, seeds: Seeds) -> None:
        self.defence = Defence() if defence is None else defence
        self._module = module
        self._parameters = {name: value.detach() for name, value in module.named_parameters()}
        self._generator = torch_generator(seeds, "shared-gradients.noise")

    def share(self, x: Inputs, y: npt.NDArray[np.int64]) -> Gradients:
        """The gradient of one batch after clipping, noise and pruning, in this order."""

        def loss(parameters: dict[str, torch.Tensor], row: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(functional_call(self._module, parameters, (row[None],)), label[None])

        each = vmap(grad(loss), in_dims=(None, 0, 0))(
            self._parameters, torch.from_numpy(np.array(x, dtype=np.float32)), torch.from_numpy(np.array(y))
        )
        flat = torch.cat([value.flatten(1) for value in each.values()], dim=1)
        if self.defence.clip_norm is not None:
            norms = flat.norm(dim=1, keepdim=True)
            flat = flat * (self.defence.clip_norm / (norms + _GUARD)).clamp_max(1.0)
        mean = flat.mean(dim=0)
        if self.defence.noise:
            mean = mean + self.defence.noise * torch.empty_like(mean).normal_(generator=self._generator)
        if self.defence.kept < 1:
            count = max(1, round(self.defence.kept * len(mean)))
            least = mean.abs().topk(count).values[-1]
            mean = torch.where(mean.abs() >= least, mean, 0.0)
        parts = torch.split(mean, [value.numel() for value in self._parameters.values()])
        return {
            name: part.reshape(value.shape).numpy()
            for (name, value), part in zip(self._parameters.items(), parts, strict=True)
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradientData:
    """Shared gradients, and the private batches that they came from.

    The adversary sees `gradients` and `defence`; `x` and `y` serve to judge. Attacks that cannot infer the classes of
    a batch of several rows are given them, and say so.

    Attributes:
        gradients: of each batch.
        x: the batches' rows, float32 [batches, rows, *shape].
        y: their classes, int64 [batches, rows].
        defence: what was done to the gradients.
        prior: public inputs of the same kind, [rows, *shape], whose mean is the guess that needs no gradient; None
            takes the middle of the range.

    Raises:
        ValueError: if these do not fit together.
    """

    gradients: tuple[Gradients, ...] = field(repr=False)
    x: Inputs = field(repr=False)
    y: npt.NDArray[np.int64] = field(repr=False)
    defence: Defence
    prior: Inputs | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.gradients or self.x.shape[:2] != self.y.shape or len(self.x) != len(self.gradients):
            raise ValueError("there must be a gradient, rows and classes for every batch, at least one batch")
        if self.prior is not None and self.prior.shape[1:] != self.x.shape[2:]:
            raise ValueError("prior inputs must have the shape of the rows")
        if any(set(one) != set(self.gradients[0]) for one in self.gradients):
            raise ValueError("every batch must share a gradient of the same parameters")

    @classmethod
    def collect(
        cls, sharer: Sharer, x: Inputs, y: npt.NDArray[np.int64], *, batch: int = 1, prior: Inputs | None = None
    ) -> GradientData:
        """Let somebody share the gradients of rows, a batch at a time; rows that fill no batch are left out.

        Raises:
            ValueError: if the rows do not fill one batch.
        """
        count = len(x) // batch if batch >= 1 else 0
        if not count:
            raise ValueError(f"{len(x)} rows do not fill one batch of {batch}")
        rows = x[: count * batch].reshape(count, batch, *x.shape[1:])
        classes = y[: count * batch].reshape(count, batch)
        shared = tuple(sharer.share(one, labels) for one, labels in zip(rows, classes, strict=True))
        return cls(gradients=shared, x=rows, y=classes, defence=sharer.defence, prior=prior)
