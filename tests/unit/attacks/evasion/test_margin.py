"""The exact margin of a linear classifier, and attacks judged by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.evasion.margin import linear_margin
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import NORMS, Ball, Norm


def _linear(features: int = 20, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    weights = generator.normal(size=(classes, features)).astype(np.float32)
    bias = generator.normal(size=classes).astype(np.float32)
    x = generator.random((60, features), dtype=np.float32)
    return weights, bias, x, (x @ weights.T + bias).argmax(axis=1)


def _target(weights: np.ndarray, bias: np.ndarray, *, low: float, high: float) -> Target:
    layer = nn.Linear(weights.shape[1], len(weights))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.copy_(torch.from_numpy(bias))
    spec = InputSpec(shape=(weights.shape[1],), low=low, high=high)
    return Target(TorchPredictor(layer, classes=len(weights)), spec)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_pgd_breaks_an_input_exactly_beyond_its_margin(norm: Norm, bounds: tuple[float, float] | None) -> None:
    weights, bias, x, y = _linear()
    margins = linear_margin(weights, bias, x, y, norm=norm, bounds=bounds)
    low, high = bounds or (-50.0, 50.0)
    # One radius for all: inputs whose margin lies within a twentieth of it are not decided by a search of finite steps.
    # With less than four classes the targeted loss is the plain gap to each class in turn, so every search is concave.
    radius = float(np.median(margins[np.isfinite(margins)]))
    pgd = Pgd(ball=Ball(norm=norm, radius=radius), loss="dlr_targeted", restarts=2)
    result = pgd.run(_target(weights, bias, low=low, high=high), Labelled(x=x, y=y), Budget(), 0)
    found = result.examples["found"]
    assert found[margins < 0.95 * radius].all()
    assert not found[margins > radius].any()
    assert (margins < 0.95 * radius).sum() >= 15
    assert (margins > radius).sum() >= 15


@pytest.mark.parametrize("norm", NORMS)
def test_bounds_that_nobody_reaches_change_nothing(norm: Norm) -> None:
    weights, bias, x, y = _linear()
    free = linear_margin(weights, bias, x, y, norm=norm)
    assert linear_margin(weights, bias, x, y, norm=norm, bounds=(-1e3, 1e3)) == pytest.approx(free)


@pytest.mark.parametrize("norm", NORMS)
def test_bounded_margins_are_what_an_optimiser_finds(norm: Norm) -> None:
    weights, bias, x, y = _linear(features=6)
    found = linear_margin(weights, bias, x[:8], y[:8], norm=norm, bounds=(0.0, 1.0))
    for row in range(8):
        least = min(_optimum(weights, bias, x[row], int(y[row]), other, norm) for other in range(3) if other != y[row])
        assert found[row] == pytest.approx(least, rel=1e-4) if np.isfinite(least) else np.isinf(found[row])


def test_a_misread_input_has_no_margin_and_equal_classes_have_an_infinite_one() -> None:
    weights, bias, x, y = _linear()
    assert not linear_margin(weights, bias, x, (y + 1) % 3, norm="l2").any()
    same = linear_margin(np.ones((2, 20)), np.array([1.0, 0.0]), x, np.zeros(60, dtype=np.int64), norm="linf")
    assert np.isinf(same).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    weights, bias, x, y = _linear()
    with pytest.raises(ValueError, match="weights are"):
        linear_margin(weights[:, :-1], bias, x, y, norm="l2")


def _optimum(weights: np.ndarray, bias: np.ndarray, x: np.ndarray, y: int, other: int, norm: Norm) -> float:
    """The same by general solvers: a linear programme for linf and l1, sequential least squares for l2."""
    normal, features = (weights[other] - weights[y]).astype(float), len(x)
    gap = float((weights[y] - weights[other]) @ x + bias[y] - bias[other])
    ends = [(-float(v), 1 - float(v)) for v in x]
    if norm == "l2":
        rule = {"type": "ineq", "fun": lambda d: normal @ d - gap, "jac": lambda d: normal}
        start = np.where(normal > 0, [high for _, high in ends], [low for low, _ in ends])
        solved = minimize(lambda d: d @ d, start, jac=lambda d: 2 * d, bounds=ends, constraints=[rule], method="SLSQP")
        return float(np.sqrt(solved.fun)) if normal @ start >= gap else np.inf
    # Unknowns: the change, then what bounds its parts (one number for linf, one a feature for l1).
    extra = 1 if norm == "linf" else features
    spread = np.ones((features, 1)) if norm == "linf" else np.eye(features)
    above = np.vstack([np.hstack([np.eye(features), -spread]), np.hstack([-np.eye(features), -spread])])
    above = np.vstack([above, np.concatenate([-normal, np.zeros(extra)])])
    limits = np.concatenate([np.zeros(2 * features), [-gap]])
    cost = np.concatenate([np.zeros(features), np.ones(extra)])
    solved = linprog(cost, A_ub=above, b_ub=limits, bounds=[*ends, *[(0, None)] * extra])
    return float(solved.fun) if solved.status == 0 else np.inf
