import dataclasses

import pytest
import torch

from wardline.core import Seeds
from wardline.models import Cnn, Logistic, Mlp, build, columns, parameter_shapes, torch_generator
from wardline.models.architecture import ResNet

ARCHITECTURES = [
    Logistic(inputs=5, classes=3),
    Logistic(inputs=5, classes=3, linear_inputs=2),
    Mlp(inputs=5, hidden=(4, 3), classes=2),
    Mlp(inputs=5, hidden=(4,), classes=2, linear_inputs=2),
    Cnn(shape=(2, 8, 9), channels=(4, 8), hidden=16, classes=10, linear_inputs=3),
    ResNet(shape=(2, 8, 9), channels=(8, 16), blocks=(2, 1), classes=10, stride=2, linear_inputs=3),
]


def learned(architecture):
    """A network none of whose parameters is zero any more."""
    network = build(architecture)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.empty_like(value).uniform_(-0.2, 0.2))
    return network


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parameters_are_those_of_the_architecture_and_rows_do_not_mix(architecture):
    network = learned(architecture)
    assert {name: tuple(value.shape) for name, value in network.named_parameters()} == parameter_shapes(architecture)
    assert list(dict(network.named_parameters())) == list(parameter_shapes(architecture))
    x = torch.rand(6, columns(architecture))
    with torch.inference_mode():
        together = network(x)
        alone = torch.cat([network(row[None]) for row in x])
    assert together.shape == (6, architecture.classes)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    network.train()
    torch.testing.assert_close(network(x), together, rtol=1e-4, atol=1e-5)  # nothing behaves otherwise in training


def test_the_same_stream_gives_the_same_weights_and_another_does_not():
    architecture = ARCHITECTURES[2]
    weights = [
        build(architecture, generator=torch_generator(Seeds(root), name))["dense0"].weight
        for root, name in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])
    assert not torch.equal(build(architecture)["dense0"].weight, build(architecture)["dense0"].weight)


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    for architecture in ARCHITECTURES:
        build(architecture)
    assert torch.equal(before, torch.get_rng_state())


def test_logistic_regression_and_linear_inputs_start_at_zero():
    assert all(not value.any() for value in build(ARCHITECTURES[1]).parameters())
    network = build(ARCHITECTURES[4])
    assert not network["wide"].weight.any()
    assert all(value.any() for name, value in network.named_parameters() if not name.startswith("wide"))


@pytest.mark.parametrize("architecture", [one for one in ARCHITECTURES if one.linear_inputs])
def test_linear_inputs_are_added_to_the_logits_and_touch_nothing_else(architecture):
    network = build(architecture)
    with torch.no_grad():
        network["wide"].weight.copy_(torch.rand(architecture.classes, architecture.linear_inputs))
        x = torch.rand(4, columns(architecture))
        without = x.clone()
        without[:, architecture.inputs :] = 0
        expected = network(without) + x[:, architecture.inputs :] @ network["wide"].weight.T
        torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_many_networks_run_at_once_under_vmap(architecture):
    networks = [learned(architecture) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(networks)
    x = torch.rand(4, columns(architecture))
    logits = torch.func.vmap(lambda one: torch.func.functional_call(networks[0], one, (x,)))(parameters)
    torch.testing.assert_close(logits, torch.stack([network(x) for network in networks]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", [one for one in ARCHITECTURES if hasattr(one, "shape")])
def test_images_may_come_as_images_or_flattened(architecture):
    architecture = dataclasses.replace(architecture, linear_inputs=0)
    network = learned(architecture)
    images = torch.rand(3, *architecture.shape, requires_grad=True)
    rows = images.detach().flatten(1).requires_grad_()
    torch.testing.assert_close(network(images), network(rows))
    (by_image,) = torch.autograd.grad(network(images).logsumexp(1).sum(), images)
    (by_row,) = torch.autograd.grad(network(rows).logsumexp(1).sum(), rows)
    assert by_image.shape == images.shape
    torch.testing.assert_close(by_image.flatten(1), by_row)


def test_a_residual_network_is_what_its_layers_say():
    architecture = ResNet(shape=(1, 6, 6), channels=(8, 16), blocks=(1, 1), classes=3)
    network = learned(architecture).double()
    x = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    weights = dict(network.named_parameters())

    def activated(name, value):
        groups = value.shape[1] // 8
        spread = value.unflatten(1, (groups, 8)).flatten(2)
        normal = (spread - spread.mean(2, keepdim=True)) / (spread.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
        scale, shift = (weights[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return (normal.reshape(value.shape) * scale + shift).clamp_min(0)

    def convolved(name, value, stride=1):
        return torch.nn.functional.conv2d(value, weights[f"{name}.weight"], stride=stride, padding=1)

    hidden = convolved("stem", 4 * x - 2)
    ahead = convolved("stage0_block0_conv0", activated("stage0_block0_norm0", hidden))
    hidden = hidden + convolved("stage0_block0_conv1", activated("stage0_block0_norm1", ahead))
    first = activated("stage1_block0_norm0", hidden)
    shortcut = torch.einsum(
        "oi,nihw->nohw", weights["stage1_block0_shortcut.weight"][:, :, 0, 0], first[:, :, ::2, ::2]
    )
    ahead = activated("stage1_block0_norm1", convolved("stage1_block0_conv0", first, stride=2))
    pooled = (shortcut + convolved("stage1_block0_conv1", ahead)).clamp_min(0).mean((2, 3))
    centred = pooled - pooled.mean(1, keepdim=True)
    normal = centred / ((centred**2).mean(1, keepdim=True) + 1e-5).sqrt()
    expected = (normal * weights["norm.weight"] + weights["norm.bias"]) @ weights["head.weight"].T + weights[
        "head.bias"
    ]
    torch.testing.assert_close(network(x), expected)


def test_a_residual_network_cannot_be_walked():
    network = build(ARCHITECTURES[5])
    with pytest.raises(TypeError, match="per-example"):
        list(network.layers())
    with pytest.raises(TypeError, match="per-example"):
        network.walk(torch.rand(2, columns(ARCHITECTURES[5])), lambda name, layer, value: layer(value))
