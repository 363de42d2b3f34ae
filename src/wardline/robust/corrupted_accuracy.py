"""How a model does on corrupted images, kind by kind and severity by severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import Interval, NoProgress, Progress, Seeds
from wardline.core.canonical import to_json
from wardline.core.rates import clopper_pearson
from wardline.models.predictor import Inputs, Predictor, labels_of
from wardline.robust.corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt

_SILENT = NoProgress()
_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptedAccuracy:
    """The accuracy under one corruption.

    Attributes:
        kind: of the corruption; ``clean`` for none.
        severity: from 1 to 5; 0 for none.
        accuracy: the share of examples that are predicted rightly; what was not answered counts as wrong.
        interval: its exact (Clopper-Pearson) interval at 95 %.
        unanswered: examples without an answer.
    """

    kind: str
    severity: int
    accuracy: float
    interval: Interval
    unanswered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionReport:
    """Accuracies under all corruptions.

    Attributes:
        clean: without any.
        rows: one for each kind and severity.
        n: examples.
        seed: of the corruptions.
    """

    clean: CorruptedAccuracy
    rows: tuple[CorruptedAccuracy, ...]
    n: int
    seed: int

    @property
    def mean(self) -> float:
        """The mean accuracy over kinds and severities, each of equal weight (1 - mCE without a baseline)."""
        return float(np.mean([row.accuracy for row in self.rows]))

    def of(self, kind: Corruption) -> tuple[float, ...]:
        """The accuracies under one kind, by severity."""
        return tuple(row.accuracy for row in self.rows if row.kind == kind)

    @property
    def worst(self) -> CorruptedAccuracy:
        """The row of the lowest accuracy, the first of equals."""
        return min(self.rows, key=lambda row: row.accuracy)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**to_json(self), "mean": self.mean}

    def __str__(self) -> str:
        worst = self.worst
        return (
            f"clean {self.clean.accuracy:.3f}, corrupted {self.mean:.3f} on average (n={self.n}), worst "
            f"{worst.accuracy:.3f} {worst.interval} under {worst.kind} {worst.severity}"
        )


def corruption_report(
    predictor: Predictor,
    x: Inputs,
    *,
    y: npt.NDArray[np.int64],
    seed: int = 0,
    kinds: Sequence[Corruption] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    progress: Progress = _SILENT,
) -> CorruptionReport:
    """Measure a model's accuracy under common corruptions.

    Each kind and severity sees the same examples, so that rows can be compared pairwise. The figures speak of accidents
    alone: a model that withstands all of them may fall to an adversary at once, and the other way round.

    Args:
        predictor: the model.
        x: images, float32 [rows, channels, height, width] in [0, 1].
        y: their classes, [rows].
        seed: of the corruptions, at least 0.
        kinds: which corruptions, at least one.
        severities: from 1 to 5, at least one.
        progress: told how many corruptions are done.

    Raises:
        ValueError: for images, kinds or severities out of range, or none.

    References: Hendrycks and Dietterich 2019, section 4.
    """
    if len(x) != len(y) or not len(y) or not kinds or not severities:
        raise ValueError("there must be a class for each image, at least one, and at least one corruption")
    rows = []
    progress.start("corruptions", len(kinds) * len(severities))
    for kind in kinds:
        for severity in severities:
            changed = corrupt(x, kind, severity=severity, seeds=Seeds(seed))
            rows.append(_row(predictor, changed, y, kind, severity))
            progress.advance(len(rows))
    progress.finish()
    return CorruptionReport(clean=_row(predictor, x, y, "clean", 0), rows=tuple(rows), n=len(y), seed=seed)


def _row(predictor: Predictor, x: Inputs, y: npt.NDArray[np.int64], kind: str, severity: int) -> CorruptedAccuracy:
    labels = labels_of(predictor.answer(x), predictor.gives)
    right, n = int((labels == y).sum()), len(y)
    return CorruptedAccuracy(
        kind=kind,
        severity=severity,
        accuracy=right / n,
        interval=clopper_pearson(right, n, level=_LEVEL),
        unanswered=int((labels < 0).sum()),
    )
