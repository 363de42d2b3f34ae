import pytest
import torch

from wardline.core import Seeds
from wardline.models import Cnn, Logistic, Mlp, build, columns, parameter_shapes, torch_generator

ARCHITECTURES = [
    Logistic(inputs=5, classes=3),
    Logistic(inputs=5, classes=3, linear_inputs=2),
    Mlp(inputs=5, hidden=(4, 3), classes=2),
    Mlp(inputs=5, hidden=(4,), classes=2, linear_inputs=2),
    Cnn(shape=(2, 8, 9), channels=(4, 8), hidden=16, classes=10, linear_inputs=3),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parameters_are_those_of_the_architecture_and_rows_do_not_mix(architecture):
    network = build(architecture)
    assert {name: tuple(value.shape) for name, value in network.named_parameters()} == parameter_shapes(architecture)
    assert list(dict(network.named_parameters())) == list(parameter_shapes(architecture))
    x = torch.rand(6, columns(architecture))
    with torch.inference_mode():
        together = network(x)
        alone = torch.cat([network(row[None]) for row in x])
    assert together.shape == (6, architecture.classes)
    torch.testing.assert_close(together, alone)


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
    networks = [build(architecture) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(networks)
    x = torch.rand(4, columns(architecture))
    logits = torch.func.vmap(lambda one: torch.func.functional_call(networks[0], one, (x,)))(parameters)
    torch.testing.assert_close(logits, torch.stack([network(x) for network in networks]))
