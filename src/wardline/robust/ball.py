"""The set of changes that an adversary may make to an input: a ball of some norm.

Attacks search in it, adversarial training trains against it, certificates speak of it; so its geometry stands once,
here. All functions work on batches of changes, each input by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

import torch
from torch import Tensor

Norm: TypeAlias = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")

_TINY = 1e-12
_ROUNDING = 1e-5
_HALVINGS = 30  # of a bracket: finer than 32-bit numbers tell apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """All changes of at most `radius`, in the unit of the inputs.

    Attributes:
        norm: the largest change of a feature (``linf``), the Euclidean length (``l2``) or the sum of all changes
            (``l1``).
        radius: finite and at least 0; at 0 nothing may be changed.

    Raises:
        ValueError: for an unknown norm or a radius out of range.
    """

    norm: Norm
    radius: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}")
        if not (math.isfinite(self.radius) and self.radius >= 0):
            raise ValueError(f"radius must be a finite number of at least 0, not {self.radius}")

    def size(self, change: Tensor) -> Tensor:
        """The norm of each change: [rows]."""
        flat = change.flatten(1)
        match self.norm:
            case "linf":
                return flat.abs().amax(dim=1)
            case "l2":
                lengths: Tensor = flat.norm(dim=1)
                return lengths
            case "l1":
                return flat.abs().sum(dim=1)
            case _:
                assert_never(self.norm)

    def project(self, change: Tensor) -> Tensor:
        """The nearest change, in Euclidean distance, that lies within the ball."""
        match self.norm:
            case "linf":
                return change.clamp(-self.radius, self.radius)
            case "l2":
                lengths = _column(self.size(change), change)
                return change * (self.radius / lengths.clamp_min(_TINY)).clamp_max(1.0)
            case "l1":
                return _project_l1(change, self.radius)
            case _:
                assert_never(self.norm)

    def project_between(self, change: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The nearest change within the ball that also keeps every feature between two ends.

        Projecting onto the ball and then clipping lands inside both, but not at the nearest point; in L1 an attack that
        does so is much weaker (Croce and Hein 2021, section 3.1).

        Args:
            change: [rows, ...].
            low: the least change of each feature, at most 0; it broadcasts.
            high: the greatest one, at least 0; likewise.
        """
        clipped = torch.clamp(change, low, high)
        if self.norm == "linf":
            return torch.clamp(clipped, -self.radius, self.radius)
        if bool((self.size(clipped) <= self.radius).all()):
            return clipped
        return _between(self.norm, change, (low, high), self.radius)

    def contains(self, change: Tensor) -> Tensor:
        """Whether each change lies within the ball, up to what 32-bit arithmetic on the way costs: [rows]."""
        return self.size(change) <= self.radius * (1.0 + _ROUNDING) + _ROUNDING * 1e-1

    def draw(self, like: Tensor, *, generator: torch.Generator) -> Tensor:
        """A change drawn uniformly from the ball for each row of `like`."""
        flat = like.flatten(1)
        match self.norm:
            case "linf":
                noise = torch.empty_like(flat).uniform_(-1.0, 1.0, generator=generator)
            case "l2":
                noise = torch.empty_like(flat).normal_(generator=generator)
                noise = noise / noise.norm(dim=1, keepdim=True).clamp_min(_TINY) * _shell(flat, generator)
            case "l1":
                # Exponential magnitudes over their sum are uniform on the simplex; signs make it the sphere.
                noise = torch.empty_like(flat).exponential_(generator=generator)
                noise = noise / noise.sum(dim=1, keepdim=True).clamp_min(_TINY) * _shell(flat, generator)
                noise = noise * torch.empty_like(flat).uniform_(-1.0, 1.0, generator=generator).sign()
            case _:
                assert_never(self.norm)
        return (self.radius * noise).reshape(like.shape)


def _shell(flat: Tensor, generator: torch.Generator) -> Tensor:
    """Radii of points that are uniform in a ball of this dimension and radius 1: [rows, 1]."""
    return torch.empty_like(flat[:, :1]).uniform_(generator=generator) ** (1.0 / flat.shape[1])


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.dim() - 1))


def _between(norm: Norm, change: Tensor, ends: tuple[Tensor, Tensor], radius: float) -> Tensor:
    """The projection onto ball and box at once, its multiplier found by bisection.

    Either projection is a function of one number: every feature is shrunk by it (divided by 1 + t in L2, lowered by t
    in L1) and then clipped; the length falls as it rises.
    """
    flat = change.flatten(1)
    low, high = (end.expand_as(change).flatten(1) for end in ends)

    def shrunk(t: Tensor) -> Tensor:
        if norm == "l2":
            return torch.clamp(flat * (1.0 - t), low, high)
        return torch.clamp(flat.sign() * (flat.abs() - t).clamp_min(0.0), low, high)

    def length(moved: Tensor) -> Tensor:
        return moved.norm(dim=1, keepdim=True) if norm == "l2" else moved.abs().sum(dim=1, keepdim=True)

    near = torch.zeros_like(flat[:, :1])  # too little; for L2 the unknown is t / (1 + t), which ends at 1
    far = torch.ones_like(near) if norm == "l2" else flat.abs().amax(dim=1, keepdim=True)
    fits = length(shrunk(near)) <= radius
    for _ in range(_HALVINGS):
        middle = (near + far) / 2.0
        long = length(shrunk(middle)) > radius
        near, far = torch.where(long, middle, near), torch.where(long, far, middle)
    return torch.where(fits, shrunk(torch.zeros_like(far)), shrunk(far)).reshape(change.shape)


def _project_l1(change: Tensor, radius: float) -> Tensor:
    """Projection onto the L1 ball by sorting (Duchi et al. 2008, figure 1)."""
    flat = change.flatten(1)
    magnitudes = flat.abs()
    if radius == 0:
        return torch.zeros_like(change)
    ordered = magnitudes.sort(dim=1, descending=True).values
    excess = ordered.cumsum(dim=1) - radius
    counts = torch.arange(1, flat.shape[1] + 1, dtype=flat.dtype, device=flat.device)
    kept = (ordered * counts > excess).sum(dim=1, keepdim=True).clamp_min(1)
    threshold = (excess.gather(1, kept - 1) / kept).clamp_min(0.0)
    inside = magnitudes.sum(dim=1, keepdim=True) <= radius
    shrunk = flat.sign() * (magnitudes - threshold).clamp_min(0.0)
    return torch.where(inside, flat, shrunk).reshape(change.shape)
