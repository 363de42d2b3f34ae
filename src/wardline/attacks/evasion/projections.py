"""The smallest change, in each of three norms, that takes a point onto a plane without leaving a box."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from wardline.robust.ball import Norm

_MOST_STEPS = 100
_CLOSE = 1e-6  # relative: sums of 32-bit numbers are no more exact
_NO_SLOPE = 1e-8  # relative to a row's largest weight: features that cannot help within 32 bits


def onto_plane_in_box(points: Tensor, normal: Tensor, gap: Tensor, bounds: tuple[Tensor, Tensor], norm: Norm) -> Tensor:
    """The smallest change of each point, in the given norm, that reaches a plane and stays within the bounds.

    Where no point of the box lies on the plane the change goes as near to it as the box allows.

    Args:
        points: [rows, features], within the bounds.
        normal: of each plane, [rows, features].
        gap: how much `normal` times the change is to be, [rows].
        bounds: lowest and highest values, each of the shape of `points`.
        norm: what is made small.

    References: Croce and Hein 2020 (FAB), section 2.2 and appendix A.
    """
    low, high = bounds
    towards = normal * torch.where(gap < 0, -1.0, 1.0)[:, None]
    gain = towards.abs()
    room = torch.where(towards > 0, high - points, points - low).clamp_min(0.0)
    useful = gain > _NO_SLOPE * gain.amax(dim=1, keepdim=True)
    room = torch.where(useful, room, 0.0)
    gain = torch.where(useful, gain, 0.0)
    wanted = gap.abs()[:, None]
    match norm:
        case "linf":
            size = _level(gain, room, wanted).minimum(room)
        case "l2":
            reach = torch.where(useful, room / gain.clamp_min(torch.finfo(gain.dtype).tiny), 0.0)
            size = (_level(gain.square(), reach, wanted) * gain).minimum(room)
        case "l1":
            size = _greedy(gain, room, wanted)
        case _:
            assert_never(norm)
    return towards.sign() * size


def _level(weight: Tensor, cap: Tensor, wanted: Tensor) -> Tensor:
    """The least t at which the sum of weight * min(t, cap) is what is wanted, or the largest cap: [rows, 1].

    The sum is concave and piecewise linear in t. Newton's method from 0 therefore never overshoots, passes a kink with
    every step and ends exactly; a handful of steps are usual, and a sort of all kinks costs more.
    """
    level = torch.zeros_like(wanted)
    for _ in range(_MOST_STEPS):
        missing = wanted - (weight * level.minimum(cap)).sum(dim=1, keepdim=True)
        slope = torch.where(cap > level, weight, 0.0).sum(dim=1, keepdim=True)
        open_ = (missing > _CLOSE * wanted) & (slope > 0)
        if not open_.any():
            break
        level = torch.where(open_, level + missing / slope.clamp_min(torch.finfo(slope.dtype).tiny), level)
    return level.minimum(cap.amax(dim=1, keepdim=True))


def _greedy(gain: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """Features of the largest gain are used up one after the other, the last one in part."""
    ordered, order = gain.sort(dim=1, descending=True, stable=True)
    rooms = room.gather(1, order)
    before = (ordered * rooms).cumsum(dim=1) - ordered * rooms
    missing = (wanted - before).clamp_min(0.0) / ordered.clamp_min(torch.finfo(gain.dtype).tiny)
    return torch.zeros_like(room).scatter_(1, order, rooms.minimum(missing))
