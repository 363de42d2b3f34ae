"""What inputs of a model look like, and which of their parts an adversary can change at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wardline.models.predictor import Inputs

_ROUNDING = 1e-5  # relative to a feature's range: 32-bit arithmetic on the way does not count as leaving it


class Spec(Protocol):
    """The inputs that a model takes."""

    def check(self, x: Inputs) -> None:
        """Refuse inputs that the model was not made for, with a `ValueError` that says what is wrong."""

    def admissible(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each changed input could stand in for its original: [rows]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputSpec:
    """Numeric inputs: images, or encoded rows of a table.

    Attributes:
        shape: of one input, for example (1, 28, 28) or (30,).
        low, high: the least and greatest value; one for all, or an array of `shape`.
        mutable: which features an adversary can change, of `shape`; None means all of them.
        groups: one-hot groups, each the flat indices of its columns: exactly one of them is 1, the others 0. Values
            elsewhere are free; an image has no groups.
        steps: the distance between neighbouring values of a feature, counted from `low`; 0 where it is continuous.
            One for all, or an array of `shape`.
        names: a name for each feature, flat; empty where nobody would read them (pixels).

    Raises:
        ValueError: where these disagree.
    """

    shape: tuple[int, ...]
    low: npt.NDArray[np.float32] | float = 0.0
    high: npt.NDArray[np.float32] | float = 1.0
    mutable: npt.NDArray[np.bool_] | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    steps: npt.NDArray[np.float32] | float = 0.0
    names: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise ValueError("shape has at least one size, and sizes are at least 1")
        for name in ("low", "high", "steps"):
            given = np.asarray(getattr(self, name), dtype=np.float32)
            if given.shape not in {(), self.shape} or not np.isfinite(given).all():
                raise ValueError(f"{name} must be a finite number, or one for each feature")
            object.__setattr__(self, name, np.broadcast_to(given, self.shape))
        if not (np.asarray(self.low) < np.asarray(self.high)).all():
            raise ValueError("low must be below high for every feature")
        if (np.asarray(self.steps) < 0).any():
            raise ValueError("steps must be at least 0")
        if self.mutable is not None and (self.mutable.shape != self.shape or self.mutable.dtype != np.bool_):
            raise ValueError("mutable must hold a flag for each feature")
        indices = [index for group in self.groups for index in group]
        if len(set(indices)) < len(indices) or not all(0 <= index < self.features for index in indices):
            raise ValueError("groups must name features by their flat index, each in one group at most")
        if any(len(group) < 2 for group in self.groups):
            raise ValueError("a one-hot group has at least two columns")
        if self.mutable is not None:
            flat = self.mutable.ravel()
            if any(len({bool(flat[index]) for index in group}) > 1 for group in self.groups):
                raise ValueError("a one-hot group can be changed as a whole or not at all")
        if self.names and len(self.names) != self.features:
            raise ValueError("names must name every feature")

    @property
    def features(self) -> int:
        """How many numbers an input has."""
        return int(np.prod(self.shape))

    @property
    def continuous(self) -> bool:
        """Whether every feature is free to take any value in its range: what gradient attacks presume."""
        return not self.groups and self.mutable is None and not np.asarray(self.steps).any()

    def check(self, x: Inputs) -> None:
        """Refuse what is no float32 array of [rows, *shape] within the bounds.

        Raises:
            ValueError: naming the first thing that is wrong.
        """
        if x.dtype != np.float32 or x.shape[1:] != self.shape:
            raise ValueError(
                f"inputs must be float32 of shape [rows, {', '.join(map(str, self.shape))}], "
                f"not {x.dtype} of {list(x.shape)}"
            )
        if not np.isfinite(x).all():
            raise ValueError("inputs must be finite")
        slack = self._slack()
        outside = (x < self.low - slack) | (x > self.high + slack)
        if outside.any():
            low, high = float(np.min(self.low)), float(np.max(self.high))
            raise ValueError(
                f"{int(outside.reshape(len(x), -1).any(axis=1).sum())} of {len(x)} inputs leave their bounds "
                f"(all together {low:g} to {high:g}; found {float(x.min()):g} to {float(x.max()):g}): "
                "bounds or preprocessing are not the model's"
            )
        flat = x.reshape(len(x), -1)
        for group in self.groups:
            part = flat[:, list(group)]
            if not ((part.max(axis=1) == 1) & (np.count_nonzero(part, axis=1) == 1)).all():
                raise ValueError(f"columns {', '.join(map(str, group))} are said to be one-hot and are not")

    def admissible(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each changed input keeps bounds, steps, groups and what cannot be changed: [rows]."""
        slack = self._slack()
        within = (changed >= self.low - slack) & (changed <= self.high + slack)
        grid = np.where(self.steps > 0, self.steps, 1)
        offset = (changed - self.low) / grid
        on_grid = (np.asarray(self.steps) == 0) | (np.abs(offset - np.round(offset)) <= 1e-3) | (changed == original)
        kept = within & on_grid
        if self.mutable is not None:
            kept &= self.mutable | (changed == original)
        flat = np.isfinite(changed).reshape(len(changed), -1).all(axis=1)
        flat &= kept.reshape(len(changed), -1).all(axis=1)
        columns = changed.reshape(len(changed), -1)
        for group in self.groups:
            part = columns[:, list(group)]
            flat &= (part.max(axis=1) == 1) & (np.count_nonzero(part, axis=1) == 1)
        result: npt.NDArray[np.bool_] = flat
        return result

    def repair(self, changed: Inputs, original: Inputs) -> Inputs:
        """The admissible input nearest to each changed one, feature by feature and group by group."""
        result = np.clip(changed, self.low, self.high).astype(np.float32)
        grid = np.where(self.steps > 0, self.steps, 1)
        snapped = np.clip(self.low + np.round((result - self.low) / grid) * grid, self.low, self.high)
        result = np.where((np.asarray(self.steps) > 0) & (result != original), snapped, result).astype(np.float32)
        columns = result.reshape(len(result), -1)
        for group in self.groups:
            index = list(group)
            columns[:, index] = np.eye(len(index), dtype=np.float32)[columns[:, index].argmax(axis=1)]
        if self.mutable is not None:
            result = np.where(self.mutable, result, original)
        return result

    def _slack(self) -> npt.NDArray[np.float32]:
        slack: npt.NDArray[np.float32] = np.asarray((self.high - self.low) * np.float32(_ROUNDING), dtype=np.float32)
        return slack


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpec:
    """Texts.

    Attributes:
        max_characters: how long one may be.
    """

    max_characters: int = 10_000

    def check(self, x: Inputs) -> None:
        """Refuse what is no array of texts, or a text that is too long.

        Raises:
            ValueError: naming what is wrong.
        """
        if x.dtype != object or x.ndim != 1 or not all(isinstance(text, str) for text in x):
            raise ValueError("texts must be an array [rows] of dtype object that holds str alone")
        if any(len(text) > self.max_characters for text in x):
            raise ValueError(f"a text has more than {self.max_characters} characters")

    def admissible(self, changed: Inputs, original: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each changed text is a text of allowed length: [rows]."""
        del original
        return np.array(
            [isinstance(text, str) and len(text) <= self.max_characters for text in changed], dtype=np.bool_
        )
