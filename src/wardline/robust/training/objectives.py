"""What a step of robust training minimises: one loss for each method."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from wardline.robust.training.ascent import ascend, frozen
from wardline.robust.training.config import Precision, RobustConfig


def logits_of(network: nn.Module, x: Tensor, precision: Precision) -> Tensor:
    """Logits in 32 bits, from products in this precision."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits: Tensor = network(x)
    return logits.float()


class Objective:
    """The loss of a batch under a configuration.

    Args:
        network: what is trained; gradients of its parameters flow through the result alone, not through the search.
        config: the method and its settings.
        generator: draws starts and noise.
    """

    def __init__(self, network: nn.Module, config: RobustConfig, *, generator: torch.Generator) -> None:
        self._network = network
        self._config = config
        self._generator = generator

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of these rows."""
        match self._config.method:
            case "plain":
                return functional.cross_entropy(self._logits(x), y)
            case "noise":
                noise = torch.empty_like(x).normal_(generator=self._generator)
                # Not cut to the bounds: what is certified later is a prediction on inputs with the whole noise.
                return functional.cross_entropy(self._logits(x.add(noise, alpha=self._config.strength)), y)
            case "fgsm-rs" | "pgd":
                worst = self._search(x, lambda point: functional.cross_entropy(self._logits(point), y, reduction="sum"))
                return functional.cross_entropy(self._logits(worst), y)
            case "trades":
                return self._trades(x, y)
            case _:
                assert_never(self._config.method)

    def _trades(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy, and how far the worst answer nearby is from the answer (Zhang et al. 2019, equation 5)."""
        with torch.no_grad():
            answer = self._logits(x).softmax(dim=1)
        worst = self._search(
            x,
            lambda point: functional.kl_div(self._logits(point).log_softmax(dim=1), answer, reduction="sum"),
        )
        logits, at_worst = self._logits(torch.cat((x, worst))).chunk(2)
        apart = functional.kl_div(at_worst.log_softmax(dim=1), logits.softmax(dim=1), reduction="batchmean")
        return functional.cross_entropy(logits, y) + self._config.strength * apart

    def _logits(self, x: Tensor) -> Tensor:
        return logits_of(self._network, x, self._config.fit.precision)

    def _search(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        with frozen(self._network):
            return ascend(
                loss,
                x,
                ball=self._config.ball,
                search=self._config.search,
                bounds=self._config.bounds,
                generator=self._generator,
            )
