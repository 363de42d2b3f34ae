"""How many examples an attack is first tried on: more where a service takes no longer. The clock is made up."""

import numpy as np
import pytest

import wardline.run.audit_pace as module
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import ServiceError
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor
from wardline.run.audit_pace import measure_pace

EXAMPLES = Labelled(x=np.zeros((300, 3), dtype=np.float32), y=np.zeros(300, dtype=np.int64))


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(module, "time", one)
    return one


def model(clock, *, request, row, cap=None):
    asked = []

    def answer(x):
        clock.now += request + row * len(x)
        asked.append(len(x))
        return np.full((len(x), 2), 0.5)

    predictor = CallablePredictor(answer, form=AnswerForm(gives="probabilities", classes=2))
    return Target(predictor, InputSpec(shape=(3,)), ledger=QueryLedger(cap=cap)), asked


def test_where_requests_take_the_time_more_examples_are_tried(clock):
    target, asked = model(clock, request=0.2, row=1e-4)
    pace = measure_pace(target, EXAMPLES, seconds=10.0)
    assert pace.pilot == 128
    assert asked == [16, 32, 64, 128]
    assert pace.seconds == pytest.approx((0.2 + 0.0128) / 128)
    assert pace.examined(seconds=10.0) == 200


def test_where_each_example_takes_the_time_few_are_tried(clock):
    target, asked = model(clock, request=0.0, row=0.1)
    pace = measure_pace(target, EXAMPLES, seconds=10.0)
    assert pace.pilot == 16
    assert asked == [16, 32]
    assert pace.examined(seconds=10.0) == 40, "looking at a slow model must not take all the time"
    assert pace.examined(seconds=100.0) == 100


def test_the_measuring_itself_ends_in_time(clock):
    target, asked = model(clock, request=3.0, row=0.0)
    assert measure_pace(target, EXAMPLES, seconds=2.0).pilot == 16
    assert asked == [16]


def test_a_fast_model_is_asked_once(clock):
    target, asked = model(clock, request=1e-4, row=0.0)
    assert measure_pace(target, EXAMPLES, seconds=2.0).pilot == 16
    assert asked == [16]


def test_a_small_cap_is_left_to_the_attacks(clock):
    target, asked = model(clock, request=0.2, row=0.0, cap=3500)
    assert measure_pace(target, EXAMPLES, seconds=10.0).pilot == 32
    assert asked == [16, 32]


def test_a_service_that_does_not_answer_is_found_out_by_others(clock):
    def gone(x):
        raise ServiceError("it is gone", where="here", hint="bring it up")

    predictor = CallablePredictor(gone, form=AnswerForm(gives="probabilities", classes=2))
    pace = measure_pace(Target(predictor, InputSpec(shape=(3,))), EXAMPLES, seconds=10.0)
    assert (pace.pilot, pace.seconds) == (16, 0.0)
    assert pace.examined(seconds=10.0) == 200
