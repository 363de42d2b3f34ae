"""Projections onto a plane within a box, against general solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from wardline.attacks.evasion.projections import onto_plane_in_box
from wardline.robust.ball import NORMS, Norm

ROWS, FEATURES = 30, 6


def _cases() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in the unit box, normals with zeros among them, and gaps that the box allows."""
    rng = np.random.default_rng(5)
    points = rng.random((ROWS, FEATURES))
    points[rng.random(points.shape) < 0.2] = 0.0  # some features stand at their bound
    normals = rng.normal(size=points.shape) * (rng.random(points.shape) < 0.8)
    normals[:, 0] = rng.normal(size=ROWS)
    reachable = rng.random((ROWS, FEATURES))
    return points, normals, (normals * (reachable - points)).sum(axis=1)


def _smallest(point: np.ndarray, normal: np.ndarray, gap: float, norm: Norm) -> float:
    """The norm of the smallest change, by a solver that knows nothing of the structure."""
    low, high = -point, 1 - point
    if norm == "l2":
        start = minimize(
            lambda d: d @ d,
            np.zeros(FEATURES),
            jac=lambda d: 2 * d,
            bounds=list(zip(low, high, strict=True)),
            constraints={"type": "eq", "fun": lambda d: normal @ d - gap, "jac": lambda d: normal},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return float(np.linalg.norm(start.x))
    bounds = [(a, b) for a, b in zip(low, high, strict=True)]
    eye = np.eye(FEATURES)
    extra = np.ones((FEATURES, 1)) if norm == "linf" else eye
    sizes = extra.shape[1]
    solved = linprog(
        np.r_[np.zeros(FEATURES), np.ones(sizes)],
        A_ub=np.block([[eye, -extra], [-eye, -extra]]),
        b_ub=np.zeros(2 * FEATURES),
        A_eq=np.r_[normal, np.zeros(sizes)][None],
        b_eq=[gap],
        bounds=bounds + [(0, None)] * sizes,
    )
    return float(solved.fun)


def _project(points: np.ndarray, normals: np.ndarray, gaps: np.ndarray, norm: Norm) -> np.ndarray:
    x, w, gap = (torch.from_numpy(part.astype(np.float32)) for part in (points, normals, gaps))
    return onto_plane_in_box(x, w, gap, (torch.zeros_like(x), torch.ones_like(x)), norm).numpy().astype(np.float64)


@pytest.mark.parametrize("norm", NORMS)
def test_the_change_is_the_smallest_that_reaches_the_plane_within_the_box(norm: Norm) -> None:
    points, normals, gaps = _cases()
    change = _project(points, normals, gaps, norm)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    assert (points + change).min() >= -1e-6
    assert (points + change).max() <= 1 + 1e-6
    np.testing.assert_allclose((normals * change).sum(axis=1), gaps, atol=1e-5)
    expected = [_smallest(*case, norm) for case in zip(points, normals, gaps, strict=True)]
    np.testing.assert_allclose(np.linalg.norm(change, ord=order, axis=1), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_beyond_the_box_is_approached_as_far_as_the_box_goes(norm: Norm) -> None:
    points, normals, _ = _cases()
    change = _project(points, normals, np.full(ROWS, 1e3), norm)
    farthest = np.where(normals > 0, 1 - points, np.where(normals < 0, -points, 0.0))
    np.testing.assert_allclose(change, farthest, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_row_without_a_slope_stays_where_it_is(norm: Norm) -> None:
    points, normals, _ = _cases()
    change = _project(points, np.zeros_like(normals), np.ones(ROWS), norm)
    assert np.isfinite(change).all()
    assert not change.any()
