"""Reports on corruptions count rightly, repeat, and never count silence as right."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import canonical_json
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor
from wardline.robust.corrupted_accuracy import corruption_report

RNG = np.random.default_rng(0)


def test_a_report_counts_rightly_and_repeats() -> None:
    x = np.clip(0.6 + 0.1 * RNG.standard_normal((60, 1, 16, 16)), 0, 1).astype(np.float32)
    x[::2] *= 0.4
    y = (np.arange(60) % 2).astype(np.int64)
    bright = CallablePredictor(
        lambda rows: (rows.mean(axis=(1, 2, 3)) > 0.33).astype(int), form=AnswerForm(gives="labels", classes=2)
    )
    report = corruption_report(bright, x, y=y, kinds=("brightness", "rotation"), seed=2)
    assert report.clean.accuracy > 0.9
    fall = report.of("brightness")
    assert fall[0] > fall[-1]
    assert fall[-1] == 0.5, "everything is bright in the end"
    assert report.worst.kind == "brightness"
    row = report.rows[4]
    assert row.interval.low < row.accuracy < row.interval.high
    again = corruption_report(bright, x, y=y, kinds=("brightness", "rotation"), seed=2)
    assert canonical_json(report.to_json()) == canonical_json(again.to_json())
    assert len(report.rows) == 10
    assert "worst 0.500" in str(report)


def test_what_is_not_answered_counts_as_wrong_and_is_told() -> None:
    x, y = RNG.random((10, 1, 8, 8)).astype(np.float32), np.zeros(10, dtype=np.int64)
    mute = CallablePredictor(lambda rows: np.full(len(rows), -1), form=AnswerForm(gives="labels", classes=2))
    report = corruption_report(mute, x, y=y, kinds=("contrast",), severities=(1,))
    assert (report.clean.accuracy, report.clean.unanswered) == (0.0, 10)
    with pytest.raises(ValueError, match="at least one corruption"):
        corruption_report(mute, x, y=y, kinds=())
