"""Clipped gradient sums: what one privacy unit can do to a training step, bounded.

"Book-keeping" (Bu, Wang, Dai and Su 2023, section 3): a pass records for every layer what a unit's gradient is made
of. The unit's norm follows from that, and the clipped sum is one product of matrices, (factor * d)^T a; for
dense layers and one row a unit, no unit's gradient is ever written out (Goodfellow 2015).

Large batches go through in pieces, whose sums are added up in 64 bits: memory does not grow with the batch, and the
result does not depend on the pieces but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from wardline.core.checks import at_least
from wardline.dp.training._dense import Dense
from wardline.dp.training._layers import (
    LARGEST,
    Convolutional,
    Met,
    Mets,
    Passed,
    Rows,
    Squares,
    parts_by_name,
    together,
)
from wardline.models.architecture import Cnn, ResNet
from wardline.models.torch_model import Network

ROWS_AT_ONCE = 1024
"""The most rows that pass the network at once, unless told otherwise.

Within a piece, 32-bit networks add up in 32 bits: `wardline.dp.training.noise` has a margin for that.
"""

_GUARD = 1e-6
# Divided by (norm + guard) as Opacus does, so that a norm of zero needs no case of its own and rounding in the
# factor cannot lift a clipped gradient above clip_norm.

_LEAST_CLIP_NORM = 1e-4  # from here, an error of 1e-10 in a norm does not matter


class ClippedSum:
    """Clipped gradient sums of one network, step after step, as one flat vector.

    Args:
        network: at whose parameters gradients are taken, wherever they are at each call; it is not changed.
        clip_norm: the most that a unit may contribute, in Euclidean norm over all parameters; above 0.
        rows_at_once: the most rows that pass the network at once, at least 1 (but a unit's rows stay together).

    Raises:
        ValueError: if a number is out of range, or the network is a `ResNet`, whose per-example gradients are not
            implemented.
    """

    def __init__(self, network: Network, *, clip_norm: float, rows_at_once: int = ROWS_AT_ONCE) -> None:
        if isinstance(network.architecture, ResNet):
            raise ValueError(  # noqa: TRY004 (a value that says what the network is, not its type)
                "private training needs per-example gradients, which a ResNet has not here: choose a Cnn"
            )
        if not (math.isfinite(clip_norm) and clip_norm > 0):
            raise ValueError("clip_norm must be a finite number above 0")
        at_least("rows_at_once", rows_at_once, 1)
        self._passes = (
            Convolutional(network)
            if isinstance(network.architecture, Cnn)
            else Dense(network, rows_at_once=rows_at_once)
        )
        self._clip_norm = clip_norm
        self._at_once = rows_at_once
        self._shapes = {name: value.shape for name, value in network.named_parameters()}
        first = next(network.parameters())
        self._part = torch.empty(sum(shape.numel() for shape in self._shapes.values()), dtype=first.dtype)
        self._parts = list(self.named(self._part).values())
        self._single_rows = self._most_at_once(1)

    def prepare(self, x: Float[np.ndarray, "rows columns"], y: Int[np.ndarray, " rows"]) -> Rows:
        """The rows as a call wants them; worth keeping where there are many calls."""
        return self._passes.rows(x, y)

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Parts of a flat vector, by the names of the parameters that they belong to; they share its memory."""
        return parts_by_name(flat, self._shapes)

    def __call__(
        self,
        rows: Rows,
        *,
        chosen: Int[np.ndarray, " chosen"] | None = None,
        units: Int[np.ndarray, " chosen"] | None = None,
    ) -> Tensor:
        """The sum over the units of some rows, in the order of the network's parameters.

        Args:
            rows: where to find the rows.
            chosen: which of them; None takes all.
            units: as for `clipped_gradient_sum`.

        Returns:
            The flat sum, in the network's precision or in 64 bits. The next call may overwrite it.
        """
        count = len(rows.y) if chosen is None else len(chosen)
        if units is None and 0 < count <= self._single_rows:
            return self._piece(rows, slice(0, count) if chosen is None else chosen, None)
        total = torch.zeros(len(self._part), dtype=torch.float64)
        for part, starts in self._pieces(units, count):
            total += self._piece(rows, part if chosen is None else chosen[part], starts)
        return total

    def unsafe_norms(self, rows: Rows, *, units: Int[np.ndarray, " rows"] | None) -> Squares:
        """Norm of every unit's gradient before clipping: private figures."""
        found = [np.zeros(0)]
        for part, starts in self._pieces(units, len(rows.y)):
            met = self._passes.run(rows, part).met()
            found.append(_norms_in_64_bits(met if starts is None else together(met, starts))[1])
        return np.concatenate(found)

    def _pieces(
        self, units: npt.NDArray[np.int64] | None, count: int
    ) -> Iterator[tuple[slice, npt.NDArray[np.int64] | None]]:
        """Some units at a time: their rows, and where each unit's rows start if any unit has several."""
        bounds = np.arange(count + 1) if units is None else _bounds(units, count)
        most = int(np.diff(bounds).max(initial=1))
        pieces = max(1, math.ceil((len(bounds) - 1) / self._most_at_once(most)))
        size = max(1, math.ceil((len(bounds) - 1) / pieces))  # even pieces rather than full ones and a rest
        for first in range(0, len(bounds) - 1, size):
            last = min(first + size, len(bounds) - 1)
            part = slice(int(bounds[first]), int(bounds[last]))
            yield part, bounds[first : last + 1] - bounds[first] if most > 1 else None

    def _most_at_once(self, places: int) -> int:
        """How many units with so many rows: bounded, and fewer where gradients are written out."""
        return max(1, min(self._at_once // places, self._passes.units_at_once(places)))

    def _piece(self, rows: Rows, chosen: npt.NDArray[np.int64] | slice, starts: npt.NDArray[np.int64] | None) -> Tensor:
        passed: Passed = self._passes.run(rows, chosen)
        if starts is not None:
            passed = Mets(together(passed.met(), starts))
        squares = passed.squares() if rows.small and self._clip_norm >= _LEAST_CLIP_NORM else None
        if squares is None or not squares.max() <= LARGEST:  # written so that NaN is not below the limit
            return self._piece_in_64_bits(passed)
        np.sqrt(squares, out=squares)
        squares += _GUARD
        passed.add_up(np.minimum(self._clip_norm / squares, 1.0), self._parts)
        return self._part

    def _piece_in_64_bits(self, passed: Passed) -> Tensor:
        """For numbers of any size, or that are no numbers."""
        met, norms = _norms_in_64_bits(passed.met())
        # A comparison with NaN is false, so a unit whose norm is not a number is kept out too. Its numbers
        # themselves have to go, since 0 * inf is NaN and would destroy the sum for everybody.
        finite = norms < math.inf
        factor = np.where(finite, np.minimum(self._clip_norm / (norms + _GUARD), 1.0), 0.0)
        part = torch.empty(len(self._part), dtype=torch.float64)
        kept = torch.from_numpy(finite)
        Mets([one.kept(kept) for one in met]).add_up(factor, self.named(part).values())
        return part


def clipped_gradient_sum(
    network: Network,
    x: Float[Tensor, "rows columns"],
    y: Int[Tensor, " rows"],
    *,
    clip_norm: float,
    units: Int[Tensor, " rows"] | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> dict[str, Float64[Tensor, ...]]:
    """Sum over privacy units of each unit's cross-entropy gradient, scaled down to a norm of at most `clip_norm`.

    Args:
        network: the network, at the parameters where the gradient is taken; it is not changed.
        x: rows, all from sampled units; there may be none.
        y: each row's class.
        clip_norm: the largest Euclidean norm, over all parameters together, that a unit may contribute; above 0.
        units: each row's unit, numbered from 0 without gaps, in ascending order; None if each row is a unit.
            The gradients of a unit's rows are added before clipping.
        rows_at_once: the most rows that pass the network at once, at least 1 (but a unit's rows stay together):
            what bounds memory, and changes nothing else.

    Returns:
        For each parameter the sum, not divided by any number of rows or units: the number of sampled rows is
        private.

    Raises:
        ValueError: if a number is out of range, or the units are not as described.

    Guarantee:
        Adding or removing all rows of one unit changes the result by at most `clip_norm` in Euclidean norm, in
        exact arithmetic. A unit whose gradient is not finite contributes nothing. Products of matrices are computed
        in the network's precision and those of up to 1024 rows are added up in it, the rest in 64 bits;
        `wardline.dp.training.noise` has a margin for that.

    References:
        Abadi et al. 2016, algorithm 1; Bu et al. 2022 (mixed ghost clipping); Bu et al. 2023 (book-keeping).
    """
    clipped = ClippedSum(network, clip_norm=clip_norm, rows_at_once=rows_at_once)
    rows = clipped.prepare(x.detach().numpy(), y.numpy())
    with quiet():
        flat = clipped(rows, units=None if units is None else units.numpy())
    return {name: part.double() for name, part in clipped.named(flat).items()}


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
    clipped = ClippedSum(network, clip_norm=1.0)
    rows = clipped.prepare(x.detach().numpy(), y.numpy())
    with quiet():
        return torch.from_numpy(clipped.unsafe_norms(rows, units=None if units is None else units.numpy()))


def quiet() -> np.errstate:
    """Inside of it NumPy is silent about overflow: a row that overflows is dropped, and divergence is looked for."""
    return np.errstate(over="ignore", invalid="ignore")


def _norms_in_64_bits(met: list[Met]) -> tuple[list[Met], Squares]:
    met = [one.double() for one in met]
    squares = Mets(met).squares()
    assert squares is not None  # in 64 bits no number is too large
    return met, np.sqrt(squares)


def _bounds(units: npt.NDArray[np.int64], rows: int) -> npt.NDArray[np.int64]:
    """Where each unit's rows start, and where the last one's end."""
    if len(units) != rows:
        raise ValueError("units must name one unit for each row")
    steps = np.diff(units)
    if rows and (units[0] != 0 or (steps < 0).any() or (steps > 1).any()):
        raise ValueError("units must be numbered from 0 without gaps, in ascending order")
    return np.concatenate(([0], np.cumsum(np.bincount(units)))).astype(np.int64)
