"""Ranges of a program's inputs and of every layer's values, learned from a sample, and what to do beyond them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from wardline.core import DataError
from wardline.he.compiler.convolution import Convolution, Values, flattened, frozen_copy
from wardline.he.compiler.layers import Activation, Polynomial
from wardline.he.compiler.merging import adds_only, channel_common, scaled_inputs
from wardline.he.compiler.program import Program

Policy: TypeAlias = Literal["clip", "refuse"]

LARGEST_PRODUCTS = 2048
"""Up to so many numbers a layer, their products with each other are kept as well."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranges:
    """Where numbers lie, each for itself.

    Attributes:
        low: [units].
        high: [units], not below `low`.

    Raises:
        ValueError: for shapes that differ, a number that is not finite, or a high below its low.
    """

    low: Values
    high: Values

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", frozen_copy(self.low, "a range"))
        object.__setattr__(self, "high", frozen_copy(self.high, "a range"))
        if self.low.ndim != 1 or self.low.shape != self.high.shape or bool((self.high < self.low).any()):
            raise ValueError("ranges go from low to high, one for each number")

    @property
    def centre(self) -> Values:
        """The middle of each."""
        return 0.5 * (self.low + self.high)

    @property
    def largest(self) -> Values:
        """The largest absolute value that lies in each."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def widened(self, margin: float) -> Ranges:
        """By a share of each width, and a trace where there is none, on both sides."""
        wide = margin * (self.high - self.low)
        return Ranges(low=self.low - wide, high=self.high + wide)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What a sample says about a program's numbers.

    It holds sums over the sample, the extremes among them, and no row of it. Extremes are values of single rows: treat
    a calibration as the sample itself.

    Attributes:
        ranges: of the flattened inputs (of images, one for each channel), then of what each layer gives: one more than
            there are layers.
        squares: mean squares, likewise.
        moments: mean products of each two numbers that come into a layer (of a polynomial: of its slopes there), one
            for each layer; None for layers of more than 2,048 numbers.
        rows: how many there were in the sample.
        margin: by which ranges were widened.
        policy: what happens to an input out of its range.
    """

    ranges: tuple[Ranges, ...]
    squares: tuple[Values, ...]
    moments: tuple[Values | None, ...]
    rows: int
    margin: float
    policy: Policy

    def within(self, x: npt.NDArray[Any], features: Sequence[str] = ()) -> tuple[Values, int]:
        """Rows whose inputs lie in their ranges.

        Args:
            x: [rows, inputs] or of any shape that flattens to it.
            features: names for the message, or none.

        Returns:
            The rows, flattened and clipped, and how many numbers of them were clipped.

        Raises:
            DataError: for a number that is not finite, or one out of range where the policy is to refuse; it names the
                features, never a value.
            ValueError: for rows of another size.
        """
        rows = flattened(x)
        inputs = self.ranges[0]
        if rows.shape[1] != len(inputs.low):
            raise ValueError(f"rows have {rows.shape[1]} numbers, and {len(inputs.low)} were calibrated")
        broken = np.asarray(~np.isfinite(rows).all(axis=0))
        if bool(broken.any()):
            raise DataError(
                f"rows hold a number that is not finite in {_named(broken, features)}",
                hint="fill or drop these rows before they are encrypted",
            )
        clipped = np.clip(rows, inputs.low, inputs.high)
        changed = clipped != rows
        if self.policy == "refuse" and bool(changed.any()):
            raise DataError(
                f"rows lie outside of the calibrated range in {_named(np.asarray(changed.any(axis=0)), features)}",
                hint="calibrate on a sample that covers them, or let them be clipped",
            )
        return clipped, int(changed.sum())


