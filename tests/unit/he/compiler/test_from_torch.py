"""Programs of torch networks give what the networks give, before and after they are simplified."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wardline.core import Seeds, UsageError
from wardline.he.compiler.activations import PolynomialActivation, Square
from wardline.he.compiler.from_torch import read_torch, read_trained
from wardline.he.compiler.merging import simplify
from wardline.models import Cnn, Logistic, Mlp, ResNet, TrainedModel, build, torch_generator


def filled(model: nn.Module, seed: int) -> nn.Module:
    """Parameters and running figures drawn, none of them as they start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if "running_var" in name:
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point():
                value.uniform_(-0.6, 0.6, generator=generator)
    return model.eval()


def agree(model: nn.Module, shape: tuple[int, ...], seed: int, *, rows: int = 4) -> None:
    program = read_torch(model, shape, gives="values")
    x = np.random.default_rng(seed).normal(size=(rows, *shape))
    with torch.no_grad():
        wanted = model.double()(torch.from_numpy(x)).flatten(1).numpy()
    size = 1.0 + np.abs(wanted).max()
    np.testing.assert_allclose(program.evaluate(x) / size, wanted / size, atol=1e-9)
    np.testing.assert_allclose(simplify(program).evaluate(x) / size, wanted / size, atol=1e-7)
    assert sum(layer.products for layer in simplify(program).layers if hasattr(layer, "products")) <= sum(
        layer.products for layer in program.layers if hasattr(layer, "products")
    )


activations = st.sampled_from(["relu", "tanh", "sigmoid", "gelu", "gelu-tanh", "square", "polynomial", "none"])


def activation(name: str, degree: int) -> list[nn.Module]:
    made = {
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "gelu": nn.GELU,
        "gelu-tanh": lambda: nn.GELU("tanh"),
        "square": Square,
        "polynomial": lambda: PolynomialActivation([0.1] * (degree + 1)),
    }
    return [made[name]()] if name != "none" else []


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 10_000))
def test_images(data, seed: int) -> None:
    draw = data.draw
    shape = (draw(st.integers(1, 4)), draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    layers: list[nn.Module] = []
    channels, x = shape[0], torch.zeros(1, *shape)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["conv", "pool", "norm", "activation"]))
        if kind == "conv":
            groups = draw(st.sampled_from([one for one in (1, 2, 4) if channels % one == 0]))
            out = groups * draw(st.integers(1, 2))
            new = nn.Conv2d(
                channels,
                out,
                (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
                stride=draw(st.integers(1, 2)),
                padding=draw(st.sampled_from([0, 1, (1, 0)])),
                dilation=draw(st.integers(1, 2)),
                groups=groups,
                bias=draw(st.booleans()),
            )
        elif kind == "pool":
            new = nn.AvgPool2d(2, stride=draw(st.integers(1, 2)), padding=draw(st.integers(0, 1)))
        elif kind == "norm":
            new = nn.BatchNorm2d(channels)
        else:
            new = nn.Sequential(*activation(draw(activations), draw(st.integers(1, 4))))
        try:
            x = nn.Sequential(new).eval()(x)
        except RuntimeError:
            break  # smaller than the kernel
        channels = x.shape[1]
        layers.append(new)
    layers += [nn.Flatten(), nn.Dropout(), nn.Linear(x.numel(), 3)]
    agree(filled(nn.Sequential(*layers), seed), shape, seed)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    names=st.lists(activations, min_size=4, max_size=4),
    norms=st.lists(st.booleans(), min_size=4, max_size=4),
    degree=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_tables(widths: list[int], names: list[str], norms: list[bool], degree: int, seed: int) -> None:
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(inputs, outputs, bias=bool(index % 2)))
        layers += [nn.BatchNorm1d(outputs)] if norms[index] else []
        layers += activation(names[index], degree)
    agree(filled(nn.Sequential(*layers), seed), (widths[0],), seed)


def test_same_padding_of_even_kernels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(2, 1)), nn.Flatten())
    agree(filled(model, 0), (2, 6, 7), 0)


