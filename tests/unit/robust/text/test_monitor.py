"""Alarms about texts that look tampered with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from wardline.robust.text.monitor import TextMonitor, tampering

KNOWN = frozenset(["the", "a", "film", "was", "good", "bad", "and", "very", "long"])


def harmless(rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    words = [*sorted(KNOWN), "zebra", "quagga"]  # some words are always new
    texts = np.empty(rows, dtype=object)
    texts[:] = [" ".join(rng.choice(words, size=rng.integers(3, 12))) for _ in range(rows)]
    return texts


def test_false_alarms_stay_below_the_rate_and_tampering_is_seen():
    # 4000 harmless texts, and a threshold that 1e-6 of such tests exceed if the rate is kept on average; calibration on
    # 1000 texts moves the rate by 0.007 in one standard deviation, so five of them are allowed for.
    monitor = TextMonitor.fit(harmless(1000, 0), known=KNOWN, false_alarm_rate=0.05)
    alarms = monitor.alarms(harmless(4000, 1))
    assert alarms.sum() <= binom.isf(1e-6, 4000, 0.05 + 5 * 0.007)
    tampered = np.array([text.replace("o", "\u043e") + " good\u200b film" for text in harmless(200, 2)], dtype=object)
    assert monitor.alarms(tampered).mean() > 0.95


def test_p_values_count_how_many_harmless_texts_look_as_odd():
    monitor = TextMonitor(known=KNOWN, calibration=np.array([0.0, 0.5, 0.5, 1.0]), false_alarm_rate=0.4)
    texts = np.array(["good film", "good zebra", "zebra", "zebra\u200b"], dtype=object)
    assert tampering(texts, KNOWN).tolist() == [0, 0.5, 1, 2]
    assert monitor.p_values(texts).tolist() == [1, 0.8, 0.4, 0.2]
    assert monitor.alarms(texts).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("", 0),
        ("good", 0),
        ("\u200b", 1),
        ("g\u043eod", 2),
        ("\u0445\u043e\u0440\u043e\u0448\u043e", 1),
        ("a\ud800", 1),
    ],
)
def test_scores_of_known_cases(text, score):
    # A word wholly in another script is unknown, not mixed.
    assert tampering(np.array([text], dtype=object), KNOWN)[0] == score


def test_too_few_calibration_texts_are_refused():
    with pytest.raises(ValueError, match="too few"):
        TextMonitor.fit(harmless(10, 0), known=KNOWN, false_alarm_rate=0.05)
    with pytest.raises(ValueError, match="calibration"):
        TextMonitor.fit(harmless(0, 0), known=KNOWN)
