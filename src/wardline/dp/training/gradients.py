"""Clipped gradient sums: what one privacy unit can do to a training step, bounded.

"Book-keeping" (Bu, Wang, Dai and Su 2023, section 3): one forward and one backward pass record, for every layer,
its inputs a and the loss's derivatives d by its outputs. A unit's gradient by the layer's weight is the sum of
the outer products d a^T over all places where the unit met the weight: its rows, and the pixels of each image.
The unit's norm follows from a and d alone, and the clipped sum is one product of matrices, (factor * d)^T a;
for dense layers and one row a unit, no unit's gradient is ever written out (Goodfellow 2015).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.nn import functional

from wardline.models import Network

_UNITS_AT_ONCE = 4096
_NUMBERS_AT_ONCE = 1 << 21  # of written-out gradients per layer: small enough to stay in a processor's cache
_GUARD = 1e-6
# Divided by (norm + guard) as Opacus does, so that a norm of zero needs no case of its own and rounding in the
# factor cannot lift a clipped gradient above clip_norm.


@dataclass(frozen=True, slots=True)
class _Factors:
    """One layer's part: the gradient by its weight is, for each unit, the sum over places of outer(d, a)."""

    name: str
    a: Tensor  # [units, places, inputs]
    d: Tensor  # [units, places, outputs]
    has_bias: bool
    shape: torch.Size  # of the weight

    def gradients(self) -> Tensor:
        """Every unit's gradient by the weight: [units, outputs, inputs]."""
        return self.d.transpose(1, 2) @ self.a

    def squared_norms(self, written: Tensor | None) -> Float64[Tensor, " units"]:
        """Squared norm of every unit's gradient by weight and bias."""
        if self.a.shape[1] == 1:
            squares = _square(self.a) * _square(self.d)
        elif written is not None:
            squares = _square(written)
        else:
            # The sum of outer products has the squared norm sum_ij <a_i, a_j> <d_i, d_j>.
            squares = ((self.a @ self.a.mT).double() * (self.d @ self.d.mT).double()).sum((1, 2))
            squares = squares.clamp(min=0.0)
        if self.has_bias:
            squares = squares + _square(self.d[:, 0] if self.a.shape[1] == 1 else self.d.sum(1))
        return squares

    def writes_out(self) -> bool:
        """Whether writing out each unit's gradient costs less than the products of its places (Bu et al. 2022)."""
        places = self.a.shape[1]
        return places > 1 and 2 * places**2 >= self.a.shape[2] * self.d.shape[2]

    def weighted_sum(self, factor: Tensor, written: Tensor | None) -> Iterator[tuple[str, Tensor]]:
        """The sum over units of factor times gradient, in 64 bits."""
        places = self.a.shape[1]
        factor_of_place = factor.repeat_interleave(places) if places > 1 else factor
        d = self.d.flatten(0, 1).double()
        if self.has_bias:
            yield f"{self.name}.bias", factor_of_place @ d
        if written is not None:
            total = factor @ written.flatten(1).double()
        else:
            total = (d * factor_of_place[:, None]).mT @ self.a.flatten(0, 1).double()
        yield f"{self.name}.weight", total.reshape(self.shape)


def clipped_gradient_sum(
    network: Network,
    x: Float[Tensor, "rows columns"],
    y: Int[Tensor, " rows"],
    *,
    clip_norm: float,
    units: Int[Tensor, " rows"] | None = None,
) -> dict[str, Float64[Tensor, ...]]:
    """Sum over privacy units of each unit's cross-entropy gradient, scaled down to a norm of at most `clip_norm`.

    Args:
        network: the network, at the parameters where the gradient is taken; it is not changed.
        x: rows, all from sampled units; there may be none.
        y: each row's class.
        clip_norm: the largest Euclidean norm, over all parameters together, that a unit may contribute; above 0.
        units: each row's unit, numbered from 0 without gaps, in ascending order; None if each row is a unit.
            The gradients of a unit's rows are added before clipping.

    Returns:
        For each parameter the sum, not divided by any number of rows or units: the number of sampled rows is
        private.

    Raises:
        ValueError: if `clip_norm` is not above 0, or the units are not as described.

    Guarantee:
        Adding or removing all rows of one unit changes the result by at most `clip_norm` in Euclidean norm, in
        exact arithmetic. A unit whose gradient is not finite contributes nothing. Products of matrices are
        computed in the network's precision and added up in 64 bits; `wardline.dp.training.noise` has a margin for that.

    References:
        Abadi et al. 2016, algorithm 1; Bu et al. 2022 (mixed ghost clipping); Bu et al. 2023 (book-keeping).
    """
    if not (math.isfinite(clip_norm) and clip_norm > 0):
        raise ValueError("clip_norm must be a finite number above 0")
    total = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in network.named_parameters()}
    for layers in _pieces(network, x, y, units):
        written = [layer.gradients() if layer.writes_out() else None for layer in layers]
        norms = _norms(layers, written)
        # A comparison with NaN is false, so a unit whose norm is not a number is kept out too.
        finite = norms < math.inf
        factor = torch.where(finite, (clip_norm / (norms + _GUARD)).clamp(max=1.0), 0.0)
        if not finite.all():
            # 0 * inf is NaN: the numbers themselves have to go, or one unit would destroy the sum.
            layers, written = _without(layers, written, finite)
        for layer, gradients in zip(layers, written, strict=True):
            for name, value in layer.weighted_sum(factor, gradients):
                total[name] += value
    return total


