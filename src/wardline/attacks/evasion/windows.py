"""What the square attack tries: stripes at first, then windows that move with the search."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from wardline.attacks.evasion.box import Box

_TINY = 1e-12
_TILES = 5  # along each side of the first change in l2 and l1
_SURPLUS = 3.0  # l1: a first change as many times too long; the projection onto the ball leaves the peaks of it


class Proposals(Protocol):
    """What to try first, and what next."""

    def first(self) -> Tensor:
        """A first change of every row of the box."""

    def next(self, box: Box, best: Tensor, share: float) -> Tensor:
        """Each row's best so far with a window of it changed, which covers about this share of the features."""


def proposals(box: Box, generator: torch.Generator) -> Proposals:
    """Those that suit the norm of the box's ball."""
    return _Corners(box, generator) if box.ball.norm == "linf" else _Bumps(box, generator)


class _Windows:
    """Windows of one size at random places, a place for each row."""

    def __init__(self, box: Box, generator: torch.Generator) -> None:
        self._box, self._generator = box, generator
        shape = tuple(box.x.shape[1:])
        if len(shape) > 3:
            raise ValueError("the square attack knows inputs of at most three axes: channels, height and width")
        self._shape = (1,) * (3 - len(shape)) + shape

    def _image(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self._shape)

    def _size(self, share: float) -> tuple[int, int]:
        """Height and width of a window."""
        _, height, width = self._shape
        if height == 1:
            return 1, self._side(share * width, width)
        side = math.sqrt(share * height * width)
        return self._side(side, height), self._side(side, width)

    def _side(self, wanted: float, whole: int) -> int:
        return min(max(round(wanted), 1), whole)

    def _place(self, rows: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Row and column indices of a window at a random place in each of so many inputs: [rows, size] each."""
        starts = [
            torch.randint(0, whole - part + 1, (rows, 1), generator=self._generator)
            for whole, part in zip(self._shape[1:], size, strict=True)
        ]
        return starts[0] + torch.arange(size[0]), starts[1] + torch.arange(size[1])

    def _mask(self, place: tuple[Tensor, Tensor]) -> Tensor:
        """Which pixels lie in each window: [rows, 1, height, width]."""
        height, width = (
            torch.zeros(len(inside), whole, dtype=torch.bool).scatter_(1, inside, value=True)
            for inside, whole in zip(place, self._shape[1:], strict=True)
        )
        return (height[:, :, None] & width[:, None, :])[:, None]

    def _signs(self, *shape: int) -> Tensor:
        return 2.0 * torch.randint(0, 2, shape, generator=self._generator) - 1.0


class _Corners(_Windows):
    """For linf: every feature is at one end of what it may be, and a window goes to one end as a whole."""

    def first(self) -> Tensor:
        """Vertical stripes."""
        channels, _, width = self._shape
        signs = self._signs(len(self._box), channels, 1, width)
        return self._ends(self._box, signs)

    def next(self, box: Box, best: Tensor, share: float) -> Tensor:
        """One sign for each channel of a window."""
        signs = self._signs(len(box), self._shape[0], 1, 1)
        mask = self._mask(self._place(len(box), self._size(share)))
        now = self._image(best)
        tried = torch.where(mask, self._image(self._ends(box, signs)), now)
        # A window that is as it was would waste a query; the opposite signs change it.
        same = (tried == now).flatten(1).all(dim=1)
        if same.any():
            signs[same] *= -1
            tried = torch.where(mask, self._image(self._ends(box, signs)), now)
        return tried.reshape(best.shape)

    def _ends(self, box: Box, signs: Tensor) -> Tensor:
        ends = torch.where(signs > 0, self._image(box.high), self._image(box.low))
        return ends.reshape(box.x.shape)


class _Bumps(_Windows):
    """For l2 and l1: the change of one window moves into another one, in the shape of a rise beside a fall."""

    def first(self) -> Tensor:
        """Bumps side by side, all over the input."""
        channels, height, width = self._shape
        rows = len(self._box)
        change = torch.zeros(rows, *self._shape)
        tall, wide = max(height // _TILES, 1), max(width // _TILES, 1)
        pattern = self._pattern(tall, wide)
        for top in range((height % tall) // 2, height - tall + 1, tall):
            for left in range((width % wide) // 2, width - wide + 1, wide):
                change[:, :, top : top + tall, left : left + wide] = pattern * self._signs(rows, channels, 1, 1)
        total = self._box.ball.radius * (_SURPLUS if self._p == 1 else 1.0)
        change *= total / self._power(change, (1, 2, 3)).clamp_min(_TINY) ** (1 / self._p)
        return self._box.nearest(self._box.x + change.reshape(self._box.x.shape))

    def next(self, box: Box, best: Tensor, share: float) -> Tensor:
        """Take the change out of one window and put it into another one, with a bump of random sign on top."""
        channels = self._shape[0]
        rows = len(box)
        size = self._size(share)
        into, out_of = self._place(rows, size), self._place(rows, size)
        change = self._image(best - box.x)
        emptied = self._mask(out_of)
        # What may be spent on the window: what both hold now, and its part of what the ball has left. In l1 every
        # channel may have all of that: the projection decides which of them keep how much.
        held = self._power(torch.where(self._mask(into) | emptied, change, 0.0), (2, 3))
        radius = box.ball.radius
        budget = (radius**self._p - self._power(change, (1, 2, 3))).clamp_min(0.0) / channels + held
        if self._p == 1:
            budget = budget * channels
        at = (
            torch.arange(rows)[:, None, None, None],
            torch.arange(channels)[None, :, None, None],
            into[0][:, None, :, None],
            into[1][:, None, None, :],
        )
        bump = self._patterns(rows, size) * self._signs(rows, channels, 1, 1)
        window = change[at]
        window = window / self._length(window).clamp_min(_TINY) + bump
        window = window / self._length(window).clamp_min(_TINY) * budget ** (1 / self._p)
        change = torch.where(emptied, 0.0, change)
        change[at] = window
        if self._p == 2:  # in l1 the projection shortens what is too long
            change *= radius / self._power(change, (1, 2, 3)).clamp_min(_TINY) ** 0.5
        return box.nearest(box.x + change.reshape(box.x.shape))

    def _side(self, wanted: float, whole: int) -> int:
        """An odd number of at least 3, where there is room: a bump has a middle."""
        return min(max(round(wanted), 3) // 2 * 2 + 1, whole)

    @property
    def _p(self) -> int:
        return 2 if self._box.ball.norm == "l2" else 1

    def _power(self, change: Tensor, axes: tuple[int, ...]) -> Tensor:
        """The sum of squares (l2) or of magnitudes (l1)."""
        return change.abs().pow(self._p).sum(dim=axes, keepdim=True)

    def _length(self, window: Tensor) -> Tensor:
        return self._power(window, (2, 3)) ** (1 / self._p)

    def _patterns(self, rows: int, size: tuple[int, int]) -> Tensor:
        """A bump for each row, half of them on their side where windows are square."""
        pattern = self._pattern(*size)
        if size[0] != size[1]:
            return pattern.expand(rows, 1, *size)
        turned = torch.rand(rows, 1, 1, 1, generator=self._generator) < 0.5
        return torch.where(turned, pattern.T, pattern)

    def _pattern(self, height: int, width: int) -> Tensor:
        """A rise on the left and a fall on the right, of length 1: [height, width] (section 3.4, equation 2)."""
        left = width // 2
        halves = [(self._rise(height, part), sign) for part, sign in ((left, 1.0), (width - left, -1.0)) if part]
        parts = [sign * rise / torch.linalg.vector_norm(rise, ord=self._p) for rise, sign in halves]
        whole = torch.cat(parts, dim=1)
        pattern: Tensor = whole / torch.linalg.vector_norm(whole, ord=self._p)
        return pattern

    def _rise(self, height: int, width: int) -> Tensor:
        """Rings around the middle: at distance k the sum of 1 / (m + 1)^2 over m >= k, and steeper in l1."""
        rings = max(height // 2, width // 2) + 1
        falling = torch.arange(1, rings + 1, dtype=torch.float32) ** (-2.0 if self._p == 2 else -4.0)
        heights = falling.flip(0).cumsum(0).flip(0)
        rows = (torch.arange(height) - height // 2).abs()
        columns = (torch.arange(width) - width // 2).abs()
        rings_at: Tensor = heights[torch.maximum(rows[:, None], columns[None, :])]
        return rings_at
