"""Models of every kind become programs for ciphertexts that decide as they do."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from wardline.core import DataError, UsageError
from wardline.he.compiler.preparation import prepare
from wardline.he.compiler.quantised import Bits, Noise
from wardline.models import Logistic, TrainedModel


def credit(seed: int, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Columns of sizes that differ by a factor of a million, and a decision that depends on all of them."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.lognormal(11, 0.5, rows), rng.uniform(0, 1, rows), rng.integers(18, 90, rows)])
    score = (np.log(x[:, 0]) - 11) * 2 + (x[:, 1] - 0.5) * 3 + (x[:, 2] - 50) / 30
    return x, (score + rng.normal(0, 0.5, rows) > 0).astype(int)


def test_a_logistic_model_needs_one_level_and_few_bits() -> None:
    x, y = credit(0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    prepared = prepare(model, x)
    assert prepared.levels == 1
    assert prepared.fits == ()
    found = prepared.agreement(credit(1)[0], Bits(inputs=18, weights=16, scale=24))
    assert found.same >= 0.995 * found.rows
    found.check(0.99, largest_typical_error=0.5)
    with pytest.raises(UsageError, match="off by"):
        found.check(0.99, largest_typical_error=1e-9)
    with pytest.raises(UsageError, match="fewer than"):
        prepared.agreement(x, Bits(inputs=2, weights=2, scale=4)).check(0.999, largest_typical_error=1e9)


def test_errors_of_rows_in_range_are_as_predicted() -> None:
    x, y = credit(0)
    prepared = prepare(LogisticRegression().fit((x - x.mean(0)) / x.std(0), y), (x - x.mean(0)) / x.std(0), margin=0.0)
    rows = (x - x.mean(0)) / x.std(0)
    bits, noise = Bits(inputs=16, weights=16, scale=24), Noise(inputs=1e-4, maps=1e-4, answer=1e-3)
    found = prepared.agreement(rows, bits, noise=noise, random=np.random.default_rng(0))
    predicted = prepared.precision(bits, noise).output
    assert found.typical_error == pytest.approx(predicted.deviation[0], rel=0.2)
    assert found.largest_error <= predicted.bound[0]


def test_a_perceptron_with_fitted_activations_agrees() -> None:
    x, y = credit(0)
    model = make_pipeline(StandardScaler(), MLPClassifier((8,), activation="tanh", random_state=0, max_iter=60))
    prepared = prepare(model.fit(x, y), x, degree=4)
    assert prepared.levels == 4
    assert len(prepared.fits) == 1
    rows = credit(1)[0]
    found = prepared.agreement(rows, Bits(inputs=20, weights=20, scale=30))
    assert found.same >= 0.97 * found.rows
    decided = prepared.program.decide(prepared.rows(rows)[0])
    assert (decided == model.predict(rows)).mean() >= 0.97


def test_rows_out_of_range_are_told_of() -> None:
    x, y = credit(0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    far = x[:4].copy()
    far[2, 1] = 40.0
    rows, clipped = prepare(model, x).rows(far)
    assert clipped == 1
    assert np.abs(rows).max() <= 1.0
    with pytest.raises(DataError, match="column 1"):
        prepare(model, x, policy="refuse").rows(far)
    with pytest.raises(ValueError, match="at least one row"):
        prepare(model, x).agreement(x[:0], Bits())


def dense_onnx(weights: np.ndarray) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", weights.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    return onnx.helper.make_model(graph).SerializeToString()


def test_every_kind_of_model_is_known() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 2)).astype(np.float32)
    x = rng.normal(size=(50, 3)).astype(np.float32)
    torch_model = nn.Sequential(nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        torch_model[0].weight.copy_(torch.from_numpy(weights.T))
    house = TrainedModel(
        architecture=Logistic(inputs=3, classes=2),
        parameters={"head.weight": weights.T.copy(), "head.bias": np.zeros(2, dtype=np.float32)},
        features=("a", "b", "c"),
        classes=("no", "yes"),
    )
    for model in (torch_model, house, dense_onnx(weights), prepare(torch_model, x).plain):
        prepared = prepare(model, x)
        np.testing.assert_allclose(prepared.plain.evaluate(x), x @ weights, atol=1e-5)
        np.testing.assert_allclose(prepared.program.evaluate(prepared.rows(x)[0]), x @ weights, atol=1e-5)
    with pytest.raises(UsageError, match="list is no model"):
        prepare([1, 2], x)


def test_a_pixel_that_the_sample_left_black_is_not_clipped() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2))
    sample = rng.uniform(0, 1, size=(20, 1, 6, 6))
    sample[:, :, 0, 0] = 0.0
    prepared = prepare(model, sample)
    bright = np.full((1, 1, 6, 6), 0.9)
    rows, clipped = prepared.rows(bright)
    assert clipped == 0
    np.testing.assert_allclose(prepared.program.evaluate(rows), prepared.plain.evaluate(bright), atol=1e-9)
