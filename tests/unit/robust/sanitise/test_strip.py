"""STRIP tells inputs with a trigger that works on everything, keeps its false alarms, and misses adapted triggers."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.roc import roc_curve
from wardline.robust.sanitise.strip import strip_monitor

RATE = 0.05


def _monitor(case, digits, rate=RATE):
    return strip_monitor(case.model, overlays=digits.spare[:30], calibration=digits.spare[30:], false_alarm_rate=rate)


def _area(case, digits) -> float:
    monitor = _monitor(case, digits)
    return roc_curve(monitor.scores(case.triggered()), monitor.scores(digits.test.x)).auc


def test_a_patch_that_works_on_everything_is_told_from_clean_inputs(digits, patched):
    assert patched.success() > 0.95
    assert _area(patched, digits) > 0.98
    monitor = _monitor(patched, digits)
    assert monitor.flags(patched.triggered()).mean() > 0.9
    # Binomial(397, 0.05) exceeds 46 with a probability below 1e-6 (threshold seen as exact).
    assert monitor.flags(digits.test.x).sum() <= 46


def test_adapted_a_trigger_for_one_source_class_is_missed(digits, selective):
    assert selective.success() > 0.8
    assert _area(selective, digits) < 0.75
    assert _monitor(selective, digits).flags(selective.triggered()).mean() < 0.3


def test_scores_are_the_mean_entropy_under_all_overlays(digits, clean):
    monitor = _monitor(clean, digits)
    x = digits.test.x[:1]
    entropies = []
    for overlay in digits.spare[:30]:
        logits = clean.model.answer(np.minimum(x + overlay, 1)).astype(np.float64)
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        entropies.append(-(p * np.log(np.maximum(p, 1e-300))).sum())
    np.testing.assert_allclose(monitor.scores(x), -np.mean(entropies), rtol=1e-9)


def test_the_guarantee_is_a_claim(digits, clean):
    claim = _monitor(clean, digits).claim()
    assert (claim.id, claim.value, claim.direction) == ("monitor.strip", RATE, "at_most")
    assert claim.parameters["calibration_inputs"] == 370


def test_an_answer_that_is_no_number_is_held_back(digits, clean):
    class Broken:
        classes, gives = 10, "logits"

        def answer(self, x):
            return np.where(x[:, :, 0, 0] > 0.99, np.nan, clean.model.answer(x))

    monitor = strip_monitor(Broken(), overlays=digits.spare[:5], calibration=digits.spare[5:], false_alarm_rate=RATE)
    x = digits.test.x[:3].copy()
    x[1, 0, 0, 0] = 1.0
    assert monitor.flags(x)[1]


def test_the_same_inputs_always_get_the_same_scores(digits, clean):
    monitor, again = _monitor(clean, digits), _monitor(clean, digits)
    np.testing.assert_array_equal(monitor.scores(digits.test.x), again.scores(digits.test.x))


def test_what_cannot_be_calibrated_is_refused(digits, clean):
    with pytest.raises(ValueError, match="at least 999 are needed"):
        _monitor(clean, digits, rate=0.001)
    with pytest.raises(ValueError, match="at least one overlay"):
        strip_monitor(clean.model, overlays=digits.spare[:0], calibration=digits.spare)

    class Labels:
        classes, gives = 10, "labels"

        def answer(self, x):
            return np.zeros(len(x), dtype=np.int64)

    with pytest.raises(ValueError, match="gives labels"):
        strip_monitor(Labels(), overlays=digits.spare[:5], calibration=digits.spare)
