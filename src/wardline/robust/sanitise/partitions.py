"""Deep partition aggregation: many small models on disjoint data, whose vote no few poisoned rows can turn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from wardline.core import Claim, NoProgress, Progress, Seeds
from wardline.core.checks import at_least
from wardline.models.learner import Labels, Learner
from wardline.models.predictor import Gives, Inputs, Predictor, labels_of
from wardline.models.threads import one_thread

_REFERENCE = "Levine and Feizi 2021, theorem 1"
_SILENT = NoProgress()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certified:
    """Predictions, and how much poison each withstands.

    Attributes:
        labels: the predicted classes, [rows].
        sizes: for each, the number of training rows that can be inserted, removed or relabelled without changing it,
            [rows], at least 0. Changing the inputs of a row counts as two: one removed, one inserted.
        votes: how many models spoke for each class, [rows, classes].
    """

    labels: Labels
    sizes: npt.NDArray[np.int64]
    votes: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartitionedModel:
    """A vote of models that were trained on disjoint parts of the data; `train_partitions` makes it.

    It is a `Predictor` that gives labels.

    Attributes:
        parts: the models, one for each part of the data.
        classes: how many classes there are.
    """

    parts: tuple[Predictor, ...] = field(repr=False)
    classes: int

    @property
    def gives(self) -> Gives:
        """Labels: a vote's numbers would tell an adversary where it is thin."""
        return "labels"

    def answer(self, x: Inputs) -> npt.NDArray[np.int64]:
        """The class with the most votes for each input; of equals the smallest."""
        return self.certify(x).labels

    def certify(self, x: Inputs) -> Certified:
        """Predict, and tell for each prediction how many training rows may be poisoned without changing it.

        Guarantee: let the model have been trained by `train_partitions` on some rows, and let another be trained in the
        same way on rows that come from these by at most `sizes[i]` insertions, removals and changes of labels. Then
        both predict the same class for `x[i]`. This holds for every such change, by whoever knows everything, since
        each touches one part, and each part has one vote. It assumes that training depends on nothing but the rows,
        their order and the seeds, bit for bit (same machine, same versions), and that the adversary controls neither
        the seeds nor the code.

        References: Levine and Feizi 2021, theorem 1 (with its rule for ties).
        """
        votes = np.zeros((len(x), self.classes), dtype=np.int64)
        with one_thread():
            for part in self.parts:
                labels = labels_of(part.answer(x), part.gives)
                told = np.flatnonzero((labels >= 0) & (labels < self.classes))
                votes[told, labels[told]] += 1
        winners, sizes = certified_sizes(votes)
        return Certified(labels=winners, sizes=sizes, votes=votes)

    def claim(self, x: Inputs, y: Labels, *, size: int) -> Claim:
        """What the certificates of some test inputs promise together, whoever poisons.

        Args:
            x: test inputs, at least one.
            y: their true classes.
            size: how many poisoned training rows are to be withstood, at least 0.
        """
        at_least("size", size, 0)
        value = certified_accuracy(self.certify(x), y, sizes=[size])[0]
        return Claim(
            id="robust.partitions",
            quantity="certified_accuracy",
            value=value,
            direction="at_least",
            statement=(
                f"whatever is done to at most {size} training rows, the model trained on them "
                f"still gets at least {value:.1%} of these {len(y)} inputs right"
            ),
            adversary=f"inserts, removes or relabels at most {size} training rows and knows everything",
            parameters={"parts": len(self.parts), "poisoned_rows": size, "test_rows": len(y)},
            assumptions=(
                "training depends on the rows, their order and the seeds alone, bit for bit",
                "changing the inputs of a training row counts as two changes",
                "the figure is that of these test inputs, not of the population they come from",
            ),
            reference=_REFERENCE,
        )


