"""Torch networks, and the house's own trained models, as programs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from wardline.core import UsageError
from wardline.he.compiler.activations import PolynomialActivation, Square
from wardline.he.compiler.convolution import average_pool, convolve, spread
from wardline.he.compiler.friendly import kind_of
from wardline.he.compiler.layers import Activation, Affine, Diagonal, Layer, Polynomial
from wardline.he.compiler.program import Gives, Meaning, Program
from wardline.models.architecture import Cnn, Logistic, Mlp, ResNet
from wardline.models.torch_model import Network
from wardline.models.trained import TrainedModel

_POOLING = "use average pooling, or he.friendly, which swaps it and fine-tunes"


def read_torch(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    gives: Gives = "logits",
    classes: Sequence[str] = (),
    features: Sequence[str] = (),
) -> Program:
    """The program of a torch `Sequential`, or of a network of `wardline.models`.

    It is read in evaluation mode: batch normalisation takes its running figures, dropout does nothing.

    Args:
        model: of Linear, Conv2d, AvgPool2d, Flatten, BatchNorm, activations, `Square`, `PolynomialActivation` and other
            `Sequential`s; it stays as it is.
        input_shape: of one row: numbers of a table, or channels, height and width.
        gives: what the outputs are.
        classes: names; numbers from 0 on where none are given.
        features: names of the numbers of a flattened row, or none.

    Returns:
        A program whose outputs are the module's, computed in 64-bit numbers.

    Raises:
        UsageError: naming the layer that cannot be computed on ciphertexts, and what to do.
        ValueError: for shapes, classes or features that do not fit.
    """
    shape = tuple(int(size) for size in input_shape)
    reader = _Reader(shape)
    if isinstance(model, Network):
        reader.read_network(model)
    elif isinstance(model, nn.Sequential):
        reader.read(model, "")
    else:
        reader.read_one(model, "model")
    if not reader.layers:
        raise UsageError("the model has no layer that computes anything", hint="give a trained nn.Sequential")
    return Program(
        input_shape=shape,
        layers=tuple(reader.layers),
        meaning=Meaning.usual(gives, reader.layers[-1].outputs, classes),
        features=tuple(features),
    )


def read_trained(model: TrainedModel) -> Program:
    """The program of one of the house's own models.

    Raises:
        UsageError: for an architecture that cannot be computed on ciphertexts.
    """
    network = model.module()
    width = len(model.features)
    return read_torch(network, (width,), classes=model.classes, features=model.features)


class _Reader:
    """Layers so far, and the shape of what comes out of them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.layers: list[Layer] = []
        self._shape = shape

    def read(self, model: nn.Sequential, place: str) -> None:
        for name, layer in model.named_children():
            where = f"{place}{name}"
            if isinstance(layer, nn.Sequential):
                self.read(layer, f"{where}.")
            else:
                self.read_one(layer, where)

    def read_network(self, model: Network) -> None:
        architecture = model.architecture
        if isinstance(architecture, Cnn):
            raise UsageError(
                "a Cnn of the house pools by maxima, which no ciphertext can compute", where="conv0", hint=_POOLING
            )
        if isinstance(architecture, ResNet):
            raise UsageError(
                "a ResNet normalises each image by its own figures and adds branches, which is not compiled",
                where="stem",
                hint="train a Sequential of convolutions, squares and dense layers",
            )
        self._shape = (math.prod(self._shape),)
        if isinstance(architecture, Logistic) and architecture.linear_inputs:
            with torch.no_grad():
                head, wide = model.get_submodule("head"), model.get_submodule("wide")
                joined = torch.cat([head.get_parameter("weight"), wide.get_parameter("weight")], dim=1)
            self._affine(joined, head.get_parameter("bias"), "head")
            return
        if isinstance(architecture, Mlp) and architecture.linear_inputs:
            raise UsageError(
                "inputs that reach the logits past the hidden layers are not compiled",
                where="wide",
                hint="train the model without linear_inputs",
            )
        for name, layer in model.layers():
            self.read_one(layer, name)
            if name != "head":
                self._add(Activation(kind="relu", units=self.layers[-1].outputs, name=f"{name}.relu"))

    def read_one(self, layer: nn.Module, name: str) -> None:
        kind = kind_of(layer)
        if kind is not None:
            self._add(Activation(kind=kind, units=math.prod(self._shape), name=name))
            return
        match layer:
            case nn.Dropout() | nn.Identity():
                return
            case nn.Flatten():
                if layer.start_dim != 1 or layer.end_dim != -1:
                    raise UsageError(
                        "only a Flatten of whole rows is read", where=name, hint="use nn.Flatten() as it stands"
                    )
                self._shape = (math.prod(self._shape),)
            case nn.Linear():
                if len(self._shape) != 1:
                    raise UsageError(
                        "a dense layer meets images, of which it would see one line at a time",
                        where=name,
                        hint="put nn.Flatten() in front of it",
                    )
                self._affine(layer.weight, layer.bias, name)
            case nn.Conv2d():
                self._convolution(layer, name)
            case nn.AvgPool2d():
                self._pool(layer, name)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                self._normalisation(layer, name)
            case Square():
                self._add(Polynomial(coefficients=(0.0, 0.0, 1.0), units=math.prod(self._shape), name=name))
            case PolynomialActivation():
                coefficients = tuple(float(one) for one in layer.coefficients.detach())
                self._add(Polynomial(coefficients=coefficients, units=math.prod(self._shape), name=name))
            case nn.MaxPool2d() | nn.MaxPool1d() | nn.AdaptiveMaxPool2d():
                raise UsageError("no ciphertext can compute a maximum", where=name, hint=_POOLING)
            case _:
                raise UsageError(
                    f"{type(layer).__name__} is not compiled",
                    where=name,
                    hint="build the model of Linear, Conv2d, AvgPool2d, Flatten, BatchNorm and activations, or split it"
                    " and run the first part in the clear",
                )

    def _add(self, layer: Layer) -> None:
        self.layers.append(layer)

    def _images(self, name: str) -> tuple[int, int, int]:
        if len(self._shape) != 3:
            raise UsageError(
                f"{name} needs images, and rows of shape {self._shape} come in",
                where=name,
                hint="give input_shape as channels, height, width",
            )
        return self._shape[0], self._shape[1], self._shape[2]

    def _affine(self, weight: torch.Tensor, bias: torch.Tensor | None, name: str) -> None:
        weights = weight.detach().double().numpy()
        offset = np.zeros(len(weights)) if bias is None else bias.detach().double().numpy()
        self._add(Affine(weights=weights, offset=offset, name=name))
        self._shape = (len(weights),)

    def _convolution(self, layer: nn.Conv2d, name: str) -> None:
        if layer.padding_mode != "zeros":
            raise UsageError(f"padding by {layer.padding_mode} is not compiled", where=name, hint="pad with zeros")
        kernel = layer.weight.detach().double().numpy()
        dilation = (int(layer.dilation[0]), int(layer.dilation[1]))
        found = convolve(
            kernel,
            None if layer.bias is None else layer.bias.detach().double().numpy(),
            input_shape=self._images(name),
            stride=(int(layer.stride[0]), int(layer.stride[1])),
            padding=_torch_padding(layer, (int(kernel.shape[2]), int(kernel.shape[3])), dilation),
            dilation=dilation,
            groups=layer.groups,
            name=name,
        )
        self._add(found)
        self._shape = found.output_shape

    def _pool(self, layer: nn.AvgPool2d, name: str) -> None:
        window, stride, padding = (
            (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
            for value in (layer.kernel_size, layer.stride, layer.padding)
        )
        if layer.ceil_mode or layer.divisor_override is not None or (any(padding) and not layer.count_include_pad):
            raise UsageError(
                "average pooling that rounds up, leaves padding out of the count or has a divisor of its own is not"
                " compiled",
                where=name,
                hint="use nn.AvgPool2d with its defaults",
            )
        found = average_pool(self._images(name), window, stride=stride, padding=(*padding, *padding), name=name)
        self._add(found)
        self._shape = found.output_shape

    def _normalisation(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, name: str) -> None:
        if layer.running_mean is None or layer.running_var is None:
            raise UsageError(
                "batch normalisation without running figures depends on the other rows of a batch",
                where=name,
                hint="train it with track_running_stats=True",
            )
        places = math.prod(self._shape[1:])
        factors = 1.0 / np.sqrt(layer.running_var.double().numpy() + layer.eps)
        if layer.affine:
            factors = factors * layer.weight.detach().double().numpy()
        offset = -layer.running_mean.double().numpy() * factors
        if layer.affine:
            offset = offset + layer.bias.detach().double().numpy()
        self._add(Diagonal(factors=spread(factors, places), offset=spread(offset, places), name=name))


def _torch_padding(layer: nn.Conv2d, window: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    if layer.padding == "valid":
        return 0, 0, 0, 0
    if layer.padding == "same":
        # As torch has it: what is odd goes behind.
        total = [step * (taps - 1) for taps, step in zip(window, dilation, strict=True)]
        return total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2
    down, across = int(layer.padding[0]), int(layer.padding[1])
    return down, across, down, across
