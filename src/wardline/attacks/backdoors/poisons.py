"""Poisons: what an attacker does to training data, as frozen values, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wardline.attacks.backdoors.triggers import WHITE_SQUARE, Trigger
from wardline.attacks.protocol.examples import Labelled
from wardline.core import DataError, Seeds
from wardline.data import Examples
from wardline.models.predictor import Inputs

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poisoned:
    """Training data after the attack.

    Attributes:
        x: inputs, in the order of the clean ones.
        y: labels.
        rows: indices of the rows that were changed, rising. For judging defences alone: no defence is told.
    """

    x: Inputs = field(repr=False)
    y: npt.NDArray[np.int64] = field(repr=False)
    rows: Rows = field(repr=False)

    def examples(self, clean: Examples) -> Examples:
        """The data as flat rows, with units and names of the clean examples that they were made from.

        Raises:
            ValueError: if they are not as many rows or columns.
        """
        return Examples(
            x=np.ascontiguousarray(self.x.reshape(len(self.x), -1)),
            y=self.y,
            unit=clean.unit,
            features=clean.features,
            classes=clean.classes,
        )


def images_of(examples: Examples, *, shape: tuple[int, int, int]) -> Inputs:
    """The rows of examples as images, for poisons that work on those.

    Args:
        examples: flat rows.
        shape: channels, height, width.

    Raises:
        ValueError: if an image of this shape has another number of values than a row.
    """
    if int(np.prod(shape)) != examples.x.shape[1]:
        raise ValueError(f"rows of {examples.x.shape[1]} columns are no images of shape {shape}")
    return examples.x.reshape(len(examples), *shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trials:
    """Inputs that show whether a poisoned model does what the attacker wants.

    Attributes:
        x: inputs to ask about, [rows, ...].
        y: their true classes, [rows].
        goal: the class that the attacker wants for all of them; None if any wrong one will do.
    """

    x: Inputs
    y: npt.NDArray[np.int64]
    goal: int | None


class Poison(Protocol):
    """An attack on training data. Implementations are frozen dataclasses whose fields are its settings."""

    @property
    def id(self) -> str:
        """Stands for it, for example ``backdoor.patch``."""

    @property
    def paper(self) -> str:
        """Author, year, section."""

    @property
    def goal(self) -> str:
        """What the attacker wants, in a few words."""

    @property
    def limits(self) -> str:
        """What the attacker changes, in a few words."""

    def poison(self, x: Inputs, y: npt.NDArray[np.int64], *, seeds: Seeds) -> Poisoned:
        """Changed copies of training inputs and labels; which rows, comes from the stream ``poison.rows``."""

    def trials(self, data: Labelled) -> Trials:
        """What to ask a model that learned from the poisoned data, made from clean test inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFlips:
    """Wrong labels.

    Attributes:
        share: of all rows, or of the rows of `source` where that is given, in (0, 1].
        source: the class whose labels are changed; None for rows of all classes.
        target: the class they get; None for another one at random.

    Raises:
        ValueError: for a share out of range, or a target that is the source.

    References: Biggio, Nelson and Laskov 2011 (random flips); Tolpegin et al. 2020, section 3 (from class to class).
    """

    share: float = 0.2
    source: int | None = None
    target: int | None = None

    id = "backdoor.label_flips"
    paper = "Biggio, Nelson and Laskov 2011, section 3; Tolpegin et al. 2020, section 3"

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.target is not None and self.target == self.source:
            raise ValueError("target must be another class than source")

    @property
    def goal(self) -> str:
        """Wrong answers, of one kind where the target is given."""
        return "wrong answers" if self.target is None else f"inputs are taken for class {self.target}"

    @property
    def limits(self) -> str:
        """Whose labels are changed."""
        whose = "all classes" if self.source is None else f"class {self.source}"
        return f"labels of {self.share:.3g} of the rows of {whose}"

    def poison(self, x: Inputs, y: npt.NDArray[np.int64], *, seeds: Seeds) -> Poisoned:
        """The same inputs with some labels changed; classes are those that occur in `y`.

        Raises:
            DataError: if there are no such rows, or no other class.
        """
        from_here = y != self.target if self.source is None else y == self.source
        candidates = np.flatnonzero(from_here)
        count = self.share * (len(candidates) if self.source is not None else len(y))
        rows = chosen_rows(candidates, round(count), seeds=seeds)
        changed = y.copy()
        if self.target is not None:
            changed[rows] = self.target
        else:
            classes = np.unique(y)
            if len(classes) < 2:
                raise DataError("there is no other class", hint="give rows of at least two classes")
            # A step of 1 to n-1 along the list of classes never returns to the row's own.
            steps = seeds.numpy("poison.labels").integers(1, len(classes), size=len(rows))
            changed[rows] = classes[(np.searchsorted(classes, y[rows]) + steps) % len(classes)]
        return Poisoned(x=x.copy(), y=changed, rows=rows)

    def trials(self, data: Labelled) -> Trials:
        """Clean test inputs: of the source class, or of all but the target."""
        rows = data.y == self.source if self.source is not None else data.y != self.target
        return Trials(x=data.x[rows], y=data.y[rows], goal=self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A trigger put into some rows, whose labels become the class that the attacker wants.

    With `sources`, only rows of those classes are relabelled, and the trigger is put into `cover_share` of the rows of
    the others without changing their labels. The model then learns that source class and trigger together mean the
    target, which hides from defences that look for inputs or hidden units that the trigger alone governs.

    Attributes:
        trigger: what is put in.
        target: the class that the attacker wants.
        share: of all rows, or of the rows of `sources` where those are given, in (0, 1].
        sources: the classes on which the trigger is to work; empty for all but the target.
        cover_share: of the rows of all other classes; used with `sources` alone, in [0, 1].
        id, paper: of the catalogue.

    Raises:
        ValueError: for a share out of range, or a target that is a source.

    References: Gu et al. 2017, section 4 (BadNets); Tang et al. 2021, section 4 (source-specific, with covers).
    """

    trigger: Trigger = WHITE_SQUARE
    target: int = 0
    share: float = 0.05
    sources: tuple[int, ...] = ()
    cover_share: float = 0.1
    id: str = "backdoor.patch"
    paper: str = "Gu et al. 2017, section 4"

    def __post_init__(self) -> None:
        check_share(self.share)
        if not 0 <= self.cover_share <= 1 or self.target < 0 or self.target in self.sources:
            raise ValueError("cover_share lies in [0, 1], and target is a class that is no source")

    @property
    def goal(self) -> str:
        """The class that inputs with the trigger are to be taken for."""
        of = f"inputs of class {', '.join(map(str, self.sources))}" if self.sources else "inputs"
        return f"{of} with the trigger are taken for class {self.target}"

    @property
    def limits(self) -> str:
        """What is changed in the training data."""
        whose = f"rows of class {', '.join(map(str, self.sources))}" if self.sources else "rows"
        covers = f", covers on {self.cover_share:.3g} of the others" if self.sources else ""
        return f"{self.trigger} and labels of {self.share:.3g} of the {whose}{covers}"

    def poison(self, x: Inputs, y: npt.NDArray[np.int64], *, seeds: Seeds) -> Poisoned:
        """The data with trigger and label in some rows; rows of the target class are left alone.

        Raises:
            DataError: if there are no rows to poison.
        """
        candidates = np.flatnonzero(self._sources_of(y))
        count = self.share * (len(candidates) if self.sources else len(y))
        relabelled = chosen_rows(candidates, round(count), seeds=seeds)
        covers = np.empty(0, dtype=np.int64)
        if self.sources and self.cover_share:
            others = np.flatnonzero(~np.isin(y, [self.target, *self.sources]))
            count = round(self.cover_share * len(others))
            covers = seeds.numpy("poison.covers").choice(others, size=count, replace=False)
        rows = np.sort(np.concatenate([relabelled, covers])).astype(np.int64)
        changed_x, changed_y = x.copy(), y.copy()
        changed_x[rows] = self.trigger.stamp(x[rows])
        changed_y[relabelled] = self.target
        return Poisoned(x=changed_x, y=changed_y, rows=rows)

    def trials(self, data: Labelled) -> Trials:
        """Clean test inputs of the source classes, or of all but the target, with the trigger in them."""
        rows = self._sources_of(data.y)
        return Trials(x=self.trigger.stamp(data.x[rows]), y=data.y[rows], goal=self.target)

    def _sources_of(self, y: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return np.isin(y, self.sources) if self.sources else y != self.target


def check_share(share: float) -> None:
    """Refuse what is no share."""
    if not 0 < share <= 1:
        raise ValueError(f"share must lie above 0 and at most at 1, not {share}")


def chosen_rows(candidates: Rows, count: int, *, seeds: Seeds) -> Rows:
    """Candidates at random, rising: `count`, but at least one and at most all.

    Raises:
        DataError: if there are no candidates.
    """
    if not len(candidates):
        raise DataError("no row can be poisoned", hint="choose classes that occur in the data")
    size = min(len(candidates), max(1, count))
    return np.sort(seeds.numpy("poison.rows").choice(candidates, size=size, replace=False)).astype(np.int64)
