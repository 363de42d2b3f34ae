"""Neural Cleanse: for each class, the smallest patch that turns every input into it. A backdoor's is very small.

All classes are searched at once: one batch holds every image once for each class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wardline.core import Seeds
from wardline.core.canonical import to_json
from wardline.core.checks import at_least, positive, probability
from wardline.models.predictor import Differentiable, Inputs
from wardline.models.threads import one_thread
from wardline.models.torch_model import torch_generator

_LEAST_CLASSES = 5
_CONSISTENT = 1.4826  # makes the median absolute deviation of normal numbers their standard deviation
_NULL_DRAWS = 20_000
_BETAS = (0.5, 0.9)  # of Adam, as in the authors' code
_GROWTH = 1.1  # of the weight on the size after a step that keeps the success rate; a miss undoes one and a half
_WEIGHTS = (1e-5, 1e1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSearch:
    """How triggers are searched for.

    Attributes:
        steps: of Adam, at least 1.
        batch: images in a step, at least 1; each is tried for every class.
        learning_rate: Adam's, above 0.
        success_rate: the share of images that a trigger must turn to count, in (0, 1).
        low, high: the range of the images' values.
        index: a class is named only if its anomaly index exceeds this; 2 is the published value.
        shrinkage: and if its trigger is smaller than this share of the median, in (0, 1). The index alone alarms in a
            third of all cases if the logarithms of ten clean classes' sizes are normal (our simulation).

    Raises:
        ValueError: for a figure out of range.
    """

    steps: int = 300
    batch: int = 32
    learning_rate: float = 0.1
    success_rate: float = 0.99
    low: float = 0.0
    high: float = 1.0
    index: float = 2.0
    shrinkage: float = 0.4

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("batch", self.batch, 1)
        positive("learning_rate", self.learning_rate)
        positive("index", self.index)
        probability("success_rate", self.success_rate)
        probability("shrinkage", self.shrinkage)
        if not self.low < self.high:
            raise ValueError("low must lie below high")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriggerScan:
    """What the search found, class by class.

    Attributes:
        sizes: the sum of the mask of the smallest trigger that turned enough images; the number of pixels where none
            did.
        success: the share of the images that the stored trigger turns, predicted anew by the model.
        indices: how many robust standard deviations the logarithm of each size lies below the median of all.
        ratios: each size over the median size.
        flagged: the classes called backdoored, in rising order.
        p_value: how often the largest index of as many classes would be at least as high if the logarithms of sizes
            were normal. It rests on that model and is never small for few classes; `clean_twins_p_value`
            is better.
        masks: [classes, height, width], from 0 to 1; not part of `to_json`.
        patterns: [classes, channels, height, width]; not part of `to_json`.
    """

    sizes: tuple[float, ...]
    success: tuple[float, ...]
    indices: tuple[float, ...]
    ratios: tuple[float, ...]
    flagged: tuple[int, ...]
    p_value: float
    masks: npt.NDArray[np.float32] = field(repr=False)
    patterns: npt.NDArray[np.float32] = field(repr=False)

    def stamp(self, x: Inputs, label: int) -> Inputs:
        """Images with the trigger that was found for a class."""
        mask = self.masks[label]
        stamped: Inputs = ((1.0 - mask) * x + mask * self.patterns[label]).astype(np.float32)
        return stamped

    def clean_twins_p_value(self, twins: tuple[TriggerScan, ...]) -> float:
        """How rare so small a trigger is among models known to be clean.

        Guarantee: if the model is clean and exchangeable with the twins (same recipe, same source of data, other
        seeds), the value is at most t with probability at most t. It cannot fall below 1 / (1 + twins).

        Args:
            twins: scans of clean models with the same settings, at least one.
        """
        if not twins:
            raise ValueError("at least one clean twin is needed")
        lower = sum(min(twin.ratios) <= min(self.ratios) for twin in twins)
        return (1 + lower) / (1 + len(twins))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without masks and patterns."""
        names = ("sizes", "success", "indices", "ratios", "flagged", "p_value")
        return dict(to_json({name: getattr(self, name) for name in names}))

    def __str__(self) -> str:
        if not self.flagged:
            return f"no class stands out; smallest trigger {min(self.ratios):.2f} of the median"
        named = ", ".join(
            f"{label} (index {self.indices[label]:.1f}, {self.ratios[label]:.2f} of the median)"
            for label in self.flagged
        )
        return f"looks backdoored towards class {named}"


_DEFAULT = TriggerSearch()


