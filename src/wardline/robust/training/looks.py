"""Looks at rows kept out of training: clean, under one step, under several."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wardline.core import Seeds
from wardline.models import torch_generator
from wardline.robust.training.ascent import ascend, frozen
from wardline.robust.training.config import RobustConfig, Search
from wardline.robust.training.objectives import logits_of
from wardline.robust.training.record import Look

_ROWS_AT_ONCE = 256


class Looker:
    """Looks at the same rows again and again, with the same draws, so that looks can be compared.

    Args:
        config: the ball, its bounds, and how hard to attack.
        x: the rows.
        y: their classes.
        seeds: draws of starts and of noise (stream ``robust.look``).
    """

    def __init__(self, config: RobustConfig, x: Tensor, y: Tensor, *, seeds: Seeds) -> None:
        self._config = config
        starts = range(0, len(x), _ROWS_AT_ONCE)
        self._pieces = [(x[start : start + _ROWS_AT_ONCE], y[start : start + _ROWS_AT_ONCE]) for start in starts]
        self._rows = len(y)
        self._seeds = seeds
        radius = config.ball.radius
        steps = config.checks.steps
        self._several = Search(steps=steps, step=min(1.0, 2.5 / steps) * radius)
        self._one = Search(steps=1, step=radius, random_start=False)

    def __call__(self, network: nn.Module, *, epoch: float, loss: float) -> Look:
        """What is found of this network."""
        generator = torch_generator(self._seeds, "robust.look")
        found = _Found()
        with frozen(network):
            for x, y in self._pieces:
                right = self._right(network, x, y)
                found.clean += int(right.sum())
                found.one_step += int((right & self._withstands(network, x, y, self._one, generator)).sum())
                if self._config.method == "noise":
                    noise = torch.empty_like(x).normal_(generator=generator)
                    found.robust += int(self._right(network, x.add(noise, alpha=self._config.strength), y).sum())
                else:
                    found.robust += int((right & self._withstands(network, x, y, self._several, generator)).sum())
        return Look(
            epoch=epoch,
            loss=loss,
            clean=found.clean,
            one_step=found.one_step,
            robust=found.robust,
            rows=self._rows,
        )

    def _withstands(
        self, network: nn.Module, x: Tensor, y: Tensor, search: Search, generator: torch.Generator
    ) -> Tensor:
        worst = ascend(
            lambda point: functional.cross_entropy(self._logits(network, point), y, reduction="sum"),
            x,
            ball=self._config.ball,
            search=search,
            bounds=self._config.bounds,
            generator=generator,
        )
        return self._right(network, worst, y)

    def _right(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self._logits(network, x).argmax(dim=1) == y

    def _logits(self, network: nn.Module, x: Tensor) -> Tensor:
        return logits_of(network, x, self._config.fit.precision)


@dataclass(slots=True)
class _Found:
    clean: int = 0
    one_step: int = 0
    robust: int = 0
