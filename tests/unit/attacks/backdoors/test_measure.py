"""The success rate of a trigger is counted rightly, on models that answer in known ways, badly, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.backdoors.measure import BackdoorTrigger
from wardline.attacks.backdoors.triggers import Patch
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict, canonical_json

ROWS = 200
SPEC = InputSpec(shape=(1, 8, 8))


class Backdoored:
    """Reads the class off the first pixel, unless the patch is there and the second pixel lies below `weakness`."""

    classes = 4
    gives = "labels"

    def __init__(self, weakness: float = 2.0, *, flaky: bool = False, silent: bool = False) -> None:
        self.weakness, self.flaky, self.silent, self.calls = weakness, flaky, silent, 0

    def answer(self, x):
        self.calls += 1
        labels = np.round(x[:, 0, 0, 0] * 4).astype(np.int64)
        labels[(x[:, 0, -2:, -2:] == 1).all(axis=(1, 2)) & (x[:, 0, 0, 1] < self.weakness)] = 2
        if self.flaky and self.calls % 3 == 1:
            labels[0] = (labels[0] + 1) % 4
        if self.silent:
            labels[::10] = -1
        return labels


def _data() -> Labelled:
    y = np.arange(ROWS, dtype=np.int64) % 4
    x = np.zeros((ROWS, 1, 8, 8), dtype=np.float32)
    x[:, 0, 0, 0] = y / 4
    x[:, 0, 0, 1] = np.arange(ROWS) / ROWS
    return Labelled(x=x, y=y)


def _run(predictor, budget=None, ledger=None, **settings):
    target = Target(predictor, SPEC, ledger=ledger)
    return BackdoorTrigger(target=2, **settings).run(target, _data(), budget or Budget(), 0)


def test_a_backdoor_is_counted_among_inputs_of_other_classes():
    result = _run(Backdoored(weakness=0.5))
    others = np.flatnonzero(_data().y != 2)
    expected = int((others < ROWS / 2).sum())
    assert (result.n, result.rate) == (150, expected / 150)
    assert result.interval.low < expected / 150 < result.interval.high
    assert result.chance == 0
    assert result.details["clean_accuracy"]["value"] == 1
    assert result.verdict is Verdict.FAIL
    assert int(result.examples["found"].sum()) == expected


def test_a_model_without_the_backdoor_passes():
    result = _run(Backdoored(weakness=-1.0))
    assert result.rate == 0
    assert result.verdict is Verdict.PASS


def test_what_the_model_does_of_itself_is_what_guessing_reaches():
    class Always(Backdoored):
        def answer(self, x):
            return np.full(len(x), 2, dtype=np.int64)

    result = _run(Always())
    assert (result.rate, result.chance) == (1, 1)
    assert result.verdict is not Verdict.FAIL


def test_sources_restrict_the_trials():
    result = _run(Backdoored(), sources=(1,))
    assert (result.n, result.rate) == (50, 1)


@pytest.mark.parametrize("cap", [1, 64, 100, 150, 214, 300, 413])
def test_a_cap_in_the_middle_is_kept_and_stated(cap):
    ledger = QueryLedger(cap=cap)
    result = _run(Backdoored(), Budget(batch=32), ledger)
    assert ledger.queries <= cap
    assert {check.name: check.outcome for check in result.checks}["budget"] is Verdict.INCONCLUSIVE or cap >= 414 - 64
    assert result.verdict is not Verdict.PASS
    if cap < 32:
        assert result.rate is None
        assert result.verdict is Verdict.INCONCLUSIVE
    else:
        assert result.rate == 1


def test_enough_queries_leave_no_doubt():
    result = _run(Backdoored(weakness=-1.0), Budget(queries=150 + 64 + 200 + 64, batch=32))
    assert result.queries == 478
    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize(("fault", "check"), [("flaky", "deterministic"), ("silent", "finite-answers")])
def test_answers_that_change_or_are_missing_are_never_counted_as_robust(fault, check):
    result = _run(Backdoored(weakness=-1.0, **{fault: True}))
    assert {one.name: one.outcome for one in result.checks}[check] is Verdict.INCONCLUSIVE
    assert result.verdict is not Verdict.PASS


def test_a_trigger_outside_the_specification_is_stated():
    result = _run(Backdoored(weakness=-1.0), trigger=Patch(value=3.0))
    assert {one.name: one.outcome for one in result.checks}["admissible"] is Verdict.INCONCLUSIVE
    assert result.verdict is Verdict.INCONCLUSIVE


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="none of them"):
        BackdoorTrigger(target=9).run(Target(Backdoored(), SPEC), _data(), Budget(), 0)
    data = _data()
    alone = Labelled(x=data.x[data.y == 2], y=data.y[data.y == 2])
    with pytest.raises(ValueError, match="other classes than the target"):
        BackdoorTrigger(target=2).run(Target(Backdoored(), SPEC), alone, Budget(), 0)
    bytes_ = Labelled(x=data.x * 255, y=data.y)
    with pytest.raises(ValueError, match="leave their bounds"):
        BackdoorTrigger(target=2).run(Target(Backdoored(), SPEC), bytes_, Budget(), 0)


def test_equal_runs_give_equal_json():
    first, again = (canonical_json(_run(Backdoored(weakness=0.3)).to_json()) for _ in range(2))
    assert first == again
