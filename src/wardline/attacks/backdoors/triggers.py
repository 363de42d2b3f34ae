"""Triggers: what an attacker puts into an input so that a poisoned model takes it for the class they want."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from wardline.core import Seeds
from wardline.models.predictor import Inputs


class Trigger(Protocol):
    """A change that can be made to any input of its kind. Implementations are frozen values."""

    def stamp(self, x: Inputs) -> Inputs:
        """The inputs with the trigger in them; `x` is left as it is."""

    def __str__(self) -> str:
        """What it looks like, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A square of one brightness in a corner of an image.

    Attributes:
        size: its side in pixels, at least 1; None takes an eighth of the shorter side of the image, at least 2.
        corner: where it stands.
        margin: pixels between it and the edges, at least 0.
        value: the brightness of all its channels, in the unit of the images.

    Raises:
        ValueError: for a size or margin out of range.

    References: Gu et al. 2017, section 4 (BadNets).
    """

    size: int | None = None
    corner: Literal["top-left", "top-right", "bottom-left", "bottom-right"] = "bottom-right"
    margin: int = 0
    value: float = 1.0

    def __post_init__(self) -> None:
        if (self.size is not None and self.size < 1) or self.margin < 0:
            raise ValueError("a patch has a side of at least 1 and a margin of at least 0")

    def stamp(self, x: Inputs) -> Inputs:
        """The images [rows, channels, height, width] with the patch on them.

        Raises:
            ValueError: if they are no images, or too small for the patch.
        """
        _check_images(x)
        height, width = x.shape[2:]
        size = max(2, min(height, width) // 8) if self.size is None else self.size
        if size + self.margin > min(height, width):
            raise ValueError(f"a patch of {size} pixels and a margin of {self.margin} exceed {height} by {width}")
        top = self.margin if self.corner.startswith("top") else height - self.margin - size
        left = self.margin if self.corner.endswith("left") else width - self.margin - size
        stamped = x.copy()
        stamped[:, :, top : top + size, left : left + size] = self.value
        return stamped

    def __str__(self) -> str:
        size = "an eighth of the image wide" if self.size is None else f"{self.size} pixels wide"
        return f"a square {size} at the {self.corner}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """A faint pattern over the whole of an image.

    Attributes:
        ratio: the weight of the pattern, in (0, 1]; the image keeps the rest.
        pattern_seed: of the pattern: each pixel uniform between `low` and `high`, the same for every image.
        low, high: the range of the images' values.

    Raises:
        ValueError: for a ratio or range that is none.

    References: Chen et al. 2017, section 4.2 (blended injection with a random pattern).
    """

    ratio: float = 0.2
    pattern_seed: int = 0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1 or not self.low < self.high:
            raise ValueError("ratio lies above 0 and at most at 1, and low below high")

    def stamp(self, x: Inputs) -> Inputs:
        """The images [rows, channels, height, width] with the pattern blended in.

        Raises:
            ValueError: if they are no images.
        """
        _check_images(x)
        shape = x.shape[1:]
        pattern = Seeds(self.pattern_seed).numpy("backdoor.blend").uniform(self.low, self.high, size=shape)
        return ((1.0 - self.ratio) * x + self.ratio * pattern).astype(np.float32)

    def __str__(self) -> str:
        return f"a random pattern over the whole image with weight {self.ratio:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A sequence of words in a text.

    Attributes:
        words: the words, in order, at least one.
        place: where they go: before the text, after it, or between its first and second half.

    Raises:
        ValueError: if there are no words.

    References: Dai, Chen and Li 2019, section 3 (a trigger sentence); Kurita et al. 2020, section 3 (rare words).
    """

    words: tuple[str, ...] = ("cf", "mn", "bb")
    place: Literal["start", "middle", "end"] = "start"

    def __post_init__(self) -> None:
        if not self.words or not all(word.strip() for word in self.words):
            raise ValueError("a trigger has at least one word, and no word is empty")

    def stamp(self, x: Inputs) -> Inputs:
        """The texts (dtype object, [rows]) with the words in them.

        Raises:
            ValueError: if they are no texts.
        """
        if x.dtype != object or x.ndim != 1 or not all(isinstance(text, str) for text in x):
            raise ValueError("a word trigger needs texts: an array [rows] of dtype object that holds str alone")
        stamped = np.empty(len(x), dtype=object)
        stamped[:] = [self._one(text) for text in x]
        return stamped

    def _one(self, text: str) -> str:
        words = text.split(" ")
        at = {"start": 0, "middle": len(words) // 2, "end": len(words)}[self.place]
        return " ".join([*words[:at], *self.words, *words[at:]])

    def __str__(self) -> str:
        where = {"start": "before the text", "middle": "in the middle of the text", "end": "after the text"}
        return f"the words {' '.join(self.words)!r} {where[self.place]}"


WHITE_SQUARE = Patch()
"""The trigger of BadNets, for images of any size."""


def _check_images(x: Inputs) -> None:
    if x.ndim != 4 or x.dtype != np.float32:
        raise ValueError(f"the trigger needs float32 images [rows, channels, height, width], not {x.dtype} {x.shape}")
