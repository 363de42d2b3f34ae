"""Networks in torch: built from an architecture, initialised from a named stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wardline.core import Seeds
from wardline.models.architecture import (
    NORM_GROUP,
    Architecture,
    Cnn,
    Logistic,
    ResNet,
    columns,
    parameter_shapes,
    residual_blocks,
)

Layer = nn.Linear | nn.Conv2d
Apply = Callable[[str, Layer, Tensor], Tensor]


def torch_generator(seeds: Seeds, name: str) -> torch.Generator:
    """A torch generator for the stream of this name, from its start."""
    return torch.Generator().manual_seed(seeds.integer(name))


class Network(nn.ModuleDict):
    """The network of an architecture, its layers by name.

    But for a `ResNet`, every parameter belongs to a linear layer or a convolution, each used once. That is what
    per-example gradients need: `walk` lets a caller stand between a layer's input and its output without hooks and
    without touching torch.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(_layers(architecture))
        self.architecture = architecture
        self.to_empty(device="cpu")

    def forward(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows classes"]:
        """Logits of rows of data, or of images [rows, channels, height, width], which are rows once flattened."""
        x = x.flatten(1)
        if isinstance(self.architecture, ResNet):
            return self._residual(self.architecture, x)
        return self.walk(x, _apply)

    def walk(self, x: Float[Tensor, "rows columns"], apply: Apply) -> Float[Tensor, "rows classes"]:
        """Logits, where `apply(name, layer, input)` computes the output of every layer that has parameters.

        Raises:
            TypeError: for a `ResNet`, whose layers do not follow each other in one line.
        """
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

    def _residual(self, architecture: ResNet, x: Tensor) -> Tensor:
        images = x[:, : architecture.inputs].reshape(-1, *architecture.shape)
        hidden: Tensor = self["stem"](images * 4.0 - 2.0)
        for block in residual_blocks(architecture):
            ahead = functional.relu(self[f"{block.name}_norm0"](hidden))
            if f"{block.name}_shortcut" in self:
                hidden = self[f"{block.name}_shortcut"](ahead)
            ahead = functional.relu(self[f"{block.name}_norm1"](self[f"{block.name}_conv0"](ahead)))
            hidden = hidden + self[f"{block.name}_conv1"](ahead)
        logits: Tensor = self["head"](self["norm"](functional.relu(hidden).mean((2, 3))))
        return logits + self["wide"](x[:, architecture.inputs :]) if architecture.linear_inputs else logits

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """The layers that have parameters, in the order in which they are applied.

        Raises:
            TypeError: for a `ResNet`.
        """
        if isinstance(self.architecture, ResNet):
            raise TypeError("a ResNet has no per-example gradients here: its layers are not each met once, in one line")
        for name, layer in self.items():
            if not isinstance(layer, (nn.Linear, nn.Conv2d)):
                raise TypeError(f"{type(layer).__name__} has no per-example gradient here")
            yield name, layer


def build(architecture: Architecture, *, generator: torch.Generator | None = None) -> Network:
    """A fresh network: logits of shape [rows, classes], trained with cross-entropy, without batch normalisation.

    Weights are uniform within 1 / sqrt(inputs of the layer), as torch initialises linear layers; logistic
    regression and linear inputs start at zero. A `ResNet` starts with convolutions uniform within
    sqrt(6 / inputs of the layer) (He et al. 2015), with normalisations that scale by one, and with a head of zeros.

    Args:
        architecture: what to build.
        generator: where the initial weights come from; None takes one seeded by the operating system.
            torch's global generator is neither read nor changed.
    """
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    network = Network(architecture)
    if isinstance(architecture, ResNet):
        _start_residual(network, generator)
        return network
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


def _start_residual(network: Network, generator: torch.Generator) -> None:
    with torch.no_grad():
        for layer in network.values():
            match layer:
                case nn.Conv2d():
                    bound = math.sqrt(6.0 / math.prod(layer.weight.shape[1:]))
                    layer.weight.uniform_(-bound, bound, generator=generator)
                case nn.GroupNorm() | nn.LayerNorm():
                    layer.weight.fill_(1.0)
                    layer.bias.zero_()
                case _:
                    for parameter in layer.parameters():
                        parameter.zero_()


def _residual_layers(architecture: ResNet) -> dict[str, nn.Module]:
    """Layers of a residual network, without initial values."""
    strides = {"stem": architecture.stride}
    for block in residual_blocks(architecture):
        strides |= {f"{block.name}_shortcut": block.stride, f"{block.name}_conv0": block.stride}
    shapes = parameter_shapes(architecture)
    layers: dict[str, nn.Module] = {}
    for key, shape in shapes.items():
        name, kind = key.split(".")
        match kind, len(shape):
            case "weight", 4:
                outputs, inputs, size, _ = shape
                layers[name] = nn.Conv2d(
                    inputs, outputs, size, strides.get(name, 1), size // 2, bias=False, device="meta"
                )
            case "weight", 2:
                layers[name] = nn.Linear(shape[1], shape[0], bias=f"{name}.bias" in shapes, device="meta")
            case "weight", 1 if name == "norm":
                layers[name] = nn.LayerNorm(shape[0], device="meta")
            case "weight", 1:
                layers[name] = nn.GroupNorm(shape[0] // NORM_GROUP, shape[0], device="meta")
    return layers


def _layers(architecture: Architecture) -> dict[str, nn.Module]:
    """Layers without initial values: `build` fills them, and torch's global generator stays untouched."""
    if isinstance(architecture, ResNet):
        return _residual_layers(architecture)
    shapes = parameter_shapes(architecture)
    layers: dict[str, nn.Module] = {}
    for key, shape in shapes.items():
        name, kind = key.split(".")
        if kind == "weight" and len(shape) == 4:
            layers[name] = nn.Conv2d(shape[1], shape[0], 3, padding=1, device="meta")
        elif kind == "weight":
            layers[name] = nn.Linear(shape[1], shape[0], bias=f"{name}.bias" in shapes, device="meta")
    return layers
