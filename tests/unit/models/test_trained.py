import numpy as np
import pytest
import torch

from wardline.models import Logistic, Mlp, TrainedModel, build

ARCHITECTURE = Mlp(inputs=3, hidden=(4,), classes=2, linear_inputs=1)


def trained(**changes):
    network = build(ARCHITECTURE)
    values = {
        "architecture": ARCHITECTURE,
        "parameters": {name: value.detach().numpy() for name, value in network.named_parameters()},
        "features": ("a", "b", "c", "canary"),
        "classes": ("no", "yes"),
    }
    return TrainedModel(**{**values, **changes})


def test_logits_are_the_modules_and_batches_do_not_show():
    model = trained()
    x = np.random.default_rng(0).normal(size=(9000, 4)).astype(np.float32)
    with torch.inference_mode():
        expected = model.module()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.logits(x), expected, atol=1e-6)
    np.testing.assert_array_equal(model.predict(x), expected.argmax(axis=1))
    assert model.logits(x[:0]).shape == (0, 2)


def test_losses_are_cross_entropy_and_keep_tiny_ones_apart():
    model = trained()
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    y = np.arange(50) % 2
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(model.logits(x)).double(), torch.from_numpy(y), reduction="none"
    )
    np.testing.assert_allclose(model.losses(x, y), expected.numpy(), rtol=1e-12)
    sure = TrainedModel(
        architecture=Logistic(inputs=1, classes=2),
        parameters={"head.weight": np.array([[0.0], [1.0]], np.float32), "head.bias": np.zeros(2, np.float32)},
        features=("a",),
        classes=("no", "yes"),
    )
    losses = sure.losses(np.array([[40.0], [60.0], [1000.0]], np.float32), np.array([1, 1, 0]))
    np.testing.assert_allclose(losses, [np.exp(-40.0), np.exp(-60.0), 1000.0], rtol=1e-9)


def test_it_is_a_value_that_nobody_can_change():
    weights = np.zeros((2, 1), np.float32)
    model = TrainedModel(
        architecture=Logistic(inputs=1, classes=2),
        parameters={"head.weight": weights, "head.bias": np.zeros(2, np.float32)},
        features=("a",),
        classes=("no", "yes"),
    )
    weights[:] = 7
    assert not model.parameters["head.weight"].any()
    with pytest.raises(ValueError):
        model.parameters["head.weight"][0, 0] = 1
    with pytest.raises(TypeError):
        model.parameters["head.weight"] = weights
    module = model.module()
    with torch.no_grad():
        module["head"].weight.fill_(3)
    assert not model.parameters["head.weight"].any()


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ("a", "b", "c")},
        {"classes": ("no", "yes", "maybe")},
        {"parameters": {}},
        {"architecture": Mlp(inputs=3, hidden=(5,), classes=2, linear_inputs=1)},
    ],
)
def test_what_does_not_fit_is_refused(changes):
    with pytest.raises(ValueError):
        trained(**changes)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    parameters = {name: value.copy() for name, value in trained().parameters.items()}
    parameters["head.bias"][0] = bad
    with pytest.raises(ValueError, match="not finite"):
        trained(parameters=parameters)
    with pytest.raises(ValueError, match="32-bit"):
        trained(parameters={name: value.astype(np.float64) for name, value in trained().parameters.items()})


def test_rows_with_other_columns_are_refused():
    with pytest.raises(ValueError, match="5 columns"):
        trained().logits(np.zeros((2, 5), np.float32))
