"""Minimise a strongly convex function, and certify how near the minimum the result lies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

from wardline.dp.estimators.losses import Loss

_DIRECT = 1000  # up to as many parameters the Hessian is formed and factored
_MOST_STEPS = 200
_MOST_HALVINGS = 80
_UNIT = 2.0**-53


def minimise(
    loss: Loss, *, regularization: float, linear: Float64[np.ndarray, " size"], tolerance: float
) -> Float64[np.ndarray, " size"]:
    """The minimiser of loss + regularization / 2 |theta|^2 + <linear, theta>, by Newton's method.

    Args:
        loss: convex and smooth.
        regularization: above 0.
        linear: the coefficients of the linear term.
        tolerance: the largest norm that the gradient may have.

    Returns:
        A theta whose exact gradient, not just the computed one, has a norm of at most `tolerance`. It therefore lies
        within tolerance / regularization of the exact minimiser.

    Raises:
        ValueError: if no such theta is found, which happens only if rounding errors exceed the tolerance: with more
            than about ten million rows.
    """

    def gradient_at(theta: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, " size"]:
        found: Float64[np.ndarray, " size"] = loss.gradient(loss.residuals(theta)) + regularization * theta + linear
        return found

    theta = np.zeros(loss.size)
    gradient = gradient_at(theta)
    shortest = math.inf
    for _ in range(_MOST_STEPS):
        length = float(np.linalg.norm(gradient))
        # Newton's method squares the error in each step: the last one usually ends far inside of the tolerance.
        if length <= tolerance / 2 and _certified(loss, theta, regularization, linear) <= tolerance:
            return theta
        shortest = min(shortest, length)
        step = _newton_step(loss, theta, gradient, regularization)
        moved, after = theta - step, gradient_at(theta - step)
        # Near the minimum a whole step shortens the gradient at once. That happens a bounded number of times, each
        # beyond all before, so that these steps and those of the search cannot lead in a circle.
        if float(np.linalg.norm(after)) > 0.25 * shortest:
            moved = theta - _length_of_step(gradient_at, theta, step, gradient) * step
            after = gradient_at(moved)
        if np.array_equal(moved, theta):
            break
        theta, gradient = moved, after
    if _certified(loss, theta, regularization, linear) <= tolerance:
        return theta
    raise ValueError(
        "the minimum cannot be certified: there are more rows than double precision can add up; "
        "train on fewer rows, or by DP-SGD"
    )


def _certified(
    loss: Loss, theta: Float64[np.ndarray, " size"], regularization: float, linear: Float64[np.ndarray, " size"]
) -> float:
    """An upper bound on the norm of the exact gradient."""
    gradient, error = loss.careful_gradient(theta)
    length = regularization * float(np.linalg.norm(theta)) + float(np.linalg.norm(linear))
    computed = float(np.linalg.norm(gradient + regularization * theta + linear))
    # Three roundings in each coordinate, and those of the norm.
    return computed * (1 + (loss.size + 8) * _UNIT) + error + 8 * _UNIT * (length + float(np.linalg.norm(gradient)))


def _newton_step(
    loss: Loss, theta: Float64[np.ndarray, " size"], gradient: Float64[np.ndarray, " size"], regularization: float
) -> Float64[np.ndarray, " size"]:
    if loss.size <= _DIRECT:
        hessian = loss.curvature(theta)
        hessian[np.diag_indices(loss.size)] += regularization
        solved: Float64[np.ndarray, " size"] = cho_solve(cho_factor(hessian, lower=True), gradient)
        return solved
    operator = LinearOperator(
        (loss.size, loss.size),
        matvec=lambda direction: loss.curvature_times(theta, direction.ravel()) + regularization * direction.ravel(),
        dtype=np.float64,
    )
    # An inexact step whose residual shrinks with the gradient still converges superlinearly (Dembo et al. 1982).
    relative = min(0.1, float(np.sqrt(np.linalg.norm(gradient) / (1.0 + np.linalg.norm(gradient)))))
    step, _ = cg(operator, gradient, rtol=min(relative, 0.01), maxiter=500)
    return np.asarray(step, dtype=np.float64)


def _length_of_step(
    gradient_at: Callable[[Float64[np.ndarray, " size"]], Float64[np.ndarray, " size"]],
    theta: Float64[np.ndarray, " size"],
    step: Float64[np.ndarray, " size"],
    gradient: Float64[np.ndarray, " size"],
) -> float:
    """How much of a step to take: not beyond the lowest point on its way, but near it.

    The slope along the way, which grows steadily for a convex function, is looked at instead of the function: two
    values that agree in their first digits tell nothing, their slopes do.
    """
    slope = float(gradient @ step)
    low, high = 0.0, math.inf
    scale = 1.0
    for _ in range(_MOST_HALVINGS):
        left = float(gradient_at(theta - scale * step) @ step)
        if 0.0 <= left <= 0.5 * slope:
            return scale
        low, high = (scale, high) if left > 0.0 else (low, scale)
        scale = 2.0 * low if high == math.inf else (low + high) / 2.0
    return low
