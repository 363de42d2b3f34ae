"""FAB: steps onto linearised decision boundaries, kept near the original, for the nearest misread input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from wardline.attacks.evasion.apgd import likeliest_others
from wardline.attacks.evasion.box import Box, columns_of
from wardline.attacks.evasion.gradient import prepared
from wardline.attacks.evasion.in_ball import EIGHT
from wardline.attacks.evasion.masking import gradient_checks
from wardline.attacks.evasion.nearest import Nearest, NearestAttack
from wardline.attacks.evasion.projections import onto_plane_in_box
from wardline.attacks.protocol.result import Check
from wardline.attacks.protocol.target import Access
from wardline.core.checks import at_least
from wardline.robust.ball import Ball

# Croce and Hein 2020, section 3: overshoot, step back after a success, and the most weight of the original.
_ETA, _BETA, _ALPHA = 1.05, 0.9, 0.1
_NO_STEP = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class FabTargeted(NearestAttack):
    """The fast adaptive boundary attack towards other classes, the likeliest first.

    It takes the boundary between the true class and another one for a plane, steps onto it by the smallest change that
    the bounds allow, and steps back towards the original after each success. It has no step size, and neither scale
    nor shift of the logits changes what it does. `run` tells the distances that it found.

    Attributes:
        ball: its norm is what is made small; within its radius a find counts as a success.
        steps: towards each class, at least 1.
        targets: how many classes are tried, at least 1; there are never more than the other classes.
        stop: whether a row is done once it has a success within the radius. An ensemble wants no more of it; the
            distances are then no nearest ones.

    Raises:
        ValueError: for a number out of range.

    Guarantee: none. A distance is one at which the model fails; it may fail nearer.

    References: Croce and Hein 2020 (Minimally distorted adversarial examples), sections 2 and 3; targeted as in Croce
    and Hein 2020 (AutoAttack), section 4.2.
    """

    ball: Ball = EIGHT
    steps: int = 100
    targets: int = 9
    stop: bool = False
    id: ClassVar[str] = "evasion.fab_t"
    needs: ClassVar[Access] = Access.WHITE_BOX
    paper: ClassVar[str] = "Croce and Hein 2020 (Minimally distorted adversarial examples), section 2"

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("targets", self.targets, 1)

    def search(self, found: Nearest) -> tuple[Check, ...]:
        """Walk along the boundary to each class in turn. Nothing is drawn at random."""
        box = found.box
        net = prepared(found.target.network(), box.x)
        checks = gradient_checks(net, box.x, box.y, loss="margin")
        with torch.no_grad():
            classes = likeliest_others(net(box.x), box.y)[:, : self.targets]
        for wanted in classes.unbind(dim=1):
            self._walk(net, found, wanted)
        return checks

    def _walk(self, net: nn.Module, nearest: Nearest, wanted: Tensor) -> None:
        rows = self._left(nearest, torch.arange(len(wanted)))
        x, here = nearest.box.x[rows], nearest.box.take(rows)
        for _ in range(self.steps):
            if not len(rows):
                return
            gap, slope = _boundary(net, x, here.y, wanted[rows])
            x = _step(here, x, gap, slope)
            with torch.no_grad():
                logits = net(x)
            wrong = logits.isfinite().all(dim=1) & (logits.argmax(dim=1) != here.y)
            if not wrong.any():
                continue
            nearest.offer(rows[wrong], x[wrong])
            x = torch.where(wrong.reshape(columns_of(x)), here.x + _BETA * (x - here.x), x)
            kept = self._left(nearest, rows)
            if len(kept) < len(rows):
                staying = torch.isin(rows, kept)
                rows, x, here = kept, x[staying], here.take(staying)

    def _left(self, nearest: Nearest, rows: Tensor) -> Tensor:
        return rows[nearest.distance[rows] > self.ball.radius] if self.stop else rows


def _boundary(net: nn.Module, x: Tensor, y: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the wanted logit leads the true one, and the gradient of that."""
    at = x.detach().requires_grad_()
    logits = net(at)
    lead = (logits.gather(1, wanted[:, None]) - logits.gather(1, y[:, None]))[:, 0]
    slope = torch.autograd.grad(lead.sum(), at)[0]
    return torch.nan_to_num(lead.detach(), nan=0.0), torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)


def _step(box: Box, x: Tensor, lead: Tensor, slope: Tensor) -> Tensor:
    """Onto the plane from here and from the original, slightly beyond, and a mean of both (equations 5 to 8)."""
    here, origin, normal = (part.flatten(1) for part in (x, box.x, slope))
    bounds = box.low.flatten(1), box.high.flatten(1)
    norm = box.ball.norm
    moved = onto_plane_in_box(here, normal, -lead, bounds, norm)
    direct = onto_plane_in_box(origin, normal, (normal * (here - origin)).sum(dim=1) - lead, bounds, norm)
    far, near = box.ball.size(moved).clamp_min(_NO_STEP), box.ball.size(direct).clamp_min(_NO_STEP)
    weight = (far / (far + near)).clamp_max(_ALPHA)[:, None]
    there = (1 - weight) * (here + _ETA * moved) + weight * (origin + _ETA * direct)
    return box.clip(there.reshape(x.shape))