def calibrate(
    program: Program, sample: npt.NDArray[Any], *, margin: float = 0.1, policy: Policy = "clip"
) -> Calibration:
    """Learn from a sample in which ranges a program's inputs and values lie.

    Args:
        program: activations may still stand in it.
        sample: rows like those that will be scored, at least two.
        margin: by which share of its width each range is widened on both sides, at least 0.
        policy: ``clip`` an input out of its range, or ``refuse`` the row.

    Raises:
        DataError: for fewer than two rows, or a number that is not finite.
        ValueError: for arguments out of range.

    Guarantee:
        Every value of the sample lies in its range. Of other rows nothing is certain: with n independent rows of one
        distribution, a further one lies beyond the extremes of the sample in a given number with probability at most
        2 / (n + 1), whatever the distribution, before the margin is counted.
    """
    if len(sample) < 2:
        raise DataError("a sample of at least two rows is needed to calibrate", hint="give more rows")
    if not (math.isfinite(margin) and margin >= 0) or policy not in get_args(Policy):
        raise ValueError("margin must be finite and at least 0, policy clip or refuse")
    if not np.isfinite(np.asarray(sample, dtype=np.float64)).all():
        raise DataError("the sample holds a number that is not finite", hint="fill or drop these rows")
    ranges: list[Ranges] = []
    squares, moments = [], []
    for values, layer in zip(program.trace(sample), (*program.layers, None), strict=True):
        met_range = Ranges(low=values.min(axis=0), high=values.max(axis=0)).widened(margin)
        # All places of an image's channel share one range: one that the sample left black is no different from others.
        ranges.append(met_range if ranges else _shared(met_range, program.input_shape))
        squares.append(np.mean(values**2, axis=0))
        if layer is None:
            continue
        met = layer.slope(values) if isinstance(layer, Polynomial) else values
        small = met.shape[1] <= LARGEST_PRODUCTS and not isinstance(layer, Activation)
        moments.append(met.T @ met / len(met) if small else None)
    return Calibration(
        ranges=tuple(ranges),
        squares=tuple(squares),
        moments=tuple(moments),
        rows=len(sample),
        margin=margin,
        policy=policy,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputScaling:
    """How rows are scaled before they are encrypted: to [-1, 1] where they lie in their ranges.

    Attributes:
        centre: [inputs].
        half_width: [inputs], above 0.
    """

    centre: Values
    half_width: Values

    def apply(self, x: npt.NDArray[Any]) -> Values:
        """Rows, flattened and scaled: [rows, inputs]."""
        rows = flattened(x)
        return np.asarray((rows - self.centre) / self.half_width, dtype=np.float64)


def unit_inputs(program: Program, inputs: Ranges) -> tuple[Program, InputScaling]:
    """A program for inputs scaled to [-1, 1], so that each gets all of the bits that inputs have.

    A convolution that comes first takes the scaling in only where all places of a channel share it, so there it is that
    of the widest place. The scaling is known to whoever encrypts: it tells the ranges, and nothing else of the model.

    Args:
        program: for inputs as they are.
        inputs: their ranges.

    Returns:
        The program, and how to scale rows for it.
    """
    centre, half = inputs.centre, 0.5 * (inputs.high - inputs.low)
    first = program.layers[0]
    if isinstance(first, Convolution):
        widest = _shared(inputs, first.input_shape)
        centre, half = widest.centre, 0.5 * (widest.high - widest.low)
    half = np.where(half > 0, half, np.maximum(1.0, np.abs(centre)))  # a constant stays what it is
    scaled = scaled_inputs(program, half, centre)
    return scaled, InputScaling(centre=frozen_copy(centre, "the centre"), half_width=frozen_copy(half, "the width"))


def balanced(program: Program, calibration: Calibration) -> Program:
    """The same function with values of about 1 before every pure square, so that neither bits nor headroom are lost.

    The linear map in front is scaled, and the one behind scaled back; maps that only add are left as they are.

    Args:
        program: simplified.
        calibration: of this very program.

    Raises:
        ValueError: if the calibration is one of another program.
    """
    if len(calibration.ranges) != len(program.layers) + 1:
        raise ValueError("the calibration is one of another program")
    layers = list(program.layers)
    for index in range(1, len(layers) - 1):
        before, layer, behind = layers[index - 1 : index + 2]
        if not isinstance(layer, Polynomial) or layer.powers != (0.0, 0.0, 1.0):
            continue
        if isinstance(before, (Polynomial, Activation)) or isinstance(behind, (Polynomial, Activation)):
            continue
        largest = float(calibration.ranges[index].largest.max())
        if largest == 0.0 or adds_only(before) or adds_only(behind):
            continue
        layers[index - 1] = before.with_coefficients(before.coefficients / largest).with_offset(before.offset / largest)
        layers[index] = replace(layer, interval=(layer.interval[0] / largest, layer.interval[1] / largest))
        layers[index + 1] = behind.with_coefficients(behind.coefficients * largest**2)
    return replace(program, layers=tuple(layers))


def _shared(ranges: Ranges, shape: tuple[int, ...]) -> Ranges:
    """The widest range of each channel of images, at all its places; of anything else the ranges as they are."""
    if len(shape) != 3:
        return ranges
    channels = (shape[0], shape[1], shape[2])
    return Ranges(low=-channel_common(-ranges.low, channels), high=channel_common(ranges.high, channels))


def _named(which: npt.NDArray[np.bool_], features: Sequence[str]) -> str:
    places = [int(index) for index in np.flatnonzero(which)[:5]]
    names = [features[index] if features else f"column {index}" for index in places]
    more = int(which.sum()) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
