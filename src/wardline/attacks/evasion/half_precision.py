"""Gradients of convolutional networks in bfloat16, where that is faster and points the same way.

A search only needs to know where the loss rises. Whether it got there is asked in full precision: of every row that is
said to be misread, at the end of every search, and once more by the driver that judges all attacks.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from wardline.attacks.evasion.ascent import ascend
from wardline.attacks.evasion.expectation import Slope, slope
from wardline.attacks.evasion.losses import Loss
from wardline.robust.ball import Norm

ALIKE = 0.9
"""The least mean cosine between the step in bfloat16 and the exact one.

Networks whose gradients are sound were measured at 0.94 to 0.98. Where a defence leaves only the last digits of the
logits to climb by, or no gradient at all, it is far below.
"""

_ROWS = 32


class HalfPrecision(nn.Module):
    """A network whose layers are computed in bfloat16; what it answers are 32-bit numbers that have been rounded.

    Args:
        net: yields logits.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits, right to two or three digits."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits: Tensor = self.net(x)
        return logits.float()


def half_precision(net: nn.Module, x: Tensor, y: Tensor, *, loss: Loss, norm: Norm) -> nn.Module | None:
    """A faster network to climb by, or None where there is no gain or the steps would go elsewhere.

    Args:
        net: yields logits; without convolutions there is little to gain, and None is given.
        x: examples, [rows, ...]; the steps from the first 32 are compared.
        y: their true classes.
        loss: what is climbed.
        norm: in which a step is taken.
    """
    if not (convolves(net) and _native()):
        return None
    x, y = x[:_ROWS], y[:_ROWS]
    rounded = HalfPrecision(net)
    wanted = (y + 1) % net(x[:1]).shape[1] if loss == "dlr_targeted" else None
    steps = []
    for one in (net, rounded):
        found = slope(one, x, y, loss=loss, wanted=wanted).gradient
        if found is None:
            return None
        steps.append(ascend(found, norm, 1.0).flatten(1).double())
    # A row without a gradient counts as one that differs: its cosine is 0.
    alike = torch.nn.functional.cosine_similarity(steps[0], steps[1], dim=1).mean()
    return rounded if alike >= ALIKE else None


def confirmed_slope(
    net: nn.Module, rounded: nn.Module | None, x: Tensor, y: Tensor, *, loss: Loss, wanted: Tensor | None = None
) -> Slope:
    """Loss and gradient of the faster network, and whether rows are misread by the exact one.

    Args:
        net: yields logits, and is asked about rows that the faster one misreads.
        rounded: see `half_precision`; None takes `net` alone.
        x: inputs [rows, ...].
        y: true classes [rows].
        loss: what is differentiated.
        wanted: see `loss_rows`.
    """
    if rounded is None:
        return slope(net, x, y, loss=loss, wanted=wanted)
    found = slope(rounded, x, y, loss=loss, wanted=wanted)
    said = found.misled > 0
    if not said.any():
        return found
    wanted = None if wanted is None else wanted[said]
    misled = found.misled.clone()
    misled[said] = slope(net, x[said], y[said], loss=loss, wanted=wanted, differentiate=False).misled
    return dataclasses.replace(found, misled=misled)


def convolves(net: nn.Module) -> bool:
    """Whether a network has convolutions of images."""
    return any(isinstance(part, nn.Conv2d) for part in net.modules())


def _native() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself; elsewhere it would be slower."""
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
