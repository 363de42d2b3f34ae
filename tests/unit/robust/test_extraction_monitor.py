"""The monitor sees synthetic questions, and honest ones raise no alarm. Who knows it walks round it: shown as well."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.robust.extraction_monitor import ExtractionMonitor, Watch, calibrate

WATCH = Watch(least=60, window=400, kept=150, every=20)


def honest(seed, rows=400, width=20):
    """Questions around two centres, and the class that the nearer centre has."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    return (rng.normal(size=(rows, width)) + 3 * labels[:, None]).astype(np.float32), labels


def synthetic(seed, rows=400, width=20, *, various=False):
    """Augmentation: each question is one of the earlier ones, moved by the same length along random signs."""
    x, labels = honest(seed, rows=20, width=width)
    rng = np.random.default_rng(seed)
    while len(x) < rows:
        steps = rng.normal(size=x.shape) if various else 0.1 * rng.choice([-1, 1], size=x.shape)
        x = np.concatenate([x, (x + steps).astype(np.float32)])
        labels = np.concatenate([labels, labels])
    return x[:rows], labels[:rows]


def test_synthetic_questions_raise_the_alarm_and_honest_ones_do_not():
    watch = calibrate([honest(seed) for seed in range(39)], classes=2, false_alarm_rate=0.05, watch=WATCH)
    alarms = [ExtractionMonitor(classes=2, watch=watch).observe(*honest(seed)).alarm for seed in range(100, 140)]
    # With the guaranteed rate of 5 % more than 14 of 40 have a probability below 1e-8.
    assert sum(alarms) <= 14
    for seed in range(5):
        found = ExtractionMonitor(classes=2, watch=watch).observe(*synthetic(seed))
        assert found.alarm
        assert found.statistic < watch.threshold - 0.05


def test_an_attacker_who_knows_the_monitor_walks_round_it():
    watch = Watch(threshold=0.9, least=60, window=400, kept=150, every=20)
    assert all(ExtractionMonitor(classes=2, watch=watch).observe(*synthetic(seed)).alarm for seed in range(5))
    # Natural questions alone, as a knockoff attack asks them: nothing distinguishes them from an honest client's.
    assert not ExtractionMonitor(classes=2, watch=watch).observe(*honest(7)).alarm
    # Synthetic ones all the same, but with steps whose lengths are as various as natural distances.
    for seed in range(5):
        assert not ExtractionMonitor(classes=2, watch=watch).observe(*synthetic(seed, various=True)).alarm


def test_the_alarm_stays_up_and_the_order_of_calls_does_not_matter():
    x, labels = synthetic(0)
    whole = ExtractionMonitor(classes=2, watch=WATCH).observe(x, labels)
    piecewise = ExtractionMonitor(classes=2, watch=WATCH)
    pieces = [piecewise.observe(x[at : at + 50], labels[at : at + 50]) for at in range(0, 400, 50)]
    assert pieces[-1].alarm == whole.alarm
    assert min(piece.statistic for piece in pieces if piece.statistic is not None) == whole.statistic
    assert piecewise.observe(*honest(5, rows=40)).alarm


def test_memory_is_bounded_whatever_is_asked():
    monitor = ExtractionMonitor(classes=2, watch=Watch(least=10, window=50, kept=30, every=500))
    monitor.observe(*honest(0, rows=1500))
    assert len(monitor._distances) == 50
    assert all(len(known.rows) == 30 for known in monitor._seen.values())


def test_equal_distances_are_no_honest_traffic():
    x = np.arange(200, dtype=np.float32)[:, None]
    found = ExtractionMonitor(classes=2, watch=WATCH).observe(x, np.zeros(200, dtype=np.int64))
    assert found.statistic == 0.0
    assert found.alarm


def test_answers_that_are_no_class_are_left_out_and_bad_arguments_refused():
    monitor = ExtractionMonitor(classes=2)
    x, labels = honest(0)
    assert monitor.observe(x, np.full(len(x), -1)).statistic is None
    with pytest.raises(ValueError, match="in range"):
        monitor.observe(x, labels + 1)
    with pytest.raises(ValueError, match="cannot show"):
        calibrate([honest(0)], classes=2, false_alarm_rate=0.05)
    with pytest.raises(ValueError, match="too short"):
        calibrate([honest(0, rows=20)] * 30, classes=2, false_alarm_rate=0.05)
    same = np.ones((400, 20), dtype=np.float32), np.zeros(400, dtype=np.int64)
    with pytest.raises(ValueError, match="cannot be told"):  # any threshold would alarm at all of them
        calibrate([same] * 30, classes=2, false_alarm_rate=0.05, watch=WATCH)
    with pytest.raises(ValueError, match="window"):
        Watch(window=10)
