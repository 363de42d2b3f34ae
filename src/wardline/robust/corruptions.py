"""Images as accidents make them: noise, blur, weather, displacement, each at five severities.

Constants of noise, fog, brightness and contrast are those of CIFAR-10-C; those of blurs, snow, pixels and displacements
are ours, since the originals are tied to libraries or do not exist. Lengths scale with the size of the image, so that
a severity looks alike at any size. Nothing is read from files, and JPEG is left out because it would need a codec.

References: Hendrycks and Dietterich 2019, section 3 and appendix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wardline.core import Seeds
from wardline.models.predictor import Inputs
from wardline.models.torch_model import torch_generator

Corruption: TypeAlias = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "motion_blur",
    "fog",
    "snow",
    "brightness",
    "contrast",
    "pixelate",
    "rotation",
    "translation",
    "scale",
]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES = (1, 2, 3, 4, 5)

_REFERENCE = 32  # pixels, for which the constants were made
_ROWS_AT_ONCE = 256

_Change = Callable[[Tensor, int, torch.Generator], Tensor]


def corrupt(x: Inputs, kind: Corruption, *, severity: int, seeds: Seeds) -> Inputs:
    """Images after an accident.

    Args:
        x: float32 [rows, channels, height, width] in [0, 1], at least 8 pixels high and wide.
        kind: of the accident.
        severity: from 1 to 5.
        seeds: of its randomness; equal seeds give equal images, whatever the kinds before.

    Returns:
        As many images of the same shape, in [0, 1].

    Raises:
        ValueError: for an unknown kind or severity, or anything but such images.
    """
    if kind not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(f"kind must be one of {', '.join(CORRUPTIONS)}, and severity from 1 to 5")
    if x.dtype != np.float32 or x.ndim != 4 or min(x.shape[2:]) < 8:
        raise ValueError("images must be float32 [rows, channels, height, width] of at least 8 by 8 pixels")
    if len(x) and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError("images must lie in [0, 1]")
    generator = torch_generator(seeds, f"corruption.{kind}.{severity}")
    result = np.empty_like(x)
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = torch.from_numpy(x[start : start + _ROWS_AT_ONCE].copy())
        result[start : start + len(rows)] = _CHANGES[kind](rows, severity - 1, generator).clamp(0, 1).numpy()
    return result


def _gaussian_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return x + (0.04, 0.06, 0.08, 0.09, 0.10)[level] * torch.empty_like(x).normal_(generator=generator)


def _shot_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    photons = (500.0, 250.0, 100.0, 75.0, 50.0)[level]
    return torch.poisson(x * photons, generator=generator) / photons


def _impulse_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[level]
    drawn = torch.empty_like(x).uniform_(generator=generator)
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn > 1 - share / 2, 1.0, x))


def _defocus_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    del generator
    radius = (0.4, 0.7, 1.0, 1.4, 1.9)[level] * _factor(x)
    reach = math.ceil(radius) + 2
    steps = torch.arange(-reach, reach + 1, dtype=x.dtype)
    # A disc whose edge falls off over a fraction of a pixel, so that radii between whole pixels differ.
    return _filtered(x, torch.sigmoid((radius + 0.5 - torch.hypot(steps[:, None], steps[None, :])) / 0.2))


def _motion_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    spread = (1.0, 1.5, 2.0, 2.5, 3.0)[level] * _factor(x)
    return _streaked(x, spread, generator)


def _fog(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    amount, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[level]
    clouds = _clouds(x, decay, generator)
    brightest = x.amax(dim=(1, 2, 3), keepdim=True)
    return (x + amount * clouds) * brightest / (brightest + amount)


def _snow(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    # Share of pixels where a flake starts, brightness of flakes, and how much of the picture's own light stays.
    share, bright, own = ((0.02, 0.7, 0.95), (0.04, 0.75, 0.9), (0.06, 0.8, 0.85), (0.08, 0.9, 0.8), (0.1, 1.0, 0.75))[
        level
    ]
    starts = (torch.empty_like(x[:, :1]).uniform_(generator=generator) < share).to(x)
    spread = _factor(x)
    flakes = _streaked(starts, spread, generator) * (2.0 + 2.0 * spread)
    grey = x.mean(dim=1, keepdim=True) * 0.5 + 0.5
    washed = own * x + (1 - own) * torch.maximum(x, grey.expand_as(x))
    return washed + bright * flakes.clamp(0, 1)


def _brightness(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    del generator
    return x + (0.05, 0.1, 0.15, 0.2, 0.3)[level]


def _contrast(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    del generator
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * (0.75, 0.5, 0.4, 0.3, 0.15)[level] + mean


def _pixelate(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    del generator
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    size = [max(1, round(share * side)) for side in x.shape[2:]]
    return functional.interpolate(
        functional.interpolate(x, size=size, mode="area"), size=x.shape[2:], mode="nearest-exact"
    )


def _rotation(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    angles = math.radians((5.0, 10.0, 15.0, 22.0, 30.0)[level]) * _signs(x, generator)
    return _moved(x, torch.cos(angles), torch.sin(angles), torch.zeros(len(x), 2))


def _translation(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    share = (0.03, 0.06, 0.09, 0.13, 0.18)[level]
    around = 2 * math.pi * torch.empty(len(x)).uniform_(generator=generator)
    shift = 2 * share * torch.stack([torch.cos(around), torch.sin(around)], dim=1)
    return _moved(x, torch.ones(len(x)), torch.zeros(len(x)), shift)


def _scale(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    factor = (1.08, 1.16, 1.25, 1.4, 1.6)[level]
    larger = _signs(x, generator) > 0
    return _moved(x, torch.where(larger, 1 / factor, factor), torch.zeros(len(x)), torch.zeros(len(x), 2))


_CHANGES: dict[Corruption, _Change] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "fog": _fog,
    "snow": _snow,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "rotation": _rotation,
    "translation": _translation,
    "scale": _scale,
}


def _factor(x: Tensor) -> float:
    return min(x.shape[2:]) / _REFERENCE


def _signs(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(torch.empty(len(x)).uniform_(generator=generator) < 0.5, -1.0, 1.0)


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Each channel filtered by one kernel, scaled to sum to 1; the border is repeated outwards."""
    weights = (kernel / kernel.sum()).expand(x.shape[1], 1, *kernel.shape)
    reach = kernel.shape[0] // 2
    padded = functional.pad(x, (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(padded, weights, groups=x.shape[1])


def _streaked(x: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    """Each image smeared in a direction of its own, up to 45 degrees off, by a one-sided normal of this spread."""
    angles = (torch.empty(len(x)).uniform_(generator=generator) - 0.5) * (math.pi / 2)
    reach = max(1, math.ceil(3 * spread))
    weights = torch.exp(-0.5 * (torch.arange(reach + 1) / spread) ** 2)
    weights = weights / weights.sum()
    height, width = x.shape[2:]
    result = torch.zeros_like(x)
    for step, weight in enumerate(weights.tolist()):
        shift = 2 * step * torch.stack([torch.cos(angles) / width, torch.sin(angles) / height], dim=1)
        result += weight * _moved(x, torch.ones(len(x)), torch.zeros(len(x)), shift)
    return result


def _moved(x: Tensor, cosine: Tensor, sine: Tensor, shift: Tensor) -> Tensor:
    """Images looked up at rotated, scaled and shifted places; the border is repeated outwards."""
    ratio = x.shape[3] / x.shape[2]
    # Places are in halves of width and height, so a rotation of an oblong image mixes them by their ratio.
    first = torch.stack([cosine, -sine / ratio, shift[:, 0]], dim=1)
    second = torch.stack([sine * ratio, cosine, shift[:, 1]], dim=1)
    grid = functional.affine_grid(torch.stack([first, second], dim=1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _clouds(x: Tensor, decay: float, generator: torch.Generator) -> Tensor:
    """Noise of many sizes, the finer the fainter, from 0 to 1 in each image: [rows, 1, height, width]."""
    clouds = torch.zeros(len(x), 1, *x.shape[2:])
    for octave in range(1, max(2, math.ceil(math.log2(min(x.shape[2:])))) + 1):
        drawn = torch.empty(len(x), 1, 2**octave, 2**octave).uniform_(generator=generator)
        clouds += decay ** (1 - octave) * functional.interpolate(
            drawn, size=x.shape[2:], mode="bilinear", align_corners=False
        )
    clouds -= clouds.amin(dim=(2, 3), keepdim=True)
    return clouds / clouds.amax(dim=(2, 3), keepdim=True).clamp_min(1e-6)
