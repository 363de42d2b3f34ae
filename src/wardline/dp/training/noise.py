"""Gaussian noise on a sum whose sensitivity is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from wardline.core import SecureRandom

ROUNDING_MARGIN = 2.0**-10
"""By how much more than asked the noise is scaled, to cover what rounding adds to the sensitivity.

Sums in floating point depend on what else is added (Casacuberta et al. 2022). Rows pass the network in 32 bits and up
to 1024 of them are added up in 32 bits, the rest in 64: a unit that leaves moves the sum by up to 0.0002 clip_norm more
than it should where 4096 gradients all point the same way (measured; the error of a piece is random, so it grows with
the square root of the number of pieces), and by less otherwise.
"""

_GRID_BITS = 20
_LEAST_STD = 2.0**-900
_PIECE = 1 << 14  # numbers that pass all steps together: few enough to stay near the processor


Sum: TypeAlias = Float64[Tensor, "..."] | Float32[Tensor, "..."]


def noisy_sum(
    total: Mapping[str, Sum], *, noise_multiplier: float, clip_norm: float, random: SecureRandom
) -> dict[str, Float32[Tensor, ...]]:
    """Add independent Gaussian noise to every number of a sum.

    Args:
        total: the sum, 64-bit or 32-bit. What rounding in the sum itself adds to its sensitivity is up to the caller
            and `ROUNDING_MARGIN`.
        noise_multiplier: standard deviation of the noise, in units of `clip_norm`; above 0.
        clip_norm: the most that one privacy unit changes the sum by, in Euclidean norm; above 0.
        random: where the noise comes from. Nothing that can be seeded is accepted: noise that can be drawn again
            can be taken off again.

    Returns:
        The noisy sum, 32-bit, on a grid. This and all that is computed from it may be published.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
        ValueError: if the noise would be zero or not finite.

    Guarantee:
        The Gaussian mechanism with standard deviation `noise_multiplier * clip_norm * (1 + ROUNDING_MARGIN)`, but for
        the resolution of its numbers, which takes the place of a guarantee against reading the unnoised value from
        low-order bits (Mironov 2012): the noisy sum is rounded to multiples of a power of two near 2**-20 standard
        deviations, and every multiple is hit with the probability that exact Gaussian noise would give it, up to a
        relative error of 2**-27, whatever the unnoised sum was. An event that has probability p with exact noise
        then has at most about p * exp(2**-27 * sqrt(2 n log(1 / p))) after n noisy numbers (by Renyi divergence of
        the best order): 0.12 % more than a delta of 1e-5 after a billion, which the margin covers. Rounding is
        post-processing and costs no privacy.

    References:
        Dwork and Roth 2014, appendix A; Mironov 2012; Prest 2017, section 3 (relative error and Renyi divergence);
        Holohan and Braghin 2021 (attacks on floating-point Gaussian samplers, which read exact outputs).
    """
    if not isinstance(random, SecureRandom):
        raise TypeError("noise that protects privacy comes from SecureRandom only")
    std = noise_multiplier * clip_norm * (1.0 + ROUNDING_MARGIN)
    if not (math.isfinite(std) and std > _LEAST_STD):
        raise ValueError("the noise must have a finite standard deviation above 0")
    # A power of two: dividing by it and multiplying with it are exact.
    grid = 2.0 ** (math.floor(math.log2(std)) - _GRID_BITS)
    noisy: dict[str, Tensor] = {}
    for name, value in total.items():
        # Strides and gradients are left behind; what lies in one piece is not copied.
        exact = value.detach().numpy().reshape(-1)
        result = np.empty(len(exact), dtype=np.float32)
        for start in range(0, len(exact), _PIECE):
            piece = exact[start : start + _PIECE]
            # All in units of the grid, so that rounding to it is rounding to whole numbers.
            sums = random.gaussian(len(piece))
            sums *= std / grid
            sums += np.multiply(piece, 1.0 / grid, dtype=np.float64)
            np.rint(sums, out=sums)
            sums *= grid
            result[start : start + _PIECE] = sums
        noisy[name] = torch.from_numpy(result).view(value.shape)
    return noisy
