"""Layers of torch as data: a type of a short list and its settings, so that a front is read without running code."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wardline.core import UsageError
from wardline.he.compiler.activations import Square
from wardline.models.architecture import Cnn, ResNet
from wardline.models.torch_model import Network

MOST_NUMBERS = 1 << 26
"""Of what a layer gives for one row, and of all parameters together: no front that is read may make more."""

_LARGEST_SETTING = 1 << 20

_CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    "padding_mode",
)
_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_NORM = ("num_features", "eps", "affine", "track_running_stats")

SETTINGS: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features", "bias"),
    nn.Conv1d: _CONVOLUTION,
    nn.Conv2d: _CONVOLUTION,
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.InstanceNorm2d: _NORM,
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.LocalResponseNorm: ("size", "alpha", "beta", "k"),
    nn.MaxPool1d: _POOL,
    nn.MaxPool2d: _POOL,
    nn.AvgPool1d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool1d: ("output_size",),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.AdaptiveMaxPool1d: ("output_size",),
    nn.AdaptiveMaxPool2d: ("output_size",),
    nn.ZeroPad2d: ("padding",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Unflatten: ("dim", "unflattened_size"),
    nn.ReLU: (),
    nn.ReLU6: (),
    nn.LeakyReLU: ("negative_slope",),
    nn.PReLU: ("num_parameters",),
    nn.ELU: ("alpha",),
    nn.SELU: (),
    nn.GELU: ("approximate",),
    nn.SiLU: (),
    nn.Mish: (),
    nn.Softplus: ("beta", "threshold"),
    nn.Sigmoid: (),
    nn.Hardsigmoid: (),
    nn.Hardswish: (),
    nn.Hardtanh: ("min_val", "max_val"),
    nn.Tanh: (),
    nn.Softmax: ("dim",),
    Square: (),
}
"""Layers that a front may have, with the arguments that make them again."""

TYPES: Mapping[str, type[nn.Module]] = {one.__name__: one for one in SETTINGS}

_NOTHING = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity)  # in evaluation mode
_WORDS = frozenset({"zeros", "reflect", "replicate", "circular", "valid", "same", "none", "tanh"})

Leaf = tuple[str, nn.Module]


def leaves_of(model: nn.Sequential) -> tuple[tuple[Leaf, ...], tuple[int, ...]]:
    """The layers of a `Sequential` and of those in it, with dotted names; and where each top-level layer begins.

    Layers that do nothing in evaluation are left out.
    """
    leaves: list[Leaf] = []
    starts = []
    for name, layer in model.named_children():
        starts.append(len(leaves))
        leaves += _leaves(layer, name)
    return tuple(leaves), tuple(starts)


def in_a_line(network: Network) -> nn.Sequential:
    """A network of the house as a `Sequential` of ordinary layers, which share its numbers.

    Raises:
        UsageError: for an architecture with branches, whose layers do not follow each other.
    """
    architecture = network.architecture
    if isinstance(architecture, ResNet) or architecture.linear_inputs:
        raise UsageError(
            "a network with branches or linear inputs has no place to cut",
            where=type(architecture).__name__,
            hint="train a Cnn or Mlp without linear_inputs, or a Sequential",
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if isinstance(architecture, Cnn):
        layers["images"] = nn.Unflatten(1, architecture.shape)
    for name, layer in network.layers():
        if isinstance(layer, nn.Conv2d):
            layers |= {name: layer, f"{name}_pool": nn.MaxPool2d(2), f"{name}_tanh": nn.Tanh()}
            continue
        if "flat" not in layers and isinstance(architecture, Cnn):
            layers["flat"] = nn.Flatten()
        layers[name] = layer
        if name != "head":
            layers[f"{name}_relu"] = nn.ReLU()
    return nn.Sequential(layers).eval()


def _leaves(layer: nn.Module, name: str) -> Iterator[Leaf]:
    if isinstance(layer, nn.Sequential):
        for inner, one in layer.named_children():
            yield from _leaves(one, f"{name}.{inner}")
    elif not isinstance(layer, _NOTHING):
        yield name, layer


def settings_of(layer: nn.Module, name: str) -> dict[str, Any]:
    """The settings of a layer, as JSON values.

    Raises:
        UsageError: for a layer that is none of the list, or was changed by hooks, which no settings describe.
    """
    if type(layer) not in SETTINGS:
        raise UsageError(
            f"{type(layer).__name__} cannot be written into a front",
            where=name,
            hint=f"build the front of {', '.join(sorted(TYPES))}, or run this layer before the front",
        )
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise UsageError("a layer with hooks cannot be written into a front", where=name, hint="remove its hooks")
    found: dict[str, Any] = {}
    for one in SETTINGS[type(layer)]:
        value = getattr(layer, one)
        if one == "bias":
            value = value is not None
        found[one] = list(value) if isinstance(value, tuple) else value
    return found


def module_of(kind: object, settings: object) -> nn.Module:
    """The layer of these settings, without any numbers in it (on the device ``meta``), in evaluation mode.

    Raises:
        ValueError, TypeError, RuntimeError: for anything that `settings_of` would not give.
    """
    made = TYPES.get(kind) if isinstance(kind, str) else None
    if made is None:
        raise ValueError("a layer of a front is of no known kind")
    if not isinstance(settings, dict) or set(settings) != set(SETTINGS[made]):
        raise ValueError(f"the settings of a {made.__name__} are others")
    values = {name: _checked(value) for name, value in settings.items()}
    if made in (nn.BatchNorm1d, nn.BatchNorm2d) and values["track_running_stats"] is not True:
        raise ValueError("batch normalisation without running figures depends on the other rows of a batch")
    with torch.device("meta"):
        return made(**values).eval()


def parameters_of(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """All numbers of layers, by the place of the layer and their own name: parameters, running figures."""
    found: dict[str, Tensor] = {}
    for index, module in enumerate(modules):
        for name, value in module.state_dict().items():
            if value.is_floating_point():  # a count of batches takes no part in evaluation
                found[f"{index}.{name}"] = value
    return found


def shape_after(modules: Sequence[nn.Module], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what layers on the device ``meta`` give for one row; nothing is computed.

    Raises:
        ValueError, RuntimeError: for layers that do not fit, or give more numbers than is taken.
    """
    with torch.no_grad():
        x = torch.empty((2, *shape), device="meta")
        for module in modules:
            x = module(x)
            if x.numel() > 2 * MOST_NUMBERS:
                raise ValueError(f"a layer of the front gives more than {MOST_NUMBERS} numbers for a row")
    if x.ndim < 2 or len(x) != 2:
        raise ValueError("the front mixes rows")
    return tuple(x.shape[1:])


def _checked(value: object, *, inner: bool = False) -> Any:
    match value:
        case bool() | None:
            return value
        case int() if abs(value) <= _LARGEST_SETTING:
            return value
        case float() if math.isfinite(value):
            return value
        case str() if value in _WORDS:
            return value
        case list() if not inner and 1 <= len(value) <= 8:
            return tuple(_checked(one, inner=True) for one in value)
        case _:
            raise ValueError("a setting of a layer is out of range")
