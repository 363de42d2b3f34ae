"""Gaussian noise on a sum whose sensitivity is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from wardline.core import SecureRandom

ROUNDING_MARGIN = 2.0**-10
"""By how much more than asked the noise is scaled, to cover what rounding adds to the sensitivity.

Sums in floating point depend on what else is added (Casacuberta et al. 2022). Rows pass the network in 32 bits,
with a relative error of about 1e-6 that may change with the batch, and are added in 64 bits: over ten thousand
units the sum moves by far less than a thousandth of clip_norm unless every error points the same way.
"""

_GRID_BITS = 20


def noisy_sum(
    total: Mapping[str, Float64[Tensor, ...]], *, noise_multiplier: float, clip_norm: float, random: SecureRandom
) -> dict[str, Float32[Tensor, ...]]:
    """Add independent Gaussian noise to every number of a sum.

    Args:
        total: the sum, 64-bit.
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
        The Gaussian mechanism with standard deviation `noise_multiplier * clip_norm * (1 + ROUNDING_MARGIN)`, up
        to the resolution of 64-bit floating point. Two measures stand against attacks that read the unnoised
        value from low-order bits (Mironov 2012): each Gaussian number is a sum of two (Holohan and Braghin 2021),
        and the noisy sum is rounded to multiples of a power of two near 2**-20 standard deviations, after which
        every neighbouring sum can have led to every multiple. Rounding is post-processing and costs no privacy.

    References:
        Dwork and Roth 2014, appendix A; Mironov 2012; Holohan and Braghin 2021, section 4.
    """
    if not isinstance(random, SecureRandom):
        raise TypeError("noise that protects privacy comes from SecureRandom only")
    std = noise_multiplier * clip_norm * (1.0 + ROUNDING_MARGIN)
    if not (math.isfinite(std) and std > 0):
        raise ValueError("the noise must have a finite standard deviation above 0")
    # A power of two: dividing by it and multiplying with it are exact.
    grid = 2.0 ** (math.floor(math.log2(std)) - _GRID_BITS)
    noise = random.gaussian(sum(value.numel() for value in total.values()))
    noisy: dict[str, Tensor] = {}
    start = 0
    for name, value in total.items():
        stop = start + value.numel()
        sums = value.numpy().ravel() + std * noise[start:stop]
        noisy[name] = torch.from_numpy((np.rint(sums / grid) * grid).astype(np.float32).reshape(value.shape))
        start = stop
    return noisy
