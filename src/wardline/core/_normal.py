"""Standard normal numbers from a keystream by the ziggurat method, many at a time.

The area under exp(-x**2 / 2) is covered by 1024 layers of equal area. A layer, a sign and a place in it come from one
64-bit word; in 99.6 % of all cases the place lies under the curve whatever its height, and is the result. Else a
height is drawn and compared with the curve, and the lowest layer goes over into the tail, which has no end that could
be reached. What lies above the curve is dropped. That is rejection sampling, and exact but for rounding.

References: Marsaglia and Tsang 2000; Doornik 2005 (layer and place from different bits); Marsaglia 1964 (the tail).
"""

from __future__ import annotations

import functools
import math
import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from wardline.core.rng import SecureRandom

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_LAYER_BITS = 10
_PIECE = 1 << 14  # a word, its layer, and three figures of each still lie near the processor
_BLOCK = 4 * _PIECE
_TAIL_FROM = 4.0388498461
"""Where the tail begins.

The method is exact for every value from which the layers reach the curve's peak, which is checked when they are made;
a larger one would leave the peak uncovered. It is the largest of eleven digits that does not.
"""


class _Layers(NamedTuple):
    """The layers from the widest to the highest.

    Attributes:
        step: width of a layer for one unit of the 54-bit place.
        inner: up to where a layer lies under the curve altogether.
        floor, height: lower edge and height of a layer.
    """

    step: Floats
    inner: Floats
    floor: Floats
    height: Floats


@functools.cache
def _layers() -> _Layers:
    area = _TAIL_FROM * math.exp(-0.5 * _TAIL_FROM**2) + math.sqrt(math.pi / 2) * math.erfc(_TAIL_FROM / math.sqrt(2))
    base = math.exp(-0.5 * _TAIL_FROM**2)
    # The lowest layer is as wide as a rectangle of its area would be; beyond the inner edge begins the tail.
    widths, edges = [area / base, _TAIL_FROM], [0.0, base]
    while len(widths) < 1 << _LAYER_BITS:
        edges.append(edges[-1] + area / widths[-1])
        widths.append(math.sqrt(-2.0 * math.log(edges[-1])))
    edges.append(edges[-1] + area / widths[-1])
    if edges[-1] < 1.0:
        raise ArithmeticError("the layers do not cover the curve")
    step = np.array(widths) * 2.0 ** -(63 - _LAYER_BITS)
    layers = _Layers(step, np.array([*widths[1:], 0.0]), np.array(edges[:-1]), np.diff(edges))
    for one in layers:
        one.setflags(write=False)  # all draws share them
    return layers


class Normals:
    """Standard normal numbers in stock, for one `SecureRandom` in one process.

    They are made in blocks, since the fixed cost of a block is that of several thousand numbers, and each is given out
    once. Two threads that draw at the same moment get a `RuntimeError`, not the same numbers.
    """

    __slots__ = ("_doubtful", "_figures", "_integers", "_lock", "_made", "_stock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stock: Floats = np.empty(0)
        self._made: Floats = np.empty(_BLOCK)
        self._integers: Integers = np.empty((2, _PIECE), dtype=np.int64)
        self._figures: Floats = np.empty((2, _PIECE))
        self._doubtful: npt.NDArray[np.bool_] = np.empty(_PIECE, dtype=np.bool_)

    def take(self, count: int, random: SecureRandom) -> Floats:
        """`count` numbers that nobody else gets."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("two threads draw from one SecureRandom: give each its own")
        try:
            drawn = np.empty(count)
            filled = 0
            while filled < count:
                if len(self._stock) == 0:
                    self._stock = self._block(random)
                portion = self._stock[: count - filled]
                drawn[filled : filled + len(portion)] = portion
                self._stock = self._stock[len(portion) :]
                filled += len(portion)
            return drawn
        finally:
            self._lock.release()

    def _block(self, random: SecureRandom) -> Floats:
        pieces = [self._piece(start, random) for start in range(0, _BLOCK, _PIECE)]
        doubtful, layer = (np.concatenate(one) for one in zip(*pieces, strict=True))
        x, layers = self._made, _layers()
        heights = layers.floor[layer] + random.uniform(len(layer)) * layers.height[layer]
        kept = heights < np.exp(-0.5 * x[doubtful] ** 2)
        for place in np.flatnonzero(layer == 0):
            kept[place] = True
            x[doubtful[place]] = math.copysign(_tail(random), x[doubtful[place]])
        return _without(x, doubtful[~kept])

    def _piece(self, start: int, random: SecureRandom) -> tuple[npt.NDArray[np.intp], Integers]:
        """Write a part of a block; returns the places that a height has to decide about, and their layers."""
        layers = _layers()
        words, layer = self._integers
        size, bound = self._figures
        x = self._made[start : start + _PIECE]
        random.fill(words)
        np.bitwise_and(words, (1 << _LAYER_BITS) - 1, out=layer)
        words >>= _LAYER_BITS  # a sign and 53 bits of place: exact as a double
        # mode="clip" because NumPy copies once more in the default mode; no index is out of range.
        layers.step.take(layer, out=size, mode="clip")
        np.multiply(size, words, out=x)
        np.abs(x, out=size)
        layers.inner.take(layer, out=bound, mode="clip")
        (doubtful,) = np.greater_equal(size, bound, out=self._doubtful).nonzero()
        return doubtful + start, layer[doubtful]


def _tail(random: SecureRandom) -> float:
    """A normal number, given that it is at least `_TAIL_FROM`."""
    while True:
        beyond = -math.log(_open_uniform(random)) / _TAIL_FROM
        if -2.0 * math.log(_open_uniform(random)) > beyond**2:
            return _TAIL_FROM + beyond


def _open_uniform(random: SecureRandom) -> float:
    # 128 bits: it has all the bits of a double wherever it lies, and its logarithm ends at 89, not at 36.
    return math.ldexp(2 * int.from_bytes(random.bytes(16), "big") + 1, -129)


def _without(x: Floats, dropped: npt.NDArray[np.intp]) -> Floats:
    """`x` less some places, which the last numbers move into; all are independent, so their order is free."""
    left = len(x) - len(dropped)
    from_the_end = np.ones(len(dropped), dtype=np.bool_)
    from_the_end[dropped[dropped >= left] - left] = False
    x[dropped[dropped < left]] = x[left:][from_the_end]
    return x[:left]
