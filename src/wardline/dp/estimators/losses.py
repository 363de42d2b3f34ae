"""Logistic and multinomial losses over rows, in the form that a minimiser with a certificate needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import expit, softmax

_UNIT = 2.0**-53  # the unit roundoff of a double
_CHUNK = 256  # rows whose gradients are added by one product of matrices


@runtime_checkable
class Loss(Protocol):
    """The sum of the losses of all rows, as a function of one flat vector."""

    @property
    def size(self) -> int:
        """The length of the vector."""

    def residuals(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "rows outputs"]:
        """The derivatives of each row's loss by its outputs."""

    def gradient(self, residuals: Float64[np.ndarray, "rows outputs"]) -> Float64[np.ndarray, " size"]:
        """The gradient of the sum, quickly."""

    def careful_gradient(self, theta: Float64[np.ndarray, " size"]) -> tuple[Float64[np.ndarray, " size"], float]:
        """The gradient of the sum, and a bound on the Euclidean norm of its error."""

    def curvature(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "size size"]:
        """The Hessian of the sum."""

    def curvature_times(
        self, theta: Float64[np.ndarray, " size"], direction: Float64[np.ndarray, " size"]
    ) -> Float64[np.ndarray, " size"]:
        """The Hessian of the sum times a vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticLoss:
    """Two classes: log(1 + exp(-sign <row, theta>)), times the row's weight.

    Attributes:
        rows: finite, their norms at most `row_norm`.
        signs: -1 or 1.
        weights: of the rows, in (0, 1].
        row_norm: R.
    """

    rows: Float64[np.ndarray, "rows columns"]
    signs: Float64[np.ndarray, " rows"]
    weights: Float64[np.ndarray, " rows"]
    row_norm: float

    @property
    def size(self) -> int:
        """One number for each column."""
        return int(self.rows.shape[1])

    def residuals(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "rows outputs"]:
        """The derivatives of each row's loss by its margin."""
        found: Float64[np.ndarray, "rows outputs"]
        found = (-self.weights * self.signs * expit(-self.signs * (self.rows @ theta)))[:, None]
        return found

    def gradient(self, residuals: Float64[np.ndarray, "rows outputs"]) -> Float64[np.ndarray, " size"]:
        """The gradient of the sum, quickly."""
        found: Float64[np.ndarray, " size"] = self.rows.T @ residuals[:, 0]
        return found

    def careful_gradient(self, theta: Float64[np.ndarray, " size"]) -> tuple[Float64[np.ndarray, " size"], float]:
        """The gradient of the sum, and a bound on its error."""
        total = _careful_sum(self.rows, self.residuals(theta)).ravel()
        return total, _error(self.rows.shape[1], float(self.weights.sum()), self.row_norm, theta, outputs=1)

    def curvature(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "size size"]:
        """The Hessian of the sum."""
        scaled = self.rows * np.sqrt(self._second(theta))[:, None]
        found: Float64[np.ndarray, "size size"] = scaled.T @ scaled
        return found

    def curvature_times(
        self, theta: Float64[np.ndarray, " size"], direction: Float64[np.ndarray, " size"]
    ) -> Float64[np.ndarray, " size"]:
        """The Hessian of the sum times a vector."""
        found: Float64[np.ndarray, " size"] = self.rows.T @ (self._second(theta) * (self.rows @ direction))
        return found

    def _second(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, " rows"]:
        prob = expit(self.rows @ theta)
        found: Float64[np.ndarray, " rows"] = self.weights * prob * (1.0 - prob)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MultinomialLoss:
    """Three classes or more: the negative logarithm of the softmax of a row's class, times the row's weight.

    Attributes:
        rows: finite, their norms at most `row_norm`.
        labels: from 0 to classes - 1.
        weights: of the rows, in (0, 1].
        row_norm: R.
        classes: K.
    """

    rows: Float64[np.ndarray, "rows columns"]
    labels: Int64[np.ndarray, " rows"]
    weights: Float64[np.ndarray, " rows"]
    row_norm: float
    classes: int

    @property
    def size(self) -> int:
        """One number for each class and column."""
        return self.classes * int(self.rows.shape[1])

    def residuals(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "rows outputs"]:
        """The derivatives of each row's loss by its logits."""
        probs = self._probs(theta)
        probs[np.arange(len(self.labels)), self.labels] -= 1.0
        found: Float64[np.ndarray, "rows outputs"] = probs * self.weights[:, None]
        return found

    def gradient(self, residuals: Float64[np.ndarray, "rows outputs"]) -> Float64[np.ndarray, " size"]:
        """The gradient of the sum, quickly."""
        found: Float64[np.ndarray, " size"] = (residuals.T @ self.rows).ravel()
        return found

    def careful_gradient(self, theta: Float64[np.ndarray, " size"]) -> tuple[Float64[np.ndarray, " size"], float]:
        """The gradient of the sum, and a bound on its error."""
        total = _careful_sum(self.rows, self.residuals(theta)).T.ravel()
        weight = float(self.weights.sum())
        return total, _error(self.rows.shape[1], weight, self.row_norm, theta, outputs=self.classes)

    def curvature(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "size size"]:
        """The Hessian of the sum."""
        probs, columns = self._probs(theta), self.rows.shape[1]
        blocks = np.empty((self.classes, columns, self.classes, columns))
        for one in range(self.classes):
            for two in range(one, self.classes):
                second = self.weights * probs[:, one] * (float(one == two) - probs[:, two])
                blocks[one, :, two] = (self.rows * second[:, None]).T @ self.rows
                blocks[two, :, one] = blocks[one, :, two].T
        return blocks.reshape(self.size, self.size)

    def curvature_times(
        self, theta: Float64[np.ndarray, " size"], direction: Float64[np.ndarray, " size"]
    ) -> Float64[np.ndarray, " size"]:
        """The Hessian of the sum times a vector."""
        probs, moved = self._probs(theta), self._outputs(direction)
        moved -= (probs * moved).sum(axis=1, keepdims=True)
        return self.gradient(self.weights[:, None] * probs * moved)

    def _outputs(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "rows outputs"]:
        found: Float64[np.ndarray, "rows outputs"] = self.rows @ theta.reshape(self.classes, -1).T
        return found

    def _probs(self, theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "rows outputs"]:
        found: Float64[np.ndarray, "rows outputs"] = softmax(self._outputs(theta), axis=1)
        return found