def certified_sizes(votes: npt.NDArray[np.int64]) -> tuple[Labels, npt.NDArray[np.int64]]:
    """The winner of each vote, and how many voters may change their mind at will without changing the winner.

    The figures are exact: with one more voter turned there are votes that elect somebody else, provided the
    winner has so many voters.

    Args:
        votes: for each class, [rows, classes], at least two classes.

    Returns:
        Winners (of equals the smallest class), and sizes of at least 0.
    """
    every = np.arange(len(votes))
    winners = votes.argmax(axis=1)
    # A smaller class wins a tie, so against it the winner needs one vote more.
    rivals = votes + (np.arange(votes.shape[1])[None, :] < winners[:, None])
    rivals[every, winners] = -1
    sizes = (votes[every, winners] - rivals.max(axis=1)) // 2
    return winners.astype(np.int64), sizes.astype(np.int64)


def certified_accuracy(certified: Certified, y: Labels, *, sizes: Sequence[int]) -> tuple[float, ...]:
    """The share of inputs that are predicted rightly whatever is done to so many training rows, for each size."""
    right = certified.labels == y
    return tuple(float((right & (certified.sizes >= size)).mean()) for size in sizes)


def partition_of(x: Inputs, parts: int) -> npt.NDArray[np.int64]:
    """The part that each row belongs to: a hash of its inputs, and of nothing else, so that no row moves another.

    The label is left out, so that a changed label stays within its part and counts as one change.

    Args:
        x: inputs, [rows, ...]: numbers, which count as 32-bit ones, or texts (dtype object).
        parts: how many there are, at least 1.
    """
    at_least("parts", parts, 1)
    return np.array([int.from_bytes(one[:8], "big") % parts for one in _digests(x)], dtype=np.int64)


def train_partitions(
    learner: Learner,
    x: Inputs,
    y: Labels,
    *,
    parts: int,
    classes: int,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> PartitionedModel:
    """Train one model on each part of the data.

    Rows are sorted by content within a part, and each part has seeds of its own that no row can change, so that a model
    is a function of the set of its rows. A part without rows votes for class 0, a part with one label for that.

    Args:
        learner: trains a part. It must be deterministic, or the certificates are void.
        x: training inputs, [rows, ...].
        y: labels, below `classes`.
        parts: how many, at least 1. A prediction can withstand at most half of them, and accuracy falls with each.
        classes: how many there are, at least 2.
        seeds: part i trains with the child ``partition.i``.
        progress: told of each part.

    Raises:
        ValueError: if labels are not as many as inputs, or out of range.

    References: Levine and Feizi 2021, section 3.
    """
    at_least("classes", classes, 2)
    if len(x) != len(y) or (len(y) and not 0 <= y.min() <= y.max() < classes):
        raise ValueError(f"there must be as many labels as inputs, from 0 to {classes - 1}")
    x = _normal(x)
    digests = _digests(x)
    where = partition_of(x, parts)
    models: list[Predictor] = []
    progress.start("partitions", parts)
    with one_thread():
        for index in range(parts):
            rows = sorted(np.flatnonzero(where == index), key=lambda row: (digests[row], int(y[row])))
            labels = np.unique(y[rows]) if rows else np.zeros(1, dtype=np.int64)
            if len(labels) == 1:
                models.append(_Constant(label=int(labels[0]), classes=classes))
            else:
                models.append(learner(x[rows], y[rows], seeds=seeds.child(f"partition.{index}")))
            progress.advance(index + 1)
    progress.finish()
    return PartitionedModel(parts=tuple(models), classes=classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Constant:
    """Says the same of everything."""

    label: int
    classes: int

    @property
    def gives(self) -> Literal["labels"]:
        return "labels"

    def answer(self, x: Inputs) -> npt.NDArray[np.int64]:
        return np.full(len(x), self.label, dtype=np.int64)


def _digests(x: Inputs) -> list[bytes]:
    if x.dtype == object:
        return [hashlib.sha256(b"text\0" + str(row).encode()).digest() for row in x]
    return [hashlib.sha256(b"numbers\0" + row.astype("<f4").tobytes()).digest() for row in _normal(x)]


def _normal(x: Inputs) -> Inputs:
    """One form for equal rows, so that they hash and train alike: 32-bit, and 0 rather than -0. Texts stay."""
    return x if x.dtype == object else np.asarray(x, dtype=np.float32) + np.float32(0)
