"""Minimise a strongly convex function, and certify how near the minimum the result lies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

from wardline.dp.estimators.losses import Loss

_DIRECT = 1000  # up to as many parameters the Hessian is formed and factored
_MOST_STEPS = 200
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
    theta = np.zeros(loss.size)
    for _ in range(_MOST_STEPS):
        gradient = loss.gradient(loss.residuals(theta)) + regularization * theta + linear
        # Newton's method squares the error in each step: one step beyond the tolerance costs little and is far inside.
        near = float(np.linalg.norm(gradient)) <= tolerance / 2
        if near and _certified(loss, theta, regularization, linear) <= tolerance:
            return theta
        step = _newton_step(loss, theta, gradient, regularization)
        moved = _line_search(loss, theta, step, gradient, regularization, linear)
        if moved is None:
            break
        theta = moved
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


def _line_search(
    loss: Loss,
    theta: Float64[np.ndarray, " size"],
    step: Float64[np.ndarray, " size"],
    gradient: Float64[np.ndarray, " size"],
    regularization: float,
    linear: Float64[np.ndarray, " size"],
) -> Float64[np.ndarray, " size"] | None:
    """The first of ever smaller steps that lowers the function or clearly shortens the gradient; None if none does."""

    def value(at: Float64[np.ndarray, " size"]) -> float:
        return loss.value(at) + regularization / 2 * float(at @ at) + float(linear @ at)

    before, slope, length = value(theta), float(gradient @ step), float(np.linalg.norm(gradient))
    scale = 1.0
    while scale > 1e-12:
        moved = theta - scale * step
        # Near the minimum the function no longer tells two points apart; the gradient does.
        if value(moved) <= before - 1e-4 * scale * slope and slope > 1e-9 * abs(before):
            return moved
        after = loss.gradient(loss.residuals(moved)) + regularization * moved + linear
        if float(np.linalg.norm(after)) < 0.5 * length:
            return moved
        scale /= 2
    return None
