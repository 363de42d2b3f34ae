"""The geometry of balls, each projection against a second way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from wardline.robust.ball import NORMS, Ball, Norm

WIDTH = 12
norms = st.sampled_from(NORMS)
radii = st.floats(0.0, 20.0)
changes = st.lists(st.lists(st.floats(-5, 5, width=32), min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=4).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


@given(changes, norms, radii)
def test_a_projection_lies_inside_and_moves_nothing_that_was_inside(
    change: torch.Tensor, norm: Norm, radius: float
) -> None:
    ball = Ball(norm=norm, radius=radius)
    moved = ball.project(change)
    assert (ball.size(moved) <= radius * (1 + 1e-9) + 1e-9).all()
    inside = ball.size(change) <= radius
    assert torch.allclose(moved[inside], change[inside], rtol=0, atol=1e-12)
    assert torch.allclose(ball.project(moved), moved, atol=1e-9)


@given(changes, norms, st.floats(0.01, 20.0), st.integers(0, 2**32))
def test_no_point_of_the_ball_is_nearer_than_the_projection(
    change: torch.Tensor, norm: Norm, radius: float, seed: int
) -> None:
    # The variational inequality: from the projection, the way to any point of the ball leads away from the original.
    ball = Ball(norm=norm, radius=radius)
    moved = ball.project(change)
    for index in range(5):
        other = ball.draw(change, generator=torch.Generator().manual_seed(seed + index))
        assert (((change - moved) * (other - moved)).sum(1) <= 1e-6).all()


@given(changes, st.floats(0.01, 20.0))
def test_the_l1_projection_is_the_one_whose_threshold_a_root_finder_finds(change: torch.Tensor, radius: float) -> None:
    found = Ball(norm="l1", radius=radius).project(change)
    for row, expected in zip(change.numpy(), found.numpy(), strict=True):
        if np.abs(row).sum() <= radius:
            assert np.allclose(row, expected)
            continue
        threshold = brentq(lambda t, row=row: np.maximum(np.abs(row) - t, 0).sum() - radius, 0, 6, xtol=1e-13)
        assert np.allclose(np.sign(row) * np.maximum(np.abs(row) - threshold, 0), expected, atol=1e-8)


@settings(max_examples=25)
@given(changes, st.sampled_from(["l2", "linf"]), st.floats(0.1, 8.0), st.integers(0, 2**32))
def test_the_projection_onto_ball_and_box_is_what_an_optimiser_finds(
    change: torch.Tensor, norm: Norm, radius: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    low, high = -generator.random(WIDTH), generator.random(WIDTH)
    ball = Ball(norm=norm, radius=radius)
    row = change[:1]
    found = ball.project_between(row, torch.from_numpy(low), torch.from_numpy(high)).numpy()[0]
    ends = np.clip(low, -radius, None), np.clip(high, None, radius)
    bounds = list(zip(*(ends if norm == "linf" else (low, high)), strict=True))
    rules = [{"type": "ineq", "fun": lambda d: radius**2 - d @ d, "jac": lambda d: -2 * d}] if norm == "l2" else []
    solved = minimize(
        lambda d: ((d - row.numpy()[0]) ** 2).sum(),
        np.zeros(WIDTH),
        jac=lambda d: 2 * (d - row.numpy()[0]),
        bounds=bounds,
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert ((found - row.numpy()[0]) ** 2).sum() <= solved.fun + 1e-5
    assert (found >= low - 1e-9).all()
    assert (found <= high + 1e-9).all()
    assert ball.size(torch.from_numpy(found)[None]).item() <= radius * (1 + 1e-6)


@given(changes, norms, st.floats(0.1, 8.0), st.integers(0, 2**32))
def test_no_point_of_ball_and_box_is_nearer_than_their_common_projection(
    change: torch.Tensor, norm: Norm, radius: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    low, high = -torch.rand(WIDTH, generator=generator).double(), torch.rand(WIDTH, generator=generator).double()
    ball = Ball(norm=norm, radius=radius)
    moved = ball.project_between(change, low, high)
    assert (ball.size(moved) <= radius * (1 + 1e-6)).all()
    assert ((moved >= low) & (moved <= high)).all()
    for _ in range(5):
        other = torch.clamp(ball.draw(change, generator=generator), low, high)
        assert (((change - moved) * (other - moved)).sum(1) <= 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_draws_fill_the_ball_evenly(norm: Norm) -> None:
    # In a ball of d dimensions the d-th power of the size is uniform. Kolmogorov's bound for 20,000 draws: a deviation
    # of 0.02 has a probability below 2 exp(-2 n 0.02^2) = 2.3e-7. Points on the sphere alone would deviate by 1.
    ball = Ball(norm=norm, radius=2.0)
    drawn = ball.draw(torch.empty(20_000, 3, dtype=torch.float64), generator=torch.Generator().manual_seed(0))
    uniform = np.sort(((ball.size(drawn) / 2.0) ** 3).numpy())
    assert np.abs(uniform - (np.arange(20_000) + 0.5) / 20_000).max() < 0.02
    assert abs(float((drawn > 0).double().mean()) - 0.5) < 0.011  # 6e4 signs: 5.4 standard deviations


def test_a_radius_of_zero_leaves_nothing_to_change() -> None:
    change = torch.ones(2, 3)
    for norm in NORMS:
        ball = Ball(norm=norm, radius=0.0)
        assert not ball.project(change).any()
        assert not ball.project_between(change, torch.tensor(-1.0), torch.tensor(1.0)).any()
        assert not ball.draw(change, generator=torch.Generator().manual_seed(0)).any()


def test_rounding_is_forgiven_and_more_is_not() -> None:
    ball = Ball(norm="l2", radius=1.0)
    assert ball.contains(torch.tensor([[1.0 + 5e-6, 0.0], [1.0 + 5e-5, 0.0]])).tolist() == [True, False]


@pytest.mark.parametrize(("norm", "radius"), [("l3", 1.0), ("l2", -1.0), ("l2", float("nan")), ("l2", float("inf"))])
def test_what_is_no_ball_is_refused(norm: str, radius: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Ball(norm=norm, radius=radius)  # type: ignore[arg-type]
