"""Waits that a service asks for, and settings."""

from __future__ import annotations

import email.utils
import time

import pytest

from wardline.models import remote_exchange
from wardline.models.remote_exchange import RemoteSettings, RemoteStatistics, _is_this_machine, _retry_after

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        (email.utils.formatdate(NOW + 90, usegmt=True), 90.0),
        (email.utils.formatdate(NOW - 90, usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
        ("", None),
    ],
)
def test_a_wait_is_a_number_or_a_date_or_none(monkeypatch: pytest.MonkeyPatch, value, seconds) -> None:
    monkeypatch.setattr(remote_exchange.time, "time", lambda: NOW)
    assert _retry_after(value) == seconds


def test_a_date_without_a_zone_is_not_read_in_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_exchange.time, "time", lambda: NOW)
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        assert _retry_after(email.utils.formatdate(NOW + 90)) == 90.0
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_only_loopback_is_this_machine(host: str, own: bool) -> None:
    assert _is_this_machine(host) is own


@pytest.mark.parametrize(
    "field", ["timeout_seconds", "batch", "patience", "max_answer_bytes", "longest_wait_seconds", "retries"]
)
def test_settings_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        RemoteSettings(**{field: -1})


def test_statistics_print_in_one_line() -> None:
    line = str(RemoteStatistics(requests=5, retries=2, refused=2, unanswered=3))
    assert line.startswith("5 requests, 2 of them retries: 2 refused for load")
    assert "\n" not in line
