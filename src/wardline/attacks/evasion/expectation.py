"""Loss, gradient and outcome at a point; for a model that answers at random, their means over several draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wardline.attacks.evasion.losses import Loss, loss_rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slope:
    """What one evaluation of a model tells a search.

    Attributes:
        gradient: of the loss, [rows, ...]; None where it was not asked for. Rows without finite logits have zeros.
        loss: [rows].
        misled: the share of the draws in which the row was misread, [rows]; 0 or 1 for one draw. An answer that is no
            number misleads nobody.
    """

    gradient: Tensor | None
    loss: Tensor
    misled: Tensor


def slope(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    draws: int = 1,
    wanted: Tensor | None = None,
    differentiate: bool = True,
) -> Slope:
    """Evaluate a model, and differentiate it with respect to its inputs alone.

    The expectation is that of the loss over the model's own randomness (expectation over transformations): one pass a
    draw, so that memory does not grow with the number of draws.

    Args:
        net: yields logits; its parameters need no gradient.
        x: inputs [rows, ...].
        y: true classes [rows].
        loss: what is differentiated.
        draws: how often a randomised model is asked, at least 1.
        wanted: see `loss_rows`.
        differentiate: whether the gradient is wanted.

    References: Athalye et al. 2018 (Synthesizing robust adversarial examples), section 2.
    """
    found = _once(net, x, y, loss=loss, wanted=wanted, differentiate=differentiate)
    if draws == 1:
        return found
    rows, misled, gradient = found.loss, found.misled, found.gradient
    for _ in range(draws - 1):
        more = _once(net, x, y, loss=loss, wanted=wanted, differentiate=differentiate)
        rows, misled = rows + more.loss, misled + more.misled
        if gradient is not None and more.gradient is not None:
            gradient += more.gradient
    return Slope(gradient=gradient, loss=rows / draws, misled=misled / draws)


def _once(net: nn.Module, x: Tensor, y: Tensor, *, loss: Loss, wanted: Tensor | None, differentiate: bool) -> Slope:
    gradient = None
    with torch.set_grad_enabled(differentiate):
        point = x.detach().requires_grad_(differentiate)
        logits = net(point)
        rows = loss_rows(loss, logits, y, wanted=wanted)
        total = rows.sum()
        if differentiate:
            # A model without a path from input to output has no gradient at all: zeros, which the checks report.
            gradient = torch.autograd.grad(total, point, allow_unused=True)[0] if rows.requires_grad else None
            gradient = torch.zeros_like(point) if gradient is None else gradient
    logits = logits.detach()
    misled = logits.argmax(dim=1) != y
    if not math.isfinite(total.item()):  # one number tells that all is well, as it nearly always is
        misled &= logits.isfinite().all(dim=1)
        gradient = None if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
    return Slope(gradient=gradient, loss=rows.detach(), misled=misled.float())