def _careful_sum(
    rows: Float64[np.ndarray, "rows columns"], residuals: Float64[np.ndarray, "rows outputs"]
) -> Float64[np.ndarray, "columns outputs"]:
    """The product rows' residuals, whose rounding does not grow with the number of rows beyond that of a chunk."""
    parts = [
        rows[start : start + _CHUNK].T @ residuals[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)
    ]
    # Along the last axis of a contiguous array NumPy adds in pairs, whose error grows with the logarithm.
    stacked = np.ascontiguousarray(np.moveaxis(np.stack(parts), 0, -1))
    total: Float64[np.ndarray, "columns outputs"] = stacked.sum(axis=-1)
    return total


def _error(columns: int, weight: float, row_norm: float, theta: Float64[np.ndarray, " size"], *, outputs: int) -> float:
    """A bound on the rounding error of `_careful_sum`, in Euclidean norm.

    To first order in the unit roundoff u (Higham 2002, sections 3.1 and 4.2): an output is wrong by at most (columns +
    8) u R |theta|, of which 8 stand for the rounding of the row itself; its residual by no more than that, the loss
    being smooth with a constant of at most 1, plus 32 u for each of the exponentials; the sum by (chunk + 40) u R for
    each unit of weight, 40 being the pairs of more than 2**32 chunks. Twice that covers the rest.
    """
    margin = (columns + 8) * row_norm * float(np.linalg.norm(theta))
    return 2 * _UNIT * row_norm * weight * (margin + 32.0 * outputs + _CHUNK + 40.0)
