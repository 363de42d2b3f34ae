"""Metrics in Prometheus' text format, on the loopback interface."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from wardline.serve.scoring.metrics import Metrics, MetricsPort


def test_everything_is_counted() -> None:
    metrics = Metrics()
    metrics.call("Score", "ok")
    metrics.call("Score", "ok")
    metrics.rows("alice", 7)
    metrics.traffic(received=100, sent=10)
    for seconds in (0.004, 0.3, 100.0):
        metrics.evaluation(seconds)
    text = metrics.text()
    assert 'wardline_calls_total{method="Score",outcome="ok"} 2\n' in text
    assert 'wardline_rows_total{client="alice"} 7\n' in text
    assert 'wardline_frame_bytes_total{direction="received"} 100\n' in text
    assert 'wardline_evaluation_seconds_bucket{le="0.25"} 1\n' in text
    assert 'wardline_evaluation_seconds_bucket{le="60.0"} 2\n' in text
    assert 'wardline_evaluation_seconds_bucket{le="+Inf"} 3\n' in text
    assert "wardline_evaluation_seconds_count 3\n" in text


def test_names_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(1200):
        metrics.rows(f"client{number}", 1)
    assert metrics.text().count("wardline_rows_total{") == 1001
    assert 'wardline_rows_total{client="others"} 200\n' in metrics.text()


def test_the_port_answers_and_ends() -> None:
    port = MetricsPort(Metrics())
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port.port}/metrics", timeout=5) as answer:
            assert b"wardline_evaluation_seconds_count 0" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port.port}/secret", timeout=5)
    finally:
        port.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port.port}/metrics", timeout=5)
