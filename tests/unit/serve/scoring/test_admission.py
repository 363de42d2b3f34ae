"""Rates and places, by a clock that the test moves."""

from __future__ import annotations

import pytest

from wardline.serve.scoring.admission import Admission, ServiceLimits
from wardline.serve.scoring.refusals import Reason, Refusal


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_calls_are_limited_for_each_client() -> None:
    clock = Clock()
    admission = Admission(ServiceLimits(calls_per_second=2, burst=3), now=clock)
    for _ in range(3):
        admission.call("alice")
    for _ in range(5):
        with pytest.raises(Refusal) as caught:
            admission.call("alice")
        assert caught.value.reason is Reason.RATE
    admission.call("bob")
    clock.seconds = 0.5
    admission.call("alice")
    with pytest.raises(Refusal):
        admission.call("alice")
    clock.seconds = 100
    for _ in range(3):
        admission.call("alice")
    with pytest.raises(Refusal):
        admission.call("alice")


def test_places_are_limited_and_given_back() -> None:
    admission = Admission(ServiceLimits(requests=3, requests_per_client=2))
    with admission.work("alice"), admission.work("alice"):
        with pytest.raises(Refusal, match="of this client"), admission.work("alice"):
            pass
        with admission.work("bob"):
            assert admission.working == 3
            with pytest.raises(Refusal, match="3 requests are in work"), admission.work("carol"):
                pass
    assert admission.working == 0
    with pytest.raises(KeyError), admission.work("alice"):
        raise KeyError
    assert admission.working == 0, "a failure gives its place back"


@pytest.mark.parametrize("name", ["requests", "calls_per_second", "session_seconds", "threads"])
def test_limits_are_above_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ServiceLimits(**{name: 0})