def test_the_pooled_convolution_is_one_and_padding_is_kept() -> None:
    model = filled(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)), 3)
    program = read_torch(model, (1, 8, 8))
    assert len(program.layers) == 3
    assert len(simplify(program).layers) < 3
    agree(model, (1, 8, 8), 3)


def test_average_pooling_becomes_adding() -> None:
    model = filled(nn.Sequential(nn.Conv2d(1, 2, 3), Square(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 3)), 3)
    pool = simplify(read_torch(model, (1, 8, 8))).layers[2]
    assert set(np.unique(pool.kernel)) == {1.0}
    agree(model, (1, 8, 8), 3)


def trained(architecture, seed: int) -> TrainedModel:
    network = build(architecture, generator=torch_generator(Seeds(seed), "init"))
    filled(network, seed)
    width = architecture.inputs + architecture.linear_inputs
    return TrainedModel(
        architecture=architecture,
        parameters={name: value.detach().numpy() for name, value in network.named_parameters()},
        features=tuple(f"f{index}" for index in range(width)),
        classes=("no", "yes", "perhaps"),
    )


@pytest.mark.parametrize(
    "architecture",
    [
        Logistic(inputs=5, classes=3),
        Logistic(inputs=5, classes=3, linear_inputs=2),
        Mlp(inputs=5, hidden=(4, 6), classes=3),
    ],
)
def test_the_houses_own_models(architecture) -> None:
    model = trained(architecture, 1)
    program = read_trained(model)
    x = np.random.default_rng(2).normal(size=(20, len(model.features))).astype(np.float32)
    np.testing.assert_allclose(program.evaluate(x), model.logits(x), atol=1e-5)
    np.testing.assert_array_equal(program.decide(x), model.predict(x))
    assert program.features == model.features
    assert program.meaning.classes == model.classes


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        (Cnn(shape=(1, 8, 8), channels=(2,), hidden=4, classes=3), "maxima"),
        (ResNet(shape=(1, 8, 8), channels=(8,), blocks=(1,), classes=3), "ResNet"),
        (Mlp(inputs=5, hidden=(4,), classes=3, linear_inputs=2), "past the hidden"),
    ],
)
def test_house_models_that_cannot_be_compiled(architecture, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_trained(trained(architecture, 0))
    assert refused.value.where
    assert refused.value.hint


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.MaxPool2d(2), "maximum"),
        (nn.LayerNorm(8), "LayerNorm"),
        (nn.AvgPool2d(2, ceil_mode=True), "rounds up"),
        (nn.AvgPool2d(3, padding=1, count_include_pad=False), "padding"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.BatchNorm2d(1, track_running_stats=False), "running"),
        (nn.Linear(8, 2), "one line at a time"),
        (nn.Flatten(2), "whole rows"),
        (nn.Softmax(1), "Softmax"),
    ],
)
def test_layers_that_are_refused_are_named_with_what_to_do(layer: nn.Module, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_torch(nn.Sequential(nn.Sequential(nn.ReLU(), layer)), (1, 8, 8))
    assert refused.value.where == "0.1"
    assert refused.value.hint


def test_a_shape_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="reads 5 numbers"):
        read_torch(nn.Sequential(nn.Linear(5, 2)), (4,))
    with pytest.raises(UsageError, match="needs images"):
        read_torch(nn.Sequential(nn.Conv2d(1, 1, 3)), (9,))


def test_a_single_layer_and_a_decision() -> None:
    layer = filled(nn.Linear(3, 1), 0)
    program = read_torch(layer, (3,), gives="decision", classes=("good", "bad"))
    x = np.random.default_rng(0).normal(size=(9, 3))
    with torch.no_grad():
        wanted = torch.sigmoid(layer.double()(torch.from_numpy(x)))[:, 0].numpy()
    np.testing.assert_allclose(program.meaning.probabilities(program.evaluate(x))[:, 1], wanted, atol=1e-12)
    np.testing.assert_array_equal(program.decide(x), wanted > 0.5)