def unsafe_gradient_norms(
    network: Network,
    x: Float[Tensor, "rows columns"],
    y: Int[Tensor, " rows"],
    *,
    units: Int[Tensor, " rows"] | None = None,
) -> Float64[Tensor, " units"]:
    """Norm of each unit's gradient before clipping: private figures, for tests and for choosing on public data.

    Arguments and errors are those of `clipped_gradient_sum`. Nothing protects the result.
    """
    pieces = [
        _norms(layers, [layer.gradients() if layer.writes_out() else None for layer in layers])
        for layers in _pieces(network, x, y, units)
    ]
    return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.float64)


def _pieces(network: Network, x: Tensor, y: Tensor, units: Tensor | None) -> Iterator[list[_Factors]]:
    """Factors for some units at a time, so that memory does not grow with the batch."""
    if units is None:
        places = 1
        starts = torch.arange(len(x) + 1)
    else:
        counts = _rows_per_unit(units, len(x))
        places = int(counts.max()) if len(counts) else 1
        starts = functional.pad(counts.cumsum(0), (1, 0))
    size = _piece_size(network, places)
    for first in range(0, len(starts) - 1, size):
        last = min(first + size, len(starts) - 1)
        rows = slice(int(starts[first]), int(starts[last]))
        layers = _factors(network, x[rows], y[rows])
        if places > 1:
            layers = _together(layers, starts[first : last + 1] - starts[first])
        yield layers


def _rows_per_unit(units: Tensor, rows: int) -> Tensor:
    if len(units) != rows:
        raise ValueError("units must name one unit for each row")
    steps = units.diff()
    if rows and (int(units[0]) != 0 or bool((steps < 0).any()) or bool((steps > 1).any())):
        raise ValueError("units must be numbered from 0 without gaps, in ascending order")
    return units.bincount()


def _piece_size(network: Network, places: int) -> int:
    """How many units at once: bounded, and fewer where gradients are written out."""
    largest = max(
        (layer.weight.numel() for _, layer in network.layers() if places > 1 or isinstance(layer, nn.Conv2d)), default=0
    )
    return max(1, min(_UNITS_AT_ONCE, _NUMBERS_AT_ONCE // largest)) if largest else _UNITS_AT_ONCE


def _factors(network: Network, x: Tensor, y: Tensor) -> list[_Factors]:
    """One forward and one backward pass, in which no weight's gradient is computed."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def apply(name: str, layer: nn.Linear | nn.Conv2d, value: Tensor) -> Tensor:
        weight = layer.weight.detach()
        bias = None if layer.bias is None else layer.bias.detach()
        if isinstance(layer, nn.Conv2d):
            output = functional.conv2d(value, weight, bias, padding=1)
        else:
            output = functional.linear(value, weight, bias)
        output = output if output.requires_grad else output.requires_grad_()
        inputs.append(value.detach())
        outputs.append(output)
        return output

    with torch.enable_grad():
        loss = functional.cross_entropy(network.walk(x, apply), y, reduction="sum")
        derivatives = torch.autograd.grad(loss, outputs)
    layers = []
    for (name, layer), a, d in zip(network.layers(), inputs, derivatives, strict=True):
        if isinstance(layer, nn.Conv2d):
            a = functional.unfold(a, 3, padding=1).mT
            d = d.flatten(2).mT
        else:
            a, d = a[:, None], d[:, None]
        layers.append(_Factors(name, a, d, layer.bias is not None, layer.weight.shape))
    return layers


def _together(layers: list[_Factors], starts: Tensor) -> list[_Factors]:
    """Rows of one unit become places of that unit; units with fewer rows are filled up with zeros."""
    counts = starts.diff()
    unit = torch.arange(len(counts)).repeat_interleave(counts)
    place = torch.arange(len(unit)) - starts[unit]
    most = int(counts.max())

    def gather(value: Tensor) -> Tensor:
        filled = value.new_zeros(len(counts), most, *value.shape[1:])
        filled[unit, place] = value
        return filled.flatten(1, 2)

    return [_Factors(one.name, gather(one.a), gather(one.d), one.has_bias, one.shape) for one in layers]


def _norms(layers: list[_Factors], written: list[Tensor | None]) -> Float64[Tensor, " units"]:
    squares = [layer.squared_norms(gradients) for layer, gradients in zip(layers, written, strict=True)]
    return torch.stack(squares).sum(0).sqrt()


def _square(value: Tensor) -> Float64[Tensor, " units"]:
    """Squared norm over all axes but the first, in 64 bits: a square must neither overflow nor vanish."""
    norms: Tensor = torch.linalg.vector_norm(value.flatten(1), dim=1, dtype=torch.float64)
    return norms.square()


def _without(
    layers: list[_Factors], written: list[Tensor | None], keep: Tensor
) -> tuple[list[_Factors], list[Tensor | None]]:
    def blank(value: Tensor) -> Tensor:
        return torch.where(keep[:, None, None], value, torch.zeros((), dtype=value.dtype))

    return (
        [_Factors(one.name, blank(one.a), blank(one.d), one.has_bias, one.shape) for one in layers],
        [None if one is None else blank(one) for one in written],
    )
