"""Training of text classifiers, with a place where an adversary may change the texts of each batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from wardline.core import NoProgress, Progress, Seeds
from wardline.core.checks import at_least, positive
from wardline.models.predictor import Inputs
from wardline.models.text import TextArchitecture, TextModel, text_logits
from wardline.models.text_features import Bags
from wardline.models.torch_model import torch_generator

Losses: TypeAlias = Callable[[Inputs, npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Cross-entropy of texts with their classes, by the model as it is now: [rows]."""

_SILENT = NoProgress()


class Adversary(Protocol):
    """Changes texts while a model is trained on them."""

    def change(
        self, texts: Inputs, labels: npt.NDArray[np.int64], *, losses: Losses, generator: np.random.Generator
    ) -> Inputs:
        """The texts that the model is trained on instead, as many, of the same classes.

        Args:
            texts: those of one batch; not to be changed.
            labels: their classes.
            losses: the present model's losses of any texts.
            generator: of all randomness.
        """


_FEW_TEXTS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """How a text classifier is trained.

    Attributes:
        epochs: passes over the texts, at least 1.
        batch: texts of a step, at least 1.
        learning_rate: of Adam at the start, above 0; it falls to 0 in a straight line.

    Raises:
        ValueError: for a number out of range.
    """

    epochs: int = 5
    batch: int = 256
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 1)
        at_least("batch", self.batch, 1)
        positive("learning_rate", self.learning_rate)


def default_text_config(n_texts: int) -> TextConfig:
    """Settings that suit so many texts: about 28,000 visits, at least two passes, and small batches for few texts.

    On 3,500 messages (SMS spam) they reach what the settings of the examples reach; the plain defaults of `TextConfig`
    need more passes there before the rarer class is learnt at all.

    Args:
        n_texts: how many there are to train on, at least 1.
    """
    at_least("n_texts", n_texts, 1)
    few = n_texts < _FEW_TEXTS
    return TextConfig(epochs=min(20, max(2, round(28_000 / n_texts))), batch=32 if few else 256, learning_rate=1e-2)


def train_text(
    texts: Inputs,
    labels: npt.NDArray[np.int64],
    *,
    architecture: TextArchitecture,
    classes: Sequence[str],
    config: TextConfig,
    seeds: Seeds,
    adversary: Adversary | None = None,
    progress: Progress = _SILENT,
) -> TextModel:
    """Train a classifier by cross-entropy with Adam; the same seeds give the same model on the same machine.

    Args:
        texts: str, an array [rows] of dtype object.
        labels: their classes, from 0 on.
        architecture: what to train.
        classes: a name for each class.
        config: how.
        seeds: of the first weights, the order of the texts, and the adversary.
        adversary: changes each batch before it is learned from; None leaves it as it is.
        progress: told how many steps are done.

    Raises:
        ValueError: if there are no texts, or the labels do not fit.
    """
    if not len(texts) or len(texts) != len(labels):
        raise ValueError("there must be as many labels as texts, at least one")
    if labels.min() < 0 or labels.max() >= architecture.classes:
        raise ValueError(f"labels lie between 0 and {architecture.classes - 1}")
    weights = _first_weights(architecture, torch_generator(seeds, "text.init"))
    features, encoded = architecture.features, architecture.features.bags(texts)
    steps = config.epochs * math.ceil(len(texts) / config.batch)
    optimizer = torch.optim.Adam(weights.values(), lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    order, evil = seeds.numpy("text.order"), seeds.numpy("text.adversary")

    def losses(rows: Inputs, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            logits = text_logits(weights, features.bags(rows))
            found: npt.NDArray[np.float32] = functional.cross_entropy(
                logits, torch.from_numpy(wanted), reduction="none"
            ).numpy()
        return found

    progress.start("train text", steps)
    done = 0
    for _ in range(config.epochs):
        shuffled = order.permutation(len(texts))
        for rows in np.split(shuffled, range(config.batch, len(texts), config.batch)):
            bags: Bags
            if adversary is None:
                bags = encoded.take(rows)
            else:
                bags = features.bags(adversary.change(texts[rows], labels[rows], losses=losses, generator=evil))
            loss = functional.cross_entropy(text_logits(weights, bags), torch.from_numpy(labels[rows]))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            done += 1
            progress.advance(done)
    progress.finish()
    parameters = {name: value.detach().numpy().copy() for name, value in weights.items()}
    return TextModel(architecture=architecture, parameters=parameters, classes=tuple(classes))


def _first_weights(architecture: TextArchitecture, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Uniform within 1 / sqrt(inputs of the layer), as torch does it; embeddings within 1 / width, as fastText does."""
    weights: dict[str, torch.Tensor] = {}
    for name, shape in architecture.shapes().items():
        inputs = architecture.shapes()[name.replace("bias", "weight")][-1]
        bound = 1.0 / inputs if name == "embedding" else 1.0 / math.sqrt(inputs)
        weights[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator).requires_grad_(True)
    return weights
