from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.reconstruction.informed import InformedAdversary, InformedData, missing_record
from wardline.core import Verdict, canonical_json
from wardline.models.torch_predictor import TorchPredictor

ROWS, COLUMNS = 120, 8
GENERATOR = np.random.default_rng(4)
X = GENERATOR.random((ROWS, COLUMNS))
SECRETS = np.arange(40)


def _target(classes: int) -> Target:
    predictor = TorchPredictor(nn.Linear(COLUMNS, classes), classes=classes)
    return Target(predictor, InputSpec(shape=(COLUMNS,)))


def _released(classes: int) -> InformedData:
    y = (X @ GENERATOR.normal(size=(COLUMNS, classes)) + GENERATOR.gumbel(size=(ROWS, classes))).argmax(axis=1)
    model = LogisticRegression(
        C=2.0, solver="newton-cg" if classes > 2 else "newton-cholesky", tol=1e-12, max_iter=10_000
    )
    model.fit(X, y)
    return InformedData(x=X, y=y, secrets=SECRETS, penalty=0.5, coefficients=model.coef_, intercepts=model.intercept_)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_missing_row_of_a_logistic_regression_is_found_to_four_digits(classes: int) -> None:
    result = InformedAdversary(tolerance=1e-4).run(_target(classes), _released(classes), Budget(), 0)
    assert result.rate == 1.0
    assert result.details["largest_error"]["highest"] < 1e-4
    assert result.verdict is Verdict.FAIL
    canonical_json(result.to_json())


def test_the_missing_row_and_target_of_a_ridge_regression_are_found() -> None:
    y = X @ GENERATOR.normal(size=COLUMNS) + GENERATOR.normal(size=ROWS)
    model = Ridge(alpha=3.0, tol=1e-12).fit(X, y)
    for secret in range(10):
        known = np.delete(np.arange(ROWS), secret)
        residuals = model.predict(X[known]) - y[known]
        row, residual = missing_record(
            model.coef_[None], np.array([model.intercept_]), X[known], residuals[:, None], penalty=3.0
        )
        np.testing.assert_allclose(row, X[secret], atol=1e-4)
        assert model.predict(row[None])[0] - residual[0] == pytest.approx(y[secret], abs=1e-4)


def test_a_noisy_release_defeats_it_and_the_control_works() -> None:
    """Objective perturbation: a random linear term keeps the optimum from telling the missing gradient."""
    from scipy.optimize import minimize

    exact = _released(2)
    push = np.random.default_rng(1).normal(size=COLUMNS + 1) * 2.0

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        logits = X @ values[:-1] + values[-1]
        residual = 1 / (1 + np.exp(-logits)) - exact.y
        loss = (
            np.logaddexp(0, logits).sum() - (exact.y * logits).sum() + 0.25 * (values[:-1] ** 2).sum() + push @ values
        )
        return loss, np.append(X.T @ residual + 0.5 * values[:-1], residual.sum()) + push

    found = minimize(objective, np.zeros(COLUMNS + 1), jac=True, tol=1e-12).x
    noisy = InformedData(
        x=X, y=exact.y, secrets=SECRETS, penalty=0.5, noise=2.0, coefficients=found[None, :-1], intercepts=found[-1:]
    )
    result = InformedAdversary(tolerance=0.05).run(_target(2), noisy, Budget(), 0)
    assert result.rate == 0.0
    assert result.verdict is Verdict.PASS
    assert "40 of 40" in next(check for check in result.checks if check.name == "control").detail


def test_who_knows_the_noise_errs_less_than_who_ignores_it() -> None:
    """Simulated open gradients, 200 rows: the regression towards the mean halves the squared error."""
    generator = np.random.default_rng(2)
    known = generator.random((200, COLUMNS))
    with_it, without = [], []
    for _ in range(200):
        row, residual = generator.random(COLUMNS), generator.uniform(0.2, 1.0)
        opened = residual * row + 0.3 * generator.normal(size=COLUMNS)
        # One known row with a residual that makes up for what the missing one and the noise leave open.
        x = np.concatenate([known, [-opened / -residual]])
        residuals = np.append(np.zeros(200), -residual)[:, None]
        for noise, errors in ((0.3, with_it), (0.0, without)):
            guess, _ = missing_record(np.zeros((1, COLUMNS)), np.zeros(1), x, residuals, noise=noise)
            errors.append(((guess - row) ** 2).mean())
    assert np.mean(with_it) < 0.5 * np.mean(without)


def test_a_model_with_layers_and_rows_that_do_not_fit_are_refused() -> None:
    deep = nn.Sequential(nn.Linear(COLUMNS, 4), nn.ReLU(), nn.Linear(4, 2))
    data = InformedData(x=X, y=np.zeros(ROWS, dtype=np.int64), secrets=SECRETS)
    target = Target(TorchPredictor(deep, classes=2), InputSpec(shape=(COLUMNS,)))
    with pytest.raises(ValueError, match="single linear layer"):
        InformedAdversary().run(target, data, Budget(), 0)
    with pytest.raises(ValueError, match="indices"):
        InformedData(x=X, y=np.zeros(ROWS, dtype=np.int64), secrets=np.array([ROWS]))


def test_the_network_itself_is_read_where_nothing_better_was_released() -> None:
    data = _released(2)
    layer = nn.Linear(COLUMNS, 2)
    import torch

    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.concatenate([-data.coefficients, data.coefficients]) / 2))
        layer.bias.copy_(torch.from_numpy(np.concatenate([-data.intercepts, data.intercepts]) / 2))
    target = Target(TorchPredictor(layer, classes=2), InputSpec(shape=(COLUMNS,)))
    bare = InformedData(x=X, y=data.y, secrets=SECRETS, penalty=0.5)
    result = InformedAdversary(tolerance=0.01).run(target, bare, Budget(), 0)
    assert result.rate > 0.9
