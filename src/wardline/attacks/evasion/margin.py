"""How far an input of a linear classifier is from being misread: exact, so that attacks can be judged by it.

The change that makes class j overtake class y on an input is the way to a plane. Without bounds its length is the gap
between the two logits over the dual norm of the difference of their weights; with bounds it is found by filling up the
features that help, until they suffice.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
import numpy.typing as npt
import torch

from wardline.attacks.evasion.projections import onto_plane_in_box
from wardline.robust.ball import Ball, Norm

Floats = npt.NDArray[np.float64]


def linear_margin(
    weights: npt.NDArray[np.floating],
    bias: npt.NDArray[np.floating],
    x: npt.NDArray[np.floating],
    y: npt.NDArray[np.int64],
    *,
    norm: Norm,
    bounds: tuple[float, float] | None = None,
) -> Floats:
    """The least change of each input that makes another logit as large as the true one: [rows].

    It is exact for every norm, with bounds and without; an adversary with a larger radius always succeeds, one with a
    smaller radius never does.

    Args:
        weights: [classes, features].
        bias: [classes].
        x: inputs [rows, features].
        y: true classes [rows].
        norm: how changes are measured.
        bounds: the least and greatest value that a feature may take; None for no bounds.

    Returns:
        The norm of the least change; 0 where the input is misread already, infinite where the bounds do not allow it.

    Raises:
        ValueError: for shapes that do not fit.

    References: Hein and Andriushchenko 2017, section 2; for two classes Moosavi-Dezfooli et al. 2016, section 2.
    """
    weights, bias, x = (np.asarray(part, dtype=np.float64) for part in (weights, bias, x))
    if weights.ndim != 2 or bias.shape != weights.shape[:1] or x.ndim != 2 or x.shape[1] != weights.shape[1]:
        raise ValueError("weights are [classes, features], the bias [classes] and inputs [rows, features]")
    logits = x @ weights.T + bias
    least = np.full(len(x), np.inf)
    for other in range(len(weights)):
        gap = logits[np.arange(len(x)), y] - logits[:, other]
        normal = weights[other] - weights[y]  # the gap falls by this times the change
        size = _unbounded(gap, normal, norm) if bounds is None else _bounded(gap, normal, x, norm=norm, bounds=bounds)
        least = np.where(y == other, least, np.minimum(least, np.where(gap <= 0, 0.0, size)))
    return least


def _unbounded(gap: Floats, normal: Floats, norm: Norm) -> Floats:
    match norm:
        case "linf":
            slope = np.abs(normal).sum(axis=1)
        case "l2":
            slope = np.linalg.norm(normal, axis=1)
        case "l1":
            slope = np.abs(normal).max(axis=1)
        case _:
            assert_never(norm)
    size: Floats = np.divide(gap, slope, out=np.full(len(gap), np.inf), where=slope > 0)
    return size


def _bounded(gap: Floats, normal: Floats, x: Floats, *, norm: Norm, bounds: tuple[float, float]) -> Floats:
    points, plane, wanted = (torch.from_numpy(part) for part in (x, normal, gap))
    ends = torch.full_like(points, bounds[0]), torch.full_like(points, bounds[1])
    change = onto_plane_in_box(points, plane, wanted, ends, norm)
    reached = (plane * change).sum(dim=1) >= wanted * (1.0 - 1e-9)
    size = torch.where(reached, Ball(norm=norm, radius=0.0).size(change), torch.inf)
    found: Floats = size.numpy()
    return found
