"""The serial form: the committed vectors, every refusal among them, and bytes from anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import DataError, SecureRandom
from wardline.dp import local
from wardline.dp.local import HadamardResponse, RandomisedResponse, UnaryEncoding, decode, decode_one, encode

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "local" / "reports.json").read_text())


def made(case: dict[str, Any]):
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in case["arguments"].items()}
    return getattr(local, case["mechanism"])(**arguments)


@pytest.mark.parametrize("index", range(len(VECTORS)))
def test_vectors(index: int) -> None:
    case = VECTORS[index]
    mechanism = made(case)
    assert mechanism.scheme == case["scheme"]
    assert {name: str(getattr(mechanism, name)) for name in case["numbers"]} == case["numbers"]
    assert case["reports"]
    for one in case["reports"]:
        message = bytes.fromhex(one["message"])
        assert len(message) == mechanism.report_bytes
        report = decode_one(mechanism, message)
        assert report.tolist() == one["report"]
        assert encode(mechanism, report) == [message]
        mechanism.tally(report)
    for one in case["refused"]:
        with pytest.raises(DataError) as told:
            decode_one(mechanism, bytes.fromhex(one["message"]))
        assert told.value.hint, one["name"]


def test_no_mechanism_reads_the_reports_of_another() -> None:
    for case in VECTORS:
        for other in VECTORS:
            if case is not other:
                received = decode(made(other), [bytes.fromhex(one["message"]) for one in case["reports"]])
                assert len(received.reports) == 0
                assert set(received.refused.values()) == {
                    "the report was made by another mechanism or with other parameters"
                }


@pytest.mark.parametrize("index", range(len(VECTORS)))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(index: int, data) -> None:
    mechanism = made(VECTORS[index])
    head = bytes.fromhex(VECTORS[index]["reports"][0]["message"])[:5]
    message = st.one_of(st.binary(max_size=20), st.binary(max_size=20).map(lambda tail: head + tail))
    messages = data.draw(st.lists(message, max_size=8))
    received = decode(mechanism, messages)
    assert len(received.reports) + len(received.refused) == len(messages)
    kept = [one for place, one in enumerate(messages) if place not in received.refused]
    assert encode(mechanism, received.reports) == kept, "what is accepted has one spelling"
    assert mechanism.tally(received.reports).reports == len(kept)


def test_hostile_messages_are_counted_and_harm_no_other() -> None:
    mechanism = UnaryEncoding(size=20, epsilon=1.0)
    honest = encode(mechanism, mechanism.randomise(np.arange(20), random=SecureRandom()))
    hostile = [b"", honest[0] + b"\0", honest[0][:-1] + b"\xff", "text", None, 7, b"\x02" + honest[0][1:]]
    received = decode(mechanism, [*honest[:10], *hostile, *honest[10:]])
    assert encode(mechanism, received.reports) == honest
    assert list(received.refused) == list(range(10, 17))
    assert str(received) == "20 reports, 7 refused"
    for reason in received.refused.values():
        assert honest[0].hex() not in reason


@pytest.mark.parametrize(
    ("reports", "error"),
    [
        (np.array([5]), ValueError),
        (np.array([-1]), ValueError),
        (np.array([0.5]), TypeError),
        (np.array([[0]]), TypeError),
    ],
)
def test_reports_that_are_none_are_not_counted_or_written(reports: np.ndarray, error: type[Exception]) -> None:
    mechanism = RandomisedResponse(size=5, epsilon=1.0)
    for use in (mechanism.tally, lambda one: encode(mechanism, one)):
        with pytest.raises(error):
            use(reports)


def test_rows_that_are_none_are_not_counted_or_written() -> None:
    mechanism = UnaryEncoding(size=70, epsilon=1.0)
    beyond = np.array([[0, 1 << 6]], dtype=np.uint64)
    for rows, error in (
        (beyond, ValueError),
        (beyond[:, :1], ValueError),
        (beyond[0], ValueError),
        (beyond.astype(np.int64), TypeError),
    ):
        for use in (mechanism.tally, lambda one: encode(mechanism, one)):
            with pytest.raises(error):
                use(rows)


def test_reports_stay_short_where_the_domain_is_large() -> None:
    assert HadamardResponse(size=1_000_000, epsilon=1.0).report_bytes == 8
    assert UnaryEncoding(size=1_000_000, epsilon=1.0).report_bytes == 125_005