def neural_cleanse(
    predictor: Differentiable, x: Inputs, *, seeds: Seeds, search: TriggerSearch = _DEFAULT
) -> TriggerScan:
    """Reverse-engineer a trigger for every class and name the classes whose trigger is an outlier.

    **What it does not find**: triggers that are not small (a pattern blended over the whole image), triggers that only
    work on some source classes, backdoors towards most classes at once, and anything in a model of fewer than five
    classes. That it names no class is no proof that there is no backdoor.

    Args:
        predictor: the model, with full access.
        x: clean images [rows, channels, height, width], of all classes; a few hundred.
        seeds: starts and batches (streams ``cleanse.start`` and ``cleanse.batches``).
        search: settings.

    Raises:
        ValueError: for inputs that are no images, or a model of fewer than five classes or of answers that are not
            finite.

    References: Wang et al. 2019, sections IV and V. Differences: sizes are compared on a logarithmic scale, because
    those of clean classes differ by factors, and a class must also fall below a share of the median.
    """
    if x.ndim != 4 or not len(x):
        raise ValueError("x must hold images [rows, channels, height, width], at least one")
    network = predictor.network()
    images = torch.from_numpy(np.array(x, dtype=np.float32))
    with torch.inference_mode():
        classes = int(network(images[:1]).shape[1])
    if classes < _LEAST_CLASSES:
        raise ValueError(f"a median of {classes} classes tells nothing: at least {_LEAST_CLASSES} are needed")
    with one_thread():
        sizes, masks, patterns = _search(network, images, classes=classes, seeds=seeds, search=search)
        success = [_success(network, images, label, masks[label], patterns[label]) for label in range(classes)]
    indices = _anomaly(np.log(sizes))
    ratios = sizes / np.median(sizes)
    return TriggerScan(
        sizes=tuple(float(one) for one in sizes),
        success=tuple(success),
        indices=tuple(float(one) for one in indices),
        ratios=tuple(float(one) for one in ratios),
        flagged=tuple(int(one) for one in np.flatnonzero((indices > search.index) & (ratios < search.shrinkage))),
        p_value=_model_p_value(float(indices.max()), classes),
        masks=masks[:, 0].numpy(),
        patterns=patterns.numpy(),
    )


def _search(
    network: nn.Module, images: Tensor, *, classes: int, seeds: Seeds, search: TriggerSearch
) -> tuple[npt.NDArray[np.float64], Tensor, Tensor]:
    """The smallest successful mask of each class, with its pattern: sizes, [classes, 1, h, w], [classes, ch, h, w]."""
    channels, height, width = images.shape[1:]
    start = torch_generator(seeds, "cleanse.start")
    # Unbounded numbers whose tanh is mask and pattern, so that Adam needs no projection.
    raw_masks = torch.empty(classes, 1, height, width).uniform_(-1.0, 1.0, generator=start).requires_grad_()
    raw_patterns = torch.empty(classes, channels, height, width).uniform_(-1.0, 1.0, generator=start).requires_grad_()
    optimizer = torch.optim.Adam([raw_masks, raw_patterns], lr=search.learning_rate, betas=_BETAS)
    batches = seeds.numpy("cleanse.batches")
    rows = min(search.batch, len(images))
    wanted = torch.arange(classes).repeat_interleave(rows)
    weight = torch.full((classes,), 1e-3)
    best_size = torch.full((classes,), float(height * width))
    best_masks, best_patterns = torch.ones(classes, 1, height, width), torch.zeros(classes, channels, height, width)
    for _ in range(search.steps):
        chosen = images[torch.from_numpy(batches.choice(len(images), size=rows, replace=False))]
        masks = (raw_masks.tanh() + 1.0) / 2.0
        patterns = search.low + (search.high - search.low) * (raw_patterns.tanh() + 1.0) / 2.0
        stamped = (1.0 - masks)[:, None] * chosen[None] + (masks * patterns)[:, None]
        logits = network(stamped.flatten(0, 1))
        losses = functional.cross_entropy(logits, wanted, reduction="none").reshape(classes, rows).mean(dim=1)
        if not bool(losses.isfinite().all()):
            # No step follows from such a loss: every class would keep its first mask, and none would stand out.
            raise ValueError("the model's answers to images with a trigger are not finite")
        sizes = masks.flatten(1).sum(dim=1)
        with torch.no_grad():
            turned = (logits.argmax(dim=1) == wanted).float().reshape(classes, rows).mean(dim=1)
            enough = turned >= search.success_rate
            better = enough & (sizes < best_size)
            best_size = torch.where(better, sizes, best_size)
            best_masks[better], best_patterns[better] = masks[better], patterns[better]
        optimizer.zero_grad(set_to_none=True)
        (losses + weight * sizes).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        weight = torch.where(enough, weight * _GROWTH, weight / _GROWTH**1.5).clamp(*_WEIGHTS)
    return best_size.double().numpy(), best_masks, best_patterns


def _success(network: nn.Module, images: Tensor, label: int, mask: Tensor, pattern: Tensor) -> float:
    with torch.inference_mode():
        turned = network((1.0 - mask) * images + mask * pattern).argmax(dim=1) == label
    return float(turned.float().mean())


def _anomaly(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How many robust standard deviations each value lies below the median, along the last axis."""
    below = np.median(values, axis=-1, keepdims=True) - values
    spread = _CONSISTENT * np.median(np.abs(below), axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = below / np.maximum(spread, 1e-12)
    return result


def _model_p_value(index: float, classes: int) -> float:
    draws = Seeds(0).numpy("cleanse.null").normal(size=(_NULL_DRAWS, classes))
    return float((1 + (_anomaly(draws).max(axis=1) >= index).sum()) / (1 + _NULL_DRAWS))
