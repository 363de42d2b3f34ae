"""The inner problem of robust training: the change within a ball that raises a loss, found by gradient steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wardline.robust.ball import Ball
from wardline.robust.training.config import Search

_TINY = 1e-12


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No parameter needs a gradient inside: none is worked out, and nothing is kept to work it out from."""
    needed = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in needed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in needed:
            parameter.requires_grad_()


def ascend(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    ball: Ball,
    search: Search,
    bounds: tuple[float, float] | None,
    generator: torch.Generator,
) -> Tensor:
    """Inputs within the ball around `x`, and within the bounds, at which the loss is high.

    Steps follow the gradient's sign (``linf``) or its direction (``l2``); after each, the point is brought back into
    the ball and the bounds. For ``l2`` the bounds come last, which never leaves the ball if `x` is within them.

    Args:
        loss: of a batch of inputs, one number; each row's part must depend on that row alone.
        x: the inputs, within the bounds; not changed.
        ball: the changes that are allowed.
        search: how many steps, how long, and from where.
        bounds: the least and largest value of an input, or None.
        generator: draws the start.

    References:
        Madry et al. 2018, section 2.1; Wong et al. 2020, algorithm 3 (a single step).
    """
    low, high = bounds if bounds is not None else (None, None)
    point = x.clone()
    if search.random_start:
        point += ball.draw(x, generator=generator)
        _bound(point, low, high)
    lowest, highest = (x - ball.radius, x + ball.radius) if ball.norm == "linf" else (None, None)
    if lowest is not None and highest is not None and low is not None and high is not None:
        lowest.clamp_(min=low)
        highest.clamp_(max=high)
    for _ in range(search.steps):
        (slope,) = torch.autograd.grad(loss(point.requires_grad_()), point)
        point = point.detach()
        if lowest is not None and highest is not None:
            point.add_(slope.sign_(), alpha=search.step)
            torch.clamp(point, lowest, highest, out=point)
        else:
            lengths = slope.flatten(1).norm(dim=1).clamp_min_(_TINY)
            point.add_(slope.div_(lengths.view(-1, *(1,) * (slope.dim() - 1))), alpha=search.step)
            torch.add(x, ball.project(point.sub_(x)), out=point)
            _bound(point, low, high)
    return point


def _bound(point: Tensor, low: float | None, high: float | None) -> None:
    if low is not None or high is not None:
        point.clamp_(low, high)
