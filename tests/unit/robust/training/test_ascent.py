import pytest
import torch
from torch import nn

from wardline.robust.ball import Ball
from wardline.robust.training.ascent import ascend, frozen
from wardline.robust.training.config import Search


def generator():
    return torch.Generator().manual_seed(0)


def inputs(rows=40, columns=6):
    return torch.empty(rows, columns).uniform_(generator=generator())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), None])
def test_what_is_found_lies_in_the_ball_and_in_the_bounds(norm, random_start, bounds):
    x, ball = inputs(), Ball(norm=norm, radius=0.3)
    before = x.clone()
    slope = torch.linspace(-2, 2, 6)
    found = ascend(
        lambda point: (point @ slope).sum() + (point**2).sum(),
        x,
        ball=ball,
        search=Search(steps=4, step=0.2, random_start=random_start),
        bounds=bounds,
        generator=generator(),
    )
    assert torch.equal(x, before)
    assert not found.requires_grad
    assert float(ball.size(found - x).max()) <= 0.3 + 1e-6
    assert (float(found.min()) >= 0 and float(found.max()) <= 1) == (bounds is not None)


@pytest.mark.parametrize(("norm", "gain"), [("linf", 0.1 * 6.0), ("l2", 0.1 * (2 * (2.0**2 + 1 + 0)) ** 0.5)])
def test_the_worst_change_of_a_linear_loss_is_found(norm, gain):
    """Hölder: a linear loss rises by the radius times the dual norm of its slope, and no more."""
    slope = torch.tensor([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0])
    x = torch.full((5, 6), 0.5)
    found = ascend(
        lambda point: (point @ slope).sum(),
        x,
        ball=Ball(norm=norm, radius=0.1),
        search=Search(steps=20, step=0.05),
        bounds=(0.0, 1.0),
        generator=generator(),
    )
    torch.testing.assert_close((found - x) @ slope, torch.full((5,), gain), atol=1e-4, rtol=0)


def test_each_row_is_searched_by_itself():
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    x = inputs()

    def search(rows):
        return ascend(
            lambda point: network(point).sum(),
            rows,
            ball=Ball(norm="l2", radius=0.2),
            search=Search(steps=3, step=0.1, random_start=False),
            bounds=None,
            generator=generator(),
        )

    torch.testing.assert_close(search(x), torch.cat([search(row[None]) for row in x]))


def test_parameters_get_no_gradient_while_inputs_are_searched():
    network = nn.Linear(6, 1)
    network.bias.requires_grad_(False)
    with frozen(network):
        assert not any(value.requires_grad for value in network.parameters())
        x = inputs().requires_grad_()
        network(x).sum().backward()
        assert x.grad is not None
        assert network.weight.grad is None
    assert network.weight.requires_grad
    assert not network.bias.requires_grad  # what was not wanted before is not wanted afterwards


def test_parameters_are_wanted_again_after_an_error():
    network = nn.Linear(6, 1)
    with pytest.raises(ZeroDivisionError), frozen(network):
        raise ZeroDivisionError
    assert network.weight.requires_grad
