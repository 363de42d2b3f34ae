"""What a unit's gradient by a layer is made of, and the norms and clipped sums that follow from it.

The gradient of one row by a layer's weight is the outer product of d, the loss's derivative by the layer's output,
and a, the layer's input; for a convolution it is a sum of such products over the places of the image, and for a
person a sum over rows as well. So one forward and one backward pass that keep a and d, and compute no weight's
gradient, are enough ("book-keeping").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.nn import functional

from wardline.models import Cnn, Network

Squares = npt.NDArray[np.float64]

LARGEST = 1e12
"""Squared norms up to here leave 32-bit arithmetic far from its ends.

What vanishes when it is squared has a norm below 1e-16, so the norm of a product is missed by less than 1e-10.
"""

_ROWS_STEP = 16
_NUMBERS_AT_ONCE = 1 << 22  # of inputs repeated for every place that reads them, or of gradients written out


@dataclass(slots=True)
class Met:
    """What one layer met: its inputs, and the loss's derivatives by its outputs.

    Attributes:
        a: [units, inputs] where every unit met the weight once, else [units, inputs, places].
        d: [units, outputs], or [units, outputs, places].
        has_bias: whether the layer has one.
        bounded: whether the inputs are known to be small: checked elsewhere, or behind tanh.
        written: every unit's gradient by the weight, [units, outputs, inputs], if it is written out.
    """

    a: Tensor
    d: Tensor
    has_bias: bool
    bounded: bool
    written: Tensor | None = None

    def double(self) -> Met:
        """The same in 64 bits."""
        return Met(self.a.double(), self.d.double(), self.has_bias, bounded=True)

    def kept(self, keep: Tensor) -> Met:
        """The same with zeros for the units that are not kept."""

        def blank(value: Tensor) -> Tensor:
            return torch.where(keep.view(-1, *(1,) * (value.ndim - 1)), value, 0.0)

        return Met(blank(self.a), blank(self.d), self.has_bias, self.bounded)

    def squares(self) -> Squares | None:
        """Squared norm of every unit's gradient by weight and bias, or None if the inputs are too large to tell."""
        weight: Squares
        if self.a.ndim == 2:
            inputs = squares(self.a)
            if not (self.bounded or inputs.max() <= LARGEST):
                return None
            return (inputs + 1.0 if self.has_bias else inputs) * squares(self.d)
        if not (self.bounded or float(self.a.abs().max()) <= math.sqrt(LARGEST)):
            return None
        if writes_out(self.a.shape[1], self.d.shape[1], self.a.shape[2]):
            self.written = self.d @ self.a.mT
            weight = squares(self.written)
        else:
            # The sum of outer products has the squared norm sum_ij <a_i, a_j> <d_i, d_j>.
            products = (self.a.mT @ self.a).double() * (self.d.mT @ self.d).double()
            weight = products.sum((1, 2)).clamp_(min=0.0).numpy()
        return weight + squares(self.d.sum(2)) if self.has_bias else weight

    def add_up(self, factor: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """Write the sum over units of factor times gradient into `weight` and `bias`."""
        if bias is not None:
            torch.mv((self.d if self.d.ndim == 2 else self.d.sum(2)).t(), factor, out=bias)
        if self.written is not None:
            torch.mv(self.written.flatten(1).t(), factor, out=weight.view(-1))
        elif self.a.ndim == 2:
            torch.mm((self.d * factor[:, None]).t(), self.a, out=weight)
        else:
            # All places of all units in one product: nobody's gradient is written out.
            d = (self.d * factor[:, None, None]).transpose(0, 1).flatten(1)
            torch.mm(d, self.a.transpose(0, 1).flatten(1).t(), out=weight.flatten(1))


def writes_out(inputs: int, outputs: int, places: int) -> bool:
    """Whether writing out each unit's gradient by a weight costs less than the products of its places.

    Writing it out is no work of its own, since the sum needs the same products; but it has to be read twice (mixed
    ghost clipping, Bu et al. 2022, with the costs of book-keeping and of a processor, as measured).
    """
    return places**2 * (inputs + outputs) >= 4 * inputs * outputs


def units_at_once(inputs: int, outputs: int, places: int) -> int:
    """How many units' gradients by a weight may be worked out together: so many that memory does not matter."""
    numbers = (inputs + outputs) * places
    if writes_out(inputs, outputs, places):
        numbers = max(numbers, inputs * outputs)
    return max(1, _NUMBERS_AT_ONCE // numbers)


def squares(value: Tensor) -> Squares:
    """Squared norm over all axes but the first: added up in the precision of the numbers, told in 64 bits."""
    norms: Squares = torch.linalg.vector_norm(value.flatten(1), dim=1).numpy().astype(np.float64)
    norms *= norms
    return norms


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to take gradients of, with what about them does not change from step to step.

    Attributes:
        x: columns.
        y: each row's class.
        outer: squared norms of what a dense network reads of each row: its inputs and 1 for the bias, then its linear
            inputs if it has any; None for other networks.
        small: whether no squared norm is above `LARGEST`.
    """

    x: Float[np.ndarray, "rows columns"]
    y: Int[np.ndarray, " rows"]
    outer: Float64[np.ndarray, "parts rows"] | None
    small: bool


@runtime_checkable
class Passed(Protocol):
    """A forward and a backward pass of the summed cross-entropy, with what is needed of it."""

    def squares(self) -> Squares | None:
        """Squared norm of every unit's gradient, or None where numbers are too large to tell in this precision."""

    def add_up(self, factor: Squares, into: Iterable[Tensor]) -> None:
        """Write the sum over units of factor times gradient, parameter by parameter; the pass is used up."""

    def met(self) -> list[Met]:
        """What every layer met."""


class Mets:
    """A pass as a list of what every layer met."""

    def __init__(self, met: list[Met]) -> None:
        self._met = met

    def squares(self) -> Squares | None:
        """See `Passed`."""
        total: Squares | float = 0.0
        for one in self._met:
            part = one.squares()
            if part is None:
                return None
            total = part + total
        return np.asarray(total)

    def add_up(self, factor: Squares, into: Iterable[Tensor]) -> None:
        """See `Passed`."""
        each = torch.from_numpy(factor).to(self._met[0].a.dtype)
        parts = iter(into)
        for one in self._met:
            weight = next(parts)
            one.add_up(each, weight, next(parts) if one.has_bias else None)

    def met(self) -> list[Met]:
        """See `Passed`."""
        return self._met


class Convolutional:
    """Passes through a network with convolutions, by autograd.

    Args:
        network: every pass reads the memory that its parameters have now; it is never changed here.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        layers = [layer for _, layer in network.layers()]
        self._weights = [layer.weight.detach() for layer in layers]
        self._biases = [None if layer.bias is None else layer.bias.detach() for layer in layers]
        self._shape = network.architecture.shape[1:] if isinstance(network.architecture, Cnn) else (1, 1)

    def units_at_once(self, rows: int) -> int:
        """How many units with so many rows may pass at once."""
        limits = []
        for index, weight in enumerate(self._weights):
            inputs = weight[0].numel()
            places = rows * ((self._shape[0] >> index) * (self._shape[1] >> index) if weight.ndim == 4 else 1)
            if places > 1:
                limits.append(units_at_once(inputs, len(weight), places))
        return min(limits)

    def rows(self, x: Float[np.ndarray, "rows columns"], y: Int[np.ndarray, " rows"]) -> Rows:
        """The rows, looked at once."""
        largest = float(np.abs(x).max(initial=0.0)) ** 2 * x.shape[1]
        return Rows(x, y, None, bool(largest <= LARGEST))

    def run(self, rows: Rows, chosen: npt.NDArray[np.int64] | slice) -> Mets:
        """One forward and one backward pass."""
        inputs: list[Tensor] = []
        outputs: list[Tensor] = []

        def apply(name: str, layer: nn.Linear | nn.Conv2d, value: Tensor) -> Tensor:
            weight, bias = self._weights[len(inputs)], self._biases[len(inputs)]
            if isinstance(layer, nn.Conv2d):
                output = functional.conv2d(value, weight, bias, padding=1)
            else:
                output = functional.linear(value, weight, bias)
            output = output if output.requires_grad else output.requires_grad_()
            inputs.append(value.detach())
            outputs.append(output)
            return output

        if isinstance(chosen, slice):
            chosen = np.arange(*chosen.indices(len(rows.y)))
        # Filled up with copies of a row, which are cut off again: convolutions are compiled for every number of rows
        # that they meet, and Poisson samples have many sizes.
        count = len(chosen)
        filled = np.concatenate((chosen, np.full(-count % _ROWS_STEP, chosen[0])))
        x, y = torch.from_numpy(rows.x.take(filled, axis=0)), torch.from_numpy(rows.y.take(filled))
        with torch.enable_grad():
            loss = functional.cross_entropy(self._network.walk(x, apply), y, reduction="sum")
            derivatives = torch.autograd.grad(loss, outputs)
        return Mets(
            [
                Met(_unfold(a[:count]), d[:count].flatten(2), has_bias=True, bounded=True)
                if a.ndim == 4
                else Met(a[:count], d[:count], has_bias=bias is not None, bounded=bias is None)
                for bias, a, d in zip(self._biases, inputs, derivatives, strict=True)
            ]
        )


def _unfold(images: Tensor) -> Tensor:
    """The inputs of a 3 by 3 convolution, [images, 9 channels, places]: what `functional.unfold` gives, but faster."""
    count, channels, height, width = images.shape
    padded = functional.pad(images, (1, 1, 1, 1))
    image, channel, row, column = padded.stride()
    windows = padded.as_strided(
        (count, channels, 3, 3, height, width), (image, channel, row, column, row, column)
    )  # fmt: skip
    return windows.reshape(count, 9 * channels, height * width)


def together(met: list[Met], starts: npt.NDArray[np.int64]) -> list[Met]:
    """Rows of one unit become places of that unit; units with fewer rows are filled up with zeros.

    Args:
        met: one entry for every layer, in which each row is a unit.
        starts: where each unit's rows begin, and where the last one's end.
    """
    counts = np.diff(starts)
    unit = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    place = torch.from_numpy(np.arange(starts[-1]) - np.repeat(starts[:-1], counts))
    most = int(counts.max())

    def gather(value: Tensor) -> Tensor:
        value = value if value.ndim == 3 else value[:, :, None]
        filled = value.new_zeros(len(counts), most, *value.shape[1:])
        filled[unit, place] = value
        return filled.transpose(1, 2).flatten(2)

    return [Met(gather(one.a), gather(one.d), one.has_bias, one.bounded) for one in met]


def parts_by_name(flat: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Parts of a vector that holds tensors of these shapes one after the other; they share its memory."""
    parts = {}
    start = 0
    for name, shape in shapes.items():
        stop = start + shape.numel()
        parts[name] = flat[start:stop].view(shape)
        start = stop
    return parts
