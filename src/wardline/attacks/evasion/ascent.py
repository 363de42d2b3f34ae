"""One step uphill, of a given length in a given norm."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from wardline.robust.ball import Norm

_TINY = torch.finfo(torch.float32).tiny


def ascend(gradient: Tensor, norm: Norm, size: float, *, density: float = 0.05) -> Tensor:
    """The step that raises the loss most to first order, row by row; rows without a gradient get none.

    In L1 the steepest step changes a single feature, and a search of a few dozen steps would touch a few dozen. It is
    spread evenly over the features of largest slope instead.

    Args:
        gradient: of the loss, [rows, ...]; features that are not to move have a zero there.
        norm: which length is meant.
        size: the length of the step in that norm, at least 0.
        density: for ``l1``: the share of the features that a step changes, in (0, 1]; at least one feature.

    References: Madry et al. 2018, section 2.1 (linf, l2); Tramer and Boneh 2019, section 4.1 (SLIDE, l1).
    """
    match norm:
        case "linf":
            return gradient.sign().mul_(size)
        case "l2":
            # Gradients of a confident model may be so small that their squares underflow: scale first.
            flat = gradient.flatten(1)
            unit = flat / flat.abs().amax(dim=1, keepdim=True).clamp_min(_TINY)
            lengths: Tensor = unit.norm(dim=1, keepdim=True)
            return (unit * (size / lengths.clamp_min(_TINY))).reshape(gradient.shape)
        case "l1":
            flat = gradient.flatten(1)
            most = max(1, round(density * flat.shape[1]))
            slopes, where = flat.abs().topk(most, dim=1)
            signs = flat.gather(1, where).sign()
            changed = (slopes > 0).sum(dim=1, keepdim=True).clamp_min(1)
            step = torch.zeros_like(flat).scatter_(1, where, signs * (size / changed))
            return step.reshape(gradient.shape)
        case _:
            assert_never(norm)
