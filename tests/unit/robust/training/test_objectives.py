import dataclasses

import pytest
import torch
from torch.nn import functional

from wardline.core import Seeds
from wardline.models import Mlp, build, torch_generator
from wardline.robust.ball import Ball
from wardline.robust.training.config import RobustConfig, default_robust_config
from wardline.robust.training.objectives import Objective, logits_of

MLP = Mlp(inputs=6, hidden=(8,), classes=3)
BALL = Ball(norm="linf", radius=0.2)


def case(method, **changes):
    network = build(MLP, generator=torch_generator(Seeds(0), "net"))
    config: RobustConfig = default_robust_config(method, ball=BALL, n_rows=100, architecture=MLP)
    objective = Objective(
        network, dataclasses.replace(config, **changes), generator=torch_generator(Seeds(0), "draws")
    )  # fmt: skip
    x = torch.empty(20, 6).uniform_(generator=torch_generator(Seeds(0), "rows"))
    y = torch.arange(20) % 3
    return network, objective, x, y


def test_plain_training_minimises_cross_entropy():
    network, objective, x, y = case("plain")
    torch.testing.assert_close(objective(x, y), functional.cross_entropy(network(x), y))


@pytest.mark.parametrize("method", ["fgsm-rs", "pgd"])
def test_what_is_minimised_is_higher_than_the_clean_loss_and_reaches_the_parameters(method):
    network, objective, x, y = case(method)
    loss = objective(x, y)
    assert loss.item() > functional.cross_entropy(network(x), y).item() + 0.01
    loss.backward()
    assert all(value.grad is not None and value.grad.any() for value in network.parameters())


def test_trades_adds_what_separates_the_worst_answer_from_the_answer():
    network, none, x, y = case("trades", strength=1e-9)
    _, much, _, _ = case("trades", strength=10.0)
    clean = functional.cross_entropy(network(x), y)
    torch.testing.assert_close(none(x, y), clean)
    assert much(x, y).item() > clean.item() + 0.01


def test_noise_has_the_strength_that_was_asked_for():
    _, objective, x, y = case("noise", strength=0.5)
    seen = []
    objective._network = lambda rows: seen.append(rows) or torch.zeros(len(rows), 3)
    for _ in range(500):
        objective(x, y)
    noise = torch.stack(seen) - x
    # 60,000 draws: the standard deviation's own is .0015, so a false alarm has a probability below 1e-10.
    assert abs(float(noise.std()) - 0.5) < 0.01
    assert abs(float(noise.mean())) < 0.015


def test_half_precision_is_close_and_comes_back_in_32_bits():
    network, _, x, _ = case("plain")
    half, full = (logits_of(network, x, precision) for precision in ("bfloat16", "float32"))
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, atol=0.03, rtol=0.03)
