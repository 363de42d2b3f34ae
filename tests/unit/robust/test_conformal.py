"""False alarms come at the rate that was promised, on average and for a calibration that came out badly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from wardline.robust.conformal import Calibration

ALARM = 1e-6


def test_alarms_are_those_above_the_quantile_and_p_values_say_so() -> None:
    calibration = Calibration(scores=np.arange(99.0)[::-1])
    scores = np.array([-5.0, 93.0, 94.0, 94.5, 98.0, 500.0, np.inf, np.nan])
    np.testing.assert_allclose(calibration.p_values(scores), [1, 0.07, 0.06, 0.05, 0.02, 0.01, 0.01, 0.01])
    assert calibration.threshold(0.05) == 94.0
    assert calibration.alarms(scores, false_alarm_rate=0.05).tolist() == [False] * 3 + [True] * 5
    for rate in (0.01, 0.03, 0.29, 0.57, 0.58, 0.99):
        alarms = calibration.alarms(np.arange(99.0), false_alarm_rate=rate)
        assert (alarms == (calibration.p_values(np.arange(99.0)) <= rate + 1e-12)).all()


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (50, 0.1), (199, 0.01)])
def test_the_rate_of_false_alarms_is_kept_whatever_the_scores(n: int, rate: float) -> None:
    rng = np.random.default_rng(n)
    draws, right, half = 20_000, 0, 0
    for _ in range(draws):
        scores = np.exp(3 * rng.standard_normal(n + 1)).round(1)  # heavy tails, and ties
        right += int(Calibration(scores=scores[:n]).alarms(scores[n:], false_alarm_rate=rate)[0])
        # A calibration by rows that the score was fitted on is too low: the effect that must be seen.
        half += int(Calibration(scores=scores[:n] * 0.1).alarms(scores[n:], false_alarm_rate=rate)[0])
    most = binom.isf(ALARM, draws, rate)
    assert right <= most
    assert half > most


def test_a_calibration_rarely_alarms_more_often_than_its_bound() -> None:
    rng = np.random.default_rng(0)
    draws, n, rate = 3000, 200, 0.05
    bound = Calibration(scores=np.arange(float(n))).rate_bound(rate, confidence=0.9)
    # The rate of one calibration of uniform scores is what lies above its threshold.
    rates = np.array([1 - Calibration(scores=rng.random(n)).threshold(rate) for _ in range(draws)])
    exceeded = int((rates > bound).sum())
    assert binom.ppf(ALARM, draws, 0.1) <= exceeded <= binom.isf(ALARM, draws, 0.1)
    assert rates.mean() < rate < bound


def test_a_window_is_called_shifted_as_often_as_promised_and_when_it_is() -> None:
    rng = np.random.default_rng(1)
    draws, n, m = 2000, 100, 80
    values = np.array(
        [Calibration(scores=rng.random(n)).shift_p_value(rng.random(m), false_alarm_rate=0.1) for _ in range(draws)]
    )
    for level in (0.01, 0.1):
        assert (values <= level).sum() <= binom.isf(ALARM, draws, level)
    # Taking the alarms for independent, each with the promised rate, would be wrong: a calibration is shared.
    counts = [Calibration(scores=rng.random(n)).alarms(rng.random(m), false_alarm_rate=0.1).sum() for _ in range(draws)]
    naive = binom.sf(np.array(counts) - 1, m, 0.1)
    assert (naive <= 0.01).sum() > binom.isf(ALARM, draws, 0.01)
    shifted = Calibration(scores=rng.standard_normal(n)).shift_p_value(rng.standard_normal(m) + 1.5)
    assert shifted < 1e-6


def test_the_claim_says_what_is_promised_and_to_whom() -> None:
    claim = Calibration(scores=np.arange(500.0)).claim(0.02, of="energy")
    assert (claim.id, claim.quantity, claim.value, claim.direction) == (
        "monitor.energy",
        "false_alarm_prob",
        0.02,
        "at_most",
    )
    assert "exchangeable" in claim.assumptions[0]
    assert claim.adversary.startswith("none")
    assert claim.parameters["rate_bound_at_99_percent"] > 0.02
    assert claim.to_json()["parameters"]["calibration_inputs"] == 500


def test_too_small_a_calibration_and_scores_that_are_none_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"18 calibration inputs are too few for a false-alarm rate of 0\.05: at least 19"
    ):
        Calibration(scores=np.arange(18.0)).alarms(np.zeros(1), false_alarm_rate=0.05)
    assert Calibration(scores=np.arange(19.0)).alarms(np.array([99.0]), false_alarm_rate=0.05)[0]
    for scores in (np.array([]), np.array([1.0, np.nan]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="finite"):
            Calibration(scores=scores)
    with pytest.raises(ValueError, match="at least one input"):
        Calibration(scores=np.arange(99.0)).shift_p_value(np.array([]))
