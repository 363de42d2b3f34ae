"""A convolution as a linear map that keeps its structure: few weights, each used at many places."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[np.float64]
"""64-bit numbers."""

LARGEST_LAYER = 1 << 22
"""The most numbers that a row, a kernel or what a convolution gives for a row may have."""

LARGEST_TAPS = 1 << 26
"""The most meetings of a weight with an input, over all places, that are listed."""

_NUMBERS_AT_ONCE = 1 << 22


def frozen_copy(values: npt.ArrayLike, what: str) -> Values:
    """A read-only 64-bit copy.

    Raises:
        ValueError: naming `what`, if a number is not finite.
    """
    copy = np.array(values, dtype=np.float64)
    if not np.isfinite(copy).all():
        raise ValueError(f"{what} must be finite")
    copy.setflags(write=False)
    return copy


def flattened(x: npt.NDArray[Any]) -> Values:
    """Rows of any shape as 64-bit numbers [rows, numbers of a row]; there may be no rows."""
    rows = np.asarray(x, dtype=np.float64)
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convolution:
    """A convolution over images, or an average over windows of them, which is one whose channels stay apart.

    Attributes:
        kernel: [channels out, channels in of a group, height, width], finite.
        offset: [outputs], one for every number that it gives, so that whatever was folded into it fits; flattened as
            the outputs are.
        input_shape: channels, height, width.
        stride: down and across, at least 1.
        padding: zeros above, left, below and right, at least 0.
        dilation: steps between two weights of the kernel, at least 1.
        groups: parts of the channels that do not see each other.
        name: as people call the layer.

    Raises:
        ValueError: for shapes that do not fit together, or a number that is not finite.
    """

    kernel: Values
    offset: Values
    input_shape: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    name: str = "convolution"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", frozen_copy(self.kernel, f"the kernel of {self.name}"))
        object.__setattr__(self, "offset", frozen_copy(self.offset, f"the offset of {self.name}"))
        if self.kernel.ndim != 4 or 0 in self.kernel.shape or len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise ValueError(
                f"{self.name} needs a kernel [out, in, height, width] and images [channels, height, width]"
            )
        if min(*self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise ValueError(f"{self.name} has a stride, dilation or number of groups below 1, or negative padding")
        out, inside = self.kernel.shape[:2]
        if out % self.groups or inside * self.groups != self.input_shape[0]:
            raise ValueError(f"the channels of {self.name} do not fit its groups and its input")
        if min(self.output_shape) < 1:
            raise ValueError(f"the kernel of {self.name} is larger than its padded input")
        if math.prod(self.output_shape[1:]) * self.groups * self.kernel[0].size > LARGEST_TAPS:
            raise ValueError(f"{self.name} has more than {LARGEST_TAPS} meetings of a weight with an input")
        if self.offset.shape != (self.outputs,):
            raise ValueError(f"{self.name} needs an offset for each of its {self.outputs} outputs")

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what it gives."""
        top, left, bottom, right = self.padding
        sizes = [
            (size + pad - step * (taps - 1) - 1) // stride + 1
            for size, pad, step, taps, stride in zip(
                self.input_shape[1:],
                (top + bottom, left + right),
                self.dilation,
                self.kernel.shape[2:],
                self.stride,
                strict=True,
            )
        ]
        return int(self.kernel.shape[0]), sizes[0], sizes[1]

    @property
    def inputs(self) -> int:
        """Numbers that it reads."""
        return math.prod(self.input_shape)

    @property
    def outputs(self) -> int:
        """Numbers that it gives."""
        return math.prod(self.output_shape)

    @property
    def products(self) -> int:
        """Multiplications by a weight that is not 0, for one row; those of padding are counted as well."""
        return int(np.count_nonzero(self.kernel)) * math.prod(self.output_shape[1:])

    @property
    def coefficients(self) -> Values:
        """The kernel."""
        return self.kernel

    def with_coefficients(self, coefficients: Values) -> Convolution:
        """The same map with another kernel of the same shape."""
        return replace(self, kernel=coefficients)

    def with_offset(self, offset: Values) -> Convolution:
        """The same map with another offset."""
        return replace(self, offset=offset)

    def taps(self) -> npt.NDArray[np.int64]:
        """Which input each weight meets at each place: [groups, places, weights of a channel].

        Indices of the flattened input; `inputs` itself stands for a zero of the padding. Weights are ordered as a
        flattened kernel [in, height, width].
        """
        channels, height, width = self.input_shape
        _, rows, columns = self.output_shape
        inside, tall, wide = self.kernel.shape[1:]
        down = np.arange(rows)[:, None] * self.stride[0] + np.arange(tall) * self.dilation[0] - self.padding[0]
        across = np.arange(columns)[:, None] * self.stride[1] + np.arange(wide) * self.dilation[1] - self.padding[1]
        y = down[:, None, :, None]
        x = across[None, :, None, :]
        within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        flat = np.broadcast_to(y * width + x, within.shape).reshape(rows * columns, 1, tall * wide)
        plane = np.arange(channels).reshape(self.groups, 1, inside, 1) * height * width
        index = np.where(within.reshape(1, rows * columns, 1, tall * wide), plane + flat[None], self.inputs)
        return np.asarray(index, dtype=np.int64).reshape(self.groups, rows * columns, -1)

    def matrix(self) -> Values:
        """The map written out: [outputs, inputs]."""
        taps = self.taps()
        out, places = int(self.kernel.shape[0]), taps.shape[1]
        weights = self.kernel.reshape(out, -1)
        dense = np.zeros((out, places, self.inputs + 1))
        for channel in range(out):
            # A place meets each input once; only the padding's column is met again and again, and dropped.
            np.put_along_axis(dense[channel], taps[channel * self.groups // out], weights[channel], axis=1)
        return np.ascontiguousarray(dense.reshape(self.outputs, -1)[:, :-1])

    def linear(self, x: Values) -> Values:
        """[rows, inputs] to [rows, outputs], without the offset."""
        taps = self.taps()
        weights = self.kernel.reshape(self.groups, -1, taps.shape[2])
        result = np.empty((len(x), self.outputs))
        step = max(1, _NUMBERS_AT_ONCE // taps.size)
        for start in range(0, len(x), step):
            rows = np.pad(x[start : start + step], ((0, 0), (0, 1)))
            found = np.einsum("rgpt,got->rgop", rows[:, taps], weights, optimize=True)
            result[start : start + step] = found.reshape(len(rows), -1)
        return result

    def apply(self, x: Values) -> Values:
        """[rows, inputs] to [rows, outputs]."""
        return self.linear(x) + self.offset


def spread(values: npt.NDArray[Any], places: int) -> Values:
    """A number for each channel, repeated for each place of the channel: [channels * places]."""
    return np.repeat(np.asarray(values, dtype=np.float64), places)


def convolve(
    kernel: npt.ArrayLike,
    bias: npt.ArrayLike | None,
    *,
    input_shape: tuple[int, int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    name: str = "convolution",
) -> Convolution:
    """A convolution with one offset for each channel it gives, or none at all; see `Convolution`.

    Raises:
        ValueError: for shapes that do not fit together, or a number that is not finite.
    """
    weights = np.asarray(kernel, dtype=np.float64)
    if weights.ndim != 4:
        raise ValueError(f"{name} needs a kernel [out, in, height, width]")
    places = 1
    for axis in range(2):
        size = input_shape[1 + axis] + padding[axis] + padding[2 + axis]
        places *= max(0, (size - dilation[axis] * (weights.shape[2 + axis] - 1) - 1) // max(1, stride[axis]) + 1)
    if places == 0:
        raise ValueError(f"the kernel of {name} is larger than its padded input")
    if len(weights) * places > LARGEST_LAYER:
        raise ValueError(f"{name} gives {len(weights) * places} numbers for a row, more than {LARGEST_LAYER}")
    each = np.zeros(len(weights)) if bias is None else np.asarray(bias, dtype=np.float64)
    return Convolution(
        kernel=weights,
        offset=spread(each, places),
        input_shape=input_shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        name=name,
    )


def average_pool(
    input_shape: tuple[int, int, int],
    window: tuple[int, int],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    name: str = "average pooling",
) -> Convolution:
    """Averages over windows of each channel, zeros of the padding counted in.

    Raises:
        ValueError: for a window that is larger than the padded images.
    """
    if input_shape[0] * math.prod(window) > LARGEST_LAYER or min(window) < 1:
        raise ValueError(f"the window of {name} is empty or has more than {LARGEST_LAYER} numbers")
    kernel = np.full((input_shape[0], 1, *window), 1.0 / math.prod(window))
    return convolve(
        kernel, None, input_shape=input_shape, stride=stride, padding=padding, groups=input_shape[0], name=name
    )
