"""Per-unit gradients of dense networks, where a step takes less time than a dozen calls of a function cost.

The arithmetic is that of `_layers`. What is different is that nobody else computes derivatives: forward and backward
are written out, into memory that is there already, and views of it are made once for every number of rows, since
making a view costs as much as multiplying two small matrices. Vectors with a number for each row are NumPy's, whose
calls are cheaper than torch's.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wardline.dp.training._layers import LARGEST, Met, Rows, Squares, squares, units_at_once
from wardline.models import Network

_NO_LIMIT = 1 << 62


class Dense:
    """Passes through a network without convolutions.

    Args:
        network: every pass reads the memory that its parameters have now; it is never changed here.
        rows_at_once: the most rows that a pass usually has.
    """

    def __init__(self, network: Network, *, rows_at_once: int) -> None:
        layers = [layer for _, layer in network.layers()]
        self.inputs = network.architecture.inputs
        self.beside = layers.pop().weight.detach() if network.architecture.linear_inputs else None
        self.weights = [layer.weight.detach() for layer in layers]
        self.turned = [weight.t() for weight in self.weights]
        self.biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.last_bias = self.biases[-1][:, None]
        self._rows_at_once = rows_at_once
        self._passes: dict[int, DensePass] = {}
        self._memory: _Memory | None = None

    def units_at_once(self, rows: int) -> int:
        """How many units with so many rows may pass at once."""
        weights = self.weights if self.beside is None else [*self.weights, self.beside]
        return min(units_at_once(weight.shape[1], len(weight), rows) for weight in weights) if rows > 1 else _NO_LIMIT

    def rows(self, x: Float[np.ndarray, "rows columns"], y: Int[np.ndarray, " rows"]) -> Rows:
        """The rows, looked at once."""
        parts = [x] if self.beside is None else [x[:, : self.inputs], x[:, self.inputs :]]
        outer = np.stack([squares(torch.from_numpy(part)) for part in parts])
        outer[0] += 1.0
        return Rows(x, y, outer, bool(outer.max(initial=0.0) <= LARGEST))

    def run(self, rows: Rows, chosen: npt.NDArray[np.int64] | slice) -> DensePass:
        """One forward and one backward pass; the next one overwrites it."""
        if isinstance(chosen, slice):
            chosen = np.arange(*chosen.indices(len(rows.y)))
        count = len(chosen)
        found = self._passes.get(count)
        if found is None:
            if self._memory is None or count > len(self._memory.x):
                self._passes.clear()
                self._memory = _Memory(self, rows, max(count, min(self._rows_at_once, len(rows.y))))
            found = self._passes[count] = DensePass(self, self._memory, count)
        found.run(rows, chosen)
        return found


class _Memory:
    """Room for the most rows of a pass."""

    def __init__(self, dense: Dense, rows: Rows, count: int) -> None:
        dtype = dense.weights[0].dtype
        hidden = [len(weight) for weight in dense.weights[:-1]]
        self.x = np.empty((count, rows.x.shape[1]), dtype=rows.x.dtype)
        self.y = np.empty(count, dtype=rows.y.dtype)
        self.outputs = [torch.empty(count, width, dtype=dtype) for width in hidden]
        self.derivatives = [torch.empty_like(output) for output in self.outputs]
        # Of the last layer, with a row for each class: there are few of them, and many numbers in each.
        self.head = torch.empty(2, count * len(dense.weights[-1]), dtype=dtype)
        self.norms = torch.empty(2 * len(hidden), count, dtype=dtype)
        self.factor = torch.empty(count, 1, dtype=dtype)
        self.ones = torch.ones(count, dtype=dtype)


class DensePass:
    """A pass over a certain number of rows: see `wardline.dp.training._layers.Passed`."""

    def __init__(self, dense: Dense, memory: _Memory, count: int) -> None:
        classes = len(dense.weights[-1])
        self._dense = dense
        self._x, self._y = memory.x[:count], memory.y[:count]
        x = torch.from_numpy(self._x)
        self._outer: Squares = np.empty((0, count))
        self._beside = None if dense.beside is None else x[:, dense.inputs :]
        self._outputs = [output[:count] for output in memory.outputs]
        self._a = [x if dense.beside is None else x[:, : dense.inputs], *self._outputs]
        self._last = self._a[-1].t()
        self._head, room = (one[: classes * count].view(classes, count) for one in memory.head)
        self._told, self._room = self._head.numpy(), room.numpy()
        self._classes = np.arange(classes)[:, None]
        self._d = [*(derivative[:count] for derivative in memory.derivatives), self._head.t()]
        self._turned = [d.t() for d in self._d]
        self._norms = [norm[:count] for norm in memory.norms]
        self._norms_told = [norm.numpy() for norm in self._norms]
        self._factor = memory.factor[:count]
        self._factor_told = self._factor.numpy()[:, 0]
        self._ones = memory.ones[:count]

    def run(self, rows: Rows, chosen: npt.NDArray[np.int64]) -> None:
        """Forward and backward through the network."""
        dense, a, d = self._dense, self._a, self._d
        # mode="clip" because NumPy copies once more in the default mode; no index is out of range.
        rows.x.take(chosen, axis=0, out=self._x, mode="clip")
        rows.y.take(chosen, out=self._y, mode="clip")
        if rows.outer is not None:
            self._outer = rows.outer.take(chosen, axis=1)
        for index, output in enumerate(self._outputs):
            torch.addmm(dense.biases[index], a[index], dense.turned[index], out=output)
            output.relu_()
        torch.addmm(dense.last_bias, dense.weights[-1], self._last, out=self._head)
        if self._beside is not None and dense.beside is not None:
            self._head.addmm_(dense.beside, self._beside.t())
        self._differentiate_loss()
        for index in range(len(d) - 1, 0, -1):
            torch.mm(d[index], dense.weights[index], out=d[index - 1])
            torch.ops.aten.threshold_backward.grad_input(d[index - 1], a[index], 0, grad_input=d[index - 1])

    def _differentiate_loss(self) -> None:
        """From logits to probabilities less 1 for the true class, which is what the cross-entropy asks of them."""
        told, row = self._told, self._room[0]
        np.maximum.reduce(told, axis=0, out=row)
        told -= row
        np.exp(told, out=told)
        np.add.reduce(told, axis=0, out=row)
        told /= row
        told -= np.equal(self._y, self._classes)

    def squares(self) -> Squares | None:
        """See `Passed`."""
        np.multiply(self._told, self._told, out=self._room)
        head: Squares = np.add.reduce(self._room, axis=0, dtype=np.float64)
        total, outer = None, self._outer[0]
        for index in range(len(self._outputs)):
            torch.linalg.vector_norm(self._d[index], dim=1, out=self._norms[2 * index])
            part = np.square(self._norms_told[2 * index], dtype=np.float64)
            part *= outer
            total = part if total is None else total + part
            torch.linalg.vector_norm(self._a[index + 1], dim=1, out=self._norms[2 * index + 1])
            outer = np.square(self._norms_told[2 * index + 1], dtype=np.float64)
            if not outer.max() <= LARGEST:  # written so that NaN is not below the limit
                return None
            outer += 1.0
        head *= outer if self._beside is None else outer + self._outer[1]
        return head if total is None else total + head

    def add_up(self, factor: Squares, into: Iterable[Tensor]) -> None:
        """See `Passed`."""
        self._factor_told[:] = factor
        parts = iter(into)
        for index in range(len(self._outputs)):
            self._d[index].mul_(self._factor)
            torch.mm(self._turned[index], self._a[index], out=next(parts))
            torch.mv(self._turned[index], self._ones, out=next(parts))
        self._told *= self._factor_told
        torch.mm(self._head, self._a[-1], out=next(parts))
        np.add.reduce(self._told, axis=1, out=next(parts).numpy())
        if self._beside is not None:
            torch.mm(self._head, self._beside, out=next(parts))

    def met(self) -> list[Met]:
        """See `Passed`."""
        met = [
            Met(a, d, has_bias=True, bounded=not index)
            for index, (a, d) in enumerate(zip(self._a, self._d, strict=True))
        ]
        if self._beside is not None:
            met.append(Met(self._beside, self._d[-1], has_bias=False, bounded=True))
        return met
