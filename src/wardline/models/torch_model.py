"""Networks in torch: built from an architecture, initialised from a named stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wardline.core import Seeds
from wardline.models.architecture import Architecture, Cnn, Logistic, columns, parameter_shapes

Layer = nn.Linear | nn.Conv2d
Apply = Callable[[str, Layer, Tensor], Tensor]


def torch_generator(seeds: Seeds, name: str) -> torch.Generator:
    """A torch generator for the stream of this name, from its start."""
    return torch.Generator().manual_seed(seeds.integer(name))


class Network(nn.ModuleDict):
    """A network whose every parameter belongs to a linear layer or a convolution, each used once.

    That is what per-example gradients need: `walk` lets a caller stand between a layer's input and its
    output without hooks and without touching torch.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(_layers(architecture))
        self.architecture = architecture
        self.to_empty(device="cpu")

    def forward(self, x: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows classes"]:
        """Logits."""
        return self.walk(x, _apply)

    def walk(self, x: Float[Tensor, "rows columns"], apply: Apply) -> Float[Tensor, "rows classes"]:
        """Logits, where `apply(name, layer, input)` computes the output of every layer that has parameters."""
        inputs = self.architecture.inputs
        hidden = x[:, :inputs]
        if isinstance(self.architecture, Cnn):
            hidden = hidden.reshape(-1, *self.architecture.shape)
        for name, layer in self.layers():
            match layer:
                case nn.Conv2d():
                    # tanh rises, so it may as well follow the maximum, where there are a quarter as many numbers.
                    hidden = torch.tanh(functional.max_pool2d(apply(name, layer, hidden), 2))
                case _ if name == "head":
                    hidden = apply(name, layer, hidden.flatten(1))
                case _ if name == "wide":
                    hidden = hidden + apply(name, layer, x[:, inputs:])
                case _:
                    hidden = functional.relu(apply(name, layer, hidden.flatten(1)))
        return hidden

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """The layers that have parameters, in the order in which they are applied."""
        for name, layer in self.items():
            if not isinstance(layer, (nn.Linear, nn.Conv2d)):
                raise TypeError(f"{type(layer).__name__} has no per-example gradient here")
            yield name, layer


def build(architecture: Architecture, *, generator: torch.Generator | None = None) -> Network:
    """A fresh network: logits of shape [rows, classes], trained with cross-entropy, without batch normalisation.

    Weights are uniform within 1 / sqrt(inputs of the layer), as torch initialises linear layers; logistic
    regression and linear inputs start at zero.

    Args:
        architecture: what to build.
        generator: where the initial weights come from; None takes one seeded by the operating system.
            torch's global generator is neither read nor changed.
    """
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    network = Network(architecture)
    with torch.no_grad():
        for name, layer in network.layers():
            bound = 1.0 / math.sqrt(math.prod(layer.weight.shape[1:]))
            for parameter in layer.parameters():
                if name == "wide" or isinstance(architecture, Logistic):
                    parameter.zero_()
                else:
                    parameter.uniform_(-bound, bound, generator=generator)
    return network


def check_columns(architecture: Architecture, found: int) -> None:
    """Refuse rows whose number of columns is not the architecture's.

    Raises:
        ValueError: naming both numbers.
    """
    if found != columns(architecture):
        raise ValueError(f"rows have {found} columns, the architecture reads {columns(architecture)}")


def _apply(name: str, layer: Layer, value: Tensor) -> Tensor:
    result: Tensor = layer(value)
    return result


def _layers(architecture: Architecture) -> dict[str, nn.Module]:
    """Layers without initial values: `build` fills them, and torch's global generator stays untouched."""
    shapes = parameter_shapes(architecture)
    layers: dict[str, nn.Module] = {}
    for key, shape in shapes.items():
        name, kind = key.split(".")
        if kind == "weight" and len(shape) == 4:
            layers[name] = nn.Conv2d(shape[1], shape[0], 3, padding=1, device="meta")
        elif kind == "weight":
            layers[name] = nn.Linear(shape[1], shape[0], bias=f"{name}.bias" in shapes, device="meta")
    return layers
