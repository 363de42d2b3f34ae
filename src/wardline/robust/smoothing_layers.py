"""Noise behind a linear first layer, drawn there directly.

If the first layer maps x to W x + b, then W (x + noise) + b with Gaussian noise of variance sigma squared on every
feature is Gaussian with mean W x + b and covariance sigma^2 W W^T. With fewer units than features it is cheaper to draw
that, and no approximation: the votes have the same distribution up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wardline.models.architecture import Logistic, Mlp
from wardline.models.torch_model import Layer, Network


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearStart:
    """A network cut behind its first layer.

    Attributes:
        layer: the first layer.
        rest: maps its outputs to logits.
        root: R with R R^T = W W^T: [units, units].
    """

    layer: nn.Linear
    rest: nn.Module
    root: Tensor

    @classmethod
    def of(cls, module: nn.Module) -> LinearStart | None:
        """The network cut in two, or None if it does not begin with a linear layer that has fewer units than inputs."""
        rest: nn.Module
        match module:
            case nn.Sequential():
                parts = [part for part in module if not isinstance(part, (nn.Identity, nn.Dropout))]
                parts = parts[1:] if parts and isinstance(parts[0], nn.Flatten) else parts
                first, rest = (parts[0], nn.Sequential(*parts[1:])) if parts else (None, nn.Sequential())
            case Network() if (
                isinstance(module.architecture, (Mlp, Logistic)) and not module.architecture.linear_inputs
            ):
                first, rest = next(iter(module.layers()))[1], _Behind(module)
            case _:
                return None
        if not isinstance(first, nn.Linear) or first.out_features >= first.in_features:
            return None
        weight = first.weight.detach().double()
        values, vectors = torch.linalg.eigh(weight @ weight.T)
        root = vectors * values.clamp_min(0.0).sqrt()
        return cls(layer=first, rest=rest, root=root.float())


class _Behind(nn.Module):
    """A network of the house without its first layer."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, outputs: Tensor) -> Tensor:
        """Logits from the first layer's outputs."""
        first = next(iter(self.network.layers()))[0]

        def apply(name: str, layer: Layer, value: Tensor) -> Tensor:
            result: Tensor = outputs if name == first else layer(value)
            return result

        return self.network.walk(outputs, apply)
