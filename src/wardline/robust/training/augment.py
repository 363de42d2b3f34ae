"""Images mirrored and moved, a batch at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wardline.robust.training.config import Augmentation


def augmented(rows: Tensor, how: Augmentation, *, generator: torch.Generator) -> Tensor:
    """The images, each mirrored with probability one half and moved by up to `shift` pixels up or down, left or right.

    Args:
        rows: flattened images, [rows, columns].
        how: what may happen to them.
        generator: draws what does.

    Returns:
        Flattened images of the same shape.
    """
    channels, height, width = how.shape
    images = functional.pad(rows.reshape(-1, channels, height, width), (how.shift,) * 4)
    count, reach = len(images), 2 * how.shift + 1
    down = torch.randint(reach, (count, 1), generator=generator) + torch.arange(height)
    right = torch.randint(reach, (count, 1), generator=generator) + torch.arange(width)
    if how.mirror:
        mirrored = torch.randint(2, (count, 1), generator=generator).bool()
        right = torch.where(mirrored, right.flip(1), right)
    index = torch.arange(count)[:, None, None, None]
    layer = torch.arange(channels)[None, :, None, None]
    return images[index, layer, down[:, None, :, None], right[:, None, None, :]].flatten(1)
