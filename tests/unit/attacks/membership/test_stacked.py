from __future__ import annotations

import numpy as np
import pytest
import torch

from wardline.attacks.membership.stacked import stacked_logits
from wardline.core import Seeds
from wardline.models import Architecture, Cnn, Logistic, Mlp, build, columns, torch_generator
from wardline.models.architecture import ResNet

ARCHITECTURES: list[Architecture] = [
    Logistic(inputs=12, classes=3, linear_inputs=4),
    Mlp(inputs=20, hidden=(9, 7), classes=3, linear_inputs=2),
    Cnn(shape=(2, 9, 8), channels=(4, 6), hidden=8, classes=3, linear_inputs=3),
    ResNet(shape=(1, 8, 8), channels=(8, 16), blocks=(1, 1), classes=3),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("models", [1, 3])
def test_a_stack_answers_as_its_networks_do_and_has_their_gradients(architecture: Architecture, models: int) -> None:
    networks = [build(architecture, generator=torch_generator(Seeds(1), f"n{i}")) for i in range(models)]
    generator = torch_generator(Seeds(2), "values")
    with torch.no_grad():
        for network in networks:
            for value in network.parameters():
                value.add_(0.1 * torch.empty_like(value).normal_(generator=generator))
    names = [name for name, _ in networks[0].named_parameters()]
    stacked = {
        name: torch.stack([network.get_parameter(name).detach() for network in networks]).requires_grad_()
        for name in names
    }
    x = torch.from_numpy(np.random.default_rng(0).random((models, 5, columns(architecture)), dtype=np.float32))
    together = stacked_logits(architecture, stacked, x)
    weights = torch.from_numpy(np.random.default_rng(1).random(together.shape, dtype=np.float32))
    gradients = dict(zip(names, torch.autograd.grad((together * weights).sum(), list(stacked.values())), strict=True))
    for index, network in enumerate(networks):
        alone = network(x[index])
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-4)
        expected = torch.autograd.grad((alone * weights[index]).sum(), list(network.parameters()))
        for name, value in zip(names, expected, strict=True):
            torch.testing.assert_close(gradients[name][index], value, atol=1e-4, rtol=1e-3)
