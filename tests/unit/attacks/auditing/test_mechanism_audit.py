"""The audit of one mechanism: its bound is right as often as it says, and near the truth where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wardline.attacks import audit_mechanism
from wardline.core import Claim, Measurement, SecureRandom


def response(prob: float, *, there: bool, random: SecureRandom):
    """Randomised response: tells the truth with this probability. Epsilon is log(prob / (1 - prob))."""
    return lambda count: (random.bernoulli(count, prob) == there).astype(np.int64)


def audit(prob: float = 0.75, **options) -> Measurement:
    random = SecureRandom()
    given = {"claim": (math.log(3), 0.0), "trials": 20_000, **options}
    return audit_mechanism(
        response(prob, there=True, random=random), response(prob, there=False, random=random), **given
    )


def test_the_bound_is_near_a_known_epsilon():
    found = audit(trials=400_000)
    assert 0.97 * math.log(3) < found.value <= math.log(3)
    assert (found.id, found.quantity, found.bound, found.bears_on) == ("audit.mechanism", "epsilon", "lower", None)
    assert found.trials == 800_000
    assert found.details["tested_each"] == 200_000
    assert Measurement.from_json(found.to_json()) == found


def test_the_bound_exceeds_the_truth_no_more_often_than_it_may():
    """At a confidence of 80 %, 500 audits exceed at most about 100 times: binomial, at 1e-6."""
    exceeded = sum(audit(trials=800, confidence=0.8).value > math.log(3) for _ in range(500))
    assert stats.binomtest(exceeded, 500, 0.2, alternative="greater").pvalue > 1e-6
    # The control: the quotient of two counts, which is no bound, exceeds about every other time.
    random = SecureRandom()
    quotients = [
        int(response(0.75, there=True, random=random)(400).sum())
        / int(response(0.75, there=False, random=random)(400).sum())
        for _ in range(500)
    ]
    naive = sum(quotient > 3 for quotient in quotients)
    assert stats.binomtest(naive, 500, 0.2, alternative="greater").pvalue < 1e-6


def test_delta_is_granted():
    """A mechanism that betrays everything with probability 0.02, and nothing otherwise, is (0, 0.02)-private."""
    random = SecureRandom()

    def run(there: bool):
        return lambda count: np.where(random.bernoulli(count, 0.02), there, 2).astype(np.int64)

    bounds = {
        delta: audit_mechanism(run(True), run(False), claim=(0.0, delta), trials=400_000, confidence=1 - 1e-6).value
        for delta in (0.02, 0.01, 0.0)
    }
    assert bounds[0.02] == 0.0
    assert bounds[0.01] > 3
    assert bounds[0.0] > bounds[0.01]


@pytest.mark.parametrize("swapped", [False, True])
def test_either_input_may_be_the_likelier_one(swapped: bool):
    """Only one outcome tells anything, and only on one of the inputs."""
    random = SecureRandom()

    def run(rare: bool):
        return lambda count: (random.bernoulli(count, 0.05) & rare).astype(np.int64)

    runs = (run(False), run(True)) if swapped else (run(True), run(False))
    found = audit_mechanism(*runs, claim=(1.0, 0.0), trials=20_000)
    assert found.value > 3
    assert found.details["event"]["more_probable"] == ("without" if swapped else "with")


def test_columns_are_put_together():
    """Thirty columns, each of which tells little: the sum tells thirty times as much."""
    random = SecureRandom()

    def run(there: bool, columns: int):
        return lambda count: random.gaussian(count * columns).reshape(count, columns) + 0.2 * there

    one = audit_mechanism(run(True, 1), run(False, 1), claim=(1.0, 0.01), trials=40_000, confidence=1 - 1e-6)
    thirty = audit_mechanism(run(True, 30), run(False, 30), claim=(1.0, 0.01), trials=40_000, confidence=1 - 1e-6)
    assert one.value < 0.5
    assert thirty.value > 1.5
    assert thirty.details["event"]["statistic"] == "linear discriminant"


def test_outcomes_without_order_are_learnt():
    """Of nine outcomes the middle one betrays the unit: no range of the outcome shows that, a learnt ratio does."""
    random = SecureRandom()

    def run(there: bool):
        def outcomes(count: int):
            even = np.floor(9 * random.uniform(count)).astype(np.int64)
            return np.where(there & random.bernoulli(count, 0.3), 4, even)

        return outcomes

    truth = math.log((0.3 + 0.7 / 9) / (1 / 9))
    found = audit_mechanism(run(True), run(False), claim=(1.0, 0.0), trials=100_000, confidence=1 - 1e-6)
    assert 0.85 * truth < found.value <= truth
    assert found.details["event"]["statistic"] == "learnt log-ratio"


def test_a_statistic_of_the_callers_own_is_used():
    random = SecureRandom()

    def run(there: bool):
        # The last binary digit betrays the unit; the rest is noise.
        return lambda count: 2 * np.floor(1e6 * random.uniform(count)).astype(np.int64) + there

    assert audit_mechanism(run(True), run(False), claim=(1.0, 0.0), trials=4_000).value < 1.0
    found = audit_mechanism(
        run(True), run(False), claim=(1.0, 0.0), trials=4_000, statistic=lambda outputs: (outputs % 2).astype(float)
    )
    assert found.value > 4
    assert found.details["event"]["statistic"] == "given"


def test_the_control_is_measured_and_told():
    random = SecureRandom()
    broken = response(0.99, there=True, random=random), response(0.99, there=False, random=random)
    found = audit(broken=broken)
    assert found.control.passed
    assert found.control.value > found.control.threshold == math.log(3)
    useless = response(0.5, there=True, random=random), response(0.5, there=False, random=random)
    assert not audit(broken=useless).control.passed


def test_a_claim_is_borne_on():
    claim = Claim(
        id="dp.release",
        quantity="epsilon",
        value=1.0,
        direction="at_most",
        statement="",
        adversary="",
        parameters={"delta": 0.001},
        reference="",
    )
    found = audit(claim=claim)
    assert found.bears_on == "dp.release"
    assert found.details["delta"] == 0.001
    wrong = Claim(**{**claim.to_json(), "assumptions": (), "quantity": "accuracy"})
    with pytest.raises(ValueError, match="epsilon"):
        audit(claim=wrong)


def test_bad_arguments_are_refused():
    for options in (
        {"trials": 399},
        {"confidence": 1.0},
        {"claim": (-1.0, 0.0)},
        {"claim": (float("nan"), 0.0)},
        {"claim": (1.0, 1.0)},
    ):
        with pytest.raises(ValueError, match=r"trials|confidence|epsilon"):
            audit(**options)
    for run, message in (
        (lambda count: np.zeros(count - 1), "as many outputs"),
        (lambda count: np.zeros((count, 1, 1)), "one each row"),
        (lambda count: np.full(count, np.nan), "finite"),
        (lambda count: np.zeros((count, 2)), "columns"),
    ):
        with pytest.raises(ValueError, match=message):
            audit_mechanism(run, np.zeros, claim=(1.0, 0.0), trials=400)


def test_equal_outputs_prove_nothing():
    assert audit_mechanism(np.zeros, np.zeros, claim=(1.0, 0.0), trials=400).value == 0.0
    both = lambda count: np.zeros((count, 3))  # noqa: E731
    assert audit_mechanism(both, both, claim=(1.0, 0.0), trials=400).value == 0.0


def test_different_constants_prove_as_much_as_the_trials_can():
    found = audit_mechanism(np.zeros, np.ones, claim=(1.0, 0.0), trials=10_000)
    assert math.log(10_000 / 8) - 0.1 < found.value < math.log(10_000 / 4)
