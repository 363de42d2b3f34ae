"""Feature squeezing: inputs with less room for small changes, and an alarm where squeezing changes a prediction."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wardline.models.predictor import Gives, Inputs
from wardline.robust.conformal import Calibration, Scores

_ROWS_AT_ONCE = 256


class Squeezer(Protocol):
    """Makes many inputs into one."""

    def squeeze(self, x: Tensor) -> Tensor:
        """The squeezed inputs, of the same shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BitDepth:
    """Rounds each value to one of 2**bits levels between the bounds.

    Attributes:
        bits: from 1 to 16.
        low, high: the bounds of the inputs.

    References: Xu, Evans and Qi 2018, section III-A.
    """

    bits: int
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16 or not self.low < self.high:
            raise ValueError("bits must be from 1 to 16, and low below high")

    def squeeze(self, x: Tensor) -> Tensor:
        """The nearest levels."""
        levels = 2.0**self.bits - 1.0
        unit = (x - self.low) / (self.high - self.low)
        return torch.round(unit * levels) / levels * (self.high - self.low) + self.low


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianSmoothing:
    """Replaces each pixel by the median of a square around it, each channel by itself; borders are mirrored.

    Attributes:
        size: of the square, at least 2; an even one reaches further up and left.

    References: Xu, Evans and Qi 2018, section III-B.
    """

    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError("size must be at least 2")

    def squeeze(self, x: Tensor) -> Tensor:
        """The medians; of an even number of pixels the lower middle one.

        Raises:
            ValueError: for anything but images larger than the square.
        """
        if x.dim() != 4 or min(x.shape[2:]) <= self.size:
            raise ValueError("median smoothing takes images [rows, channels, height, width], larger than its square")
        before, after = self.size // 2, self.size - 1 - self.size // 2
        padded = functional.pad(x, (before, after, before, after), mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        return windows.flatten(4).median(dim=4).values


STANDARD: tuple[Squeezer, ...] = (BitDepth(bits=1), MedianSmoothing(size=2))
"""What the paper found best for MNIST; for colour images it takes 5 bits and 2x2 medians."""


class Squeezed:
    """A network that sees squeezed inputs alone, as a predictor.

    Guarantee: none. Rounding has no gradient, which stops an attack that does not know of it and no other: `network`
    passes gradients through the squeezer as if it were not there (Athalye, Carlini and Wagner 2018, section 4.1), so
    that an audit attacks what is defended and not the missing gradient.

    Args:
        network: from inputs to logits, in evaluation mode; a copy is taken.
        squeezer: what it sees through.
        classes: how many classes there are.
    """

    def __init__(self, network: nn.Module, squeezer: Squeezer, *, classes: int) -> None:
        self._network = _Through(copy.deepcopy(network).eval().requires_grad_(False), squeezer)
        self._classes = classes

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._classes

    @property
    def gives(self) -> Gives:
        """Logits."""
        return "logits"

    def answer(self, x: Inputs) -> npt.NDArray[np.float32]:
        """Logits of the squeezed inputs: [rows, classes]."""
        return _evaluated(self._network, x)

    def network(self) -> nn.Module:
        """A copy whose gradients pass the squeezer unchanged."""
        return copy.deepcopy(self._network)


class SqueezingDetector:
    """Raises an alarm where a prediction moves when its input is squeezed.

    Guarantee: of the rate of false alarms alone (see `Calibration`). An adversary who knows of it finds changes that
    survive squeezing (He et al. 2017); see the documentation for how many.

    Args:
        network: from inputs to logits, in evaluation mode; a copy is taken.
        squeezers: each alone; the largest move counts.
        calibration: scores of ordinary inputs; `calibrated` makes them.
    """

    def __init__(self, network: nn.Module, squeezers: Sequence[Squeezer], *, calibration: Calibration) -> None:
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._squeezers = tuple(squeezers)
        self.calibration = calibration

    @classmethod
    def calibrated(cls, network: nn.Module, ordinary: Inputs, *, squeezers: Sequence[Squeezer] = STANDARD) -> Self:
        """The detector whose alarms are ranked among ordinary inputs, which did not train the network."""
        scores = squeezing_scores(network.eval(), ordinary, squeezers)
        return cls(network, squeezers, calibration=Calibration(scores=scores))

    def scores(self, x: Inputs) -> Scores:
        """How far the predicted probabilities move, in L1 distance, from 0 to 2: [rows]."""
        return squeezing_scores(self._network, x, self._squeezers)

    def alarms(self, x: Inputs, *, false_alarm_rate: float = 0.05) -> npt.NDArray[np.bool_]:
        """Whether each input raises an alarm, at this rate of false ones."""
        return self.calibration.alarms(self.scores(x), false_alarm_rate=false_alarm_rate)


def squeezing_scores(network: nn.Module, x: Inputs, squeezers: Sequence[Squeezer]) -> Scores:
    """The largest L1 distance between probabilities with and without each squeezer: [rows].

    References: Xu, Evans and Qi 2018, section V-A.
    """
    plain = _softmax(_evaluated(network, x))
    moves = [np.abs(_softmax(_evaluated(_Through(network, one), x)) - plain).sum(axis=1) for one in squeezers]
    largest: Scores = np.max(moves, axis=0)
    return largest


class _Through(nn.Module):
    """A network behind a squeezer whose derivative is taken to be one."""

    def __init__(self, network: nn.Module, squeezer: Squeezer) -> None:
        super().__init__()
        self.network = network
        self.squeezer = squeezer
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        # With a gradient the difference counts as constant; without one it is exactly the squeezed input.
        seen = self.squeezer.squeeze(x) if not x.requires_grad else x + (self.squeezer.squeeze(x) - x).detach()
        logits: Tensor = self.network(seen)
        return logits


def _evaluated(network: nn.Module, x: Inputs) -> npt.NDArray[np.float32]:
    parts = []
    with torch.inference_mode():
        for start in range(0, len(x), _ROWS_AT_ONCE):
            parts.append(
                network(torch.from_numpy(np.array(x[start : start + _ROWS_AT_ONCE], dtype=np.float32))).numpy()
            )
    return np.concatenate(parts)


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return result
