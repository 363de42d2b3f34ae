"""The minimiser and its certificate."""

import numpy as np
import pytest

from wardline.core import Seeds
from wardline.dp.estimators import losses as losses_module
from wardline.dp.estimators.losses import LogisticLoss, MultinomialLoss
from wardline.dp.estimators.minimise import minimise
from wardline.dp.estimators.objective import TOLERANCE


def problem(classes, *, rows=400, columns=6, name="p", spread=1.0):
    rng = Seeds(3).numpy(name)
    x = rng.normal(size=(rows, columns)) * spread
    x /= np.maximum(1.0, np.linalg.norm(x, axis=1, keepdims=True))
    labels = rng.integers(0, classes, rows)
    weights = 1.0 / rng.integers(1, 4, rows)
    if classes == 2:
        return LogisticLoss(rows=x, signs=2.0 * labels - 1.0, weights=weights, row_norm=1.0)
    return MultinomialLoss(rows=x, labels=labels, weights=weights, row_norm=1.0, classes=classes)


def value(loss, theta):
    if isinstance(loss, LogisticLoss):
        return float(loss.weights @ np.logaddexp(0.0, -loss.signs * (loss.rows @ theta)))
    logits = loss.rows @ theta.reshape(loss.classes, -1).T
    chosen = logits[np.arange(len(logits)), loss.labels]
    return float(loss.weights @ (np.log(np.exp(logits).sum(axis=1)) - chosen))


@pytest.mark.parametrize("classes", [2, 4])
def test_derivatives_are_those_of_the_value(classes):
    loss = problem(classes)
    theta = Seeds(0).numpy("theta").normal(size=loss.size)
    gradient = loss.gradient(loss.residuals(theta))
    step, size = 1e-5, loss.size
    numeric = [(value(loss, theta + step * e) - value(loss, theta - step * e)) / (2 * step) for e in np.eye(size)]
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)
    hessian = loss.curvature(theta)
    moved = [loss.gradient(loss.residuals(theta + s * step * e)) for e in np.eye(size) for s in (1, -1)]
    numeric = (np.array(moved[::2]) - np.array(moved[1::2])) / (2 * step)
    np.testing.assert_allclose(hessian, numeric, atol=1e-6)
    direction = Seeds(1).numpy("direction").normal(size=size)
    np.testing.assert_allclose(loss.curvature_times(theta, direction), hessian @ direction, atol=1e-9)


def exact_gradient(loss, theta):
    """In extended precision, one addition after the other."""
    wide = np.longdouble
    rows, weights = loss.rows.astype(wide), loss.weights.astype(wide)
    if isinstance(loss, LogisticLoss):
        margins = loss.signs * (rows * theta.astype(wide)).sum(axis=1)
        with np.errstate(over="ignore"):
            return -((weights * loss.signs / (1 + np.exp(margins)))[:, None] * rows).sum(axis=0)
    logits = (rows[:, None, :] * theta.astype(wide).reshape(loss.classes, -1)).sum(axis=2)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    residuals = odds / odds.sum(axis=1, keepdims=True) - np.eye(loss.classes)[loss.labels]
    return np.einsum("r,rk,rc->kc", weights, residuals, rows).ravel()


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="no extended precision on this machine")
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("rows", [1, 255, 5000])
@pytest.mark.parametrize("scale", [0.1, 10.0, 300.0])
def test_the_certificate_covers_the_rounding(classes, rows, scale):
    loss = problem(classes, rows=rows, columns=40, name=f"{classes}{rows}{scale}")
    theta = Seeds(2).numpy("theta").normal(size=loss.size) * scale
    careful, error = loss.careful_gradient(theta)
    actual = float(np.linalg.norm((careful - exact_gradient(loss, theta)).astype(np.float64)))
    assert actual <= error
    assert error <= 1e-16 * rows * 1e4 * (1 + scale * 40), "a bound that is far too wide would refuse honest data"


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("regularization", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("strength", [0.0, 5.0, 500.0])
def test_the_minimum_is_found(classes, regularization, strength):
    loss = problem(classes, name="m")
    linear = strength * Seeds(4).numpy("b").normal(size=loss.size)
    theta = minimise(loss, regularization=regularization, linear=linear, tolerance=TOLERANCE)
    gradient = exact_gradient(loss, theta) + regularization * theta + linear
    assert np.linalg.norm(gradient.astype(np.float64)) <= TOLERANCE


def test_many_parameters_go_another_way_to_the_same_minimum():
    loss = problem(3, rows=300, columns=350, name="wide")
    assert loss.size > 1000
    linear = Seeds(5).numpy("b").normal(size=loss.size)
    theta = minimise(loss, regularization=0.5, linear=linear, tolerance=1e-6)
    gradient = exact_gradient(loss, theta) + 0.5 * theta + linear
    assert np.linalg.norm(gradient.astype(np.float64)) <= 1e-6


def test_separable_rows_with_hardly_any_regularization():
    rows = np.array([[1.0, 1.0], [-1.0, 1.0]]) / 2
    loss = LogisticLoss(rows=rows, signs=np.array([1.0, -1.0]), weights=np.ones(2), row_norm=1.0)
    theta = minimise(loss, regularization=1e-6, linear=np.zeros(2), tolerance=1e-9)
    assert 10 < theta[0] < 100
    assert abs(theta[1]) < 1e-6


def test_a_minimum_that_cannot_be_certified_is_not_given_out(monkeypatch):
    loss = problem(2, name="n")
    with pytest.raises(ValueError, match="cannot be certified"):
        minimise(loss, regularization=1.0, linear=np.zeros(loss.size), tolerance=1e-16)
    # The control: the same minimum passes where rounding is taken to be nothing.
    monkeypatch.setattr(losses_module, "_UNIT", 0.0)
    monkeypatch.setattr("wardline.dp.estimators.minimise._UNIT", 0.0)
    minimise(loss, regularization=1.0, linear=np.zeros(loss.size), tolerance=1e-13)
