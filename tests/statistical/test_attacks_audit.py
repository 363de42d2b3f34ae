"""The audit's bound, on mechanisms whose epsilon is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from wardline.attacks.auditing.one_run import best_lower_bound, default_guesses, guess

CANARIES = 1000
RUNS = 200


def _alarms(epsilon: float, claimed: float, *, delta: float = 0.0, runs: int = RUNS) -> int:
    """How often the audit of randomised response, whose exact epsilon is known, exceeds a claim."""
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(runs):
        coins = generator.random(CANARIES) < 0.5
        honest = generator.random(CANARIES) < 1 / (1 + np.exp(-epsilon))
        # Tell apart only by the answer; the rest of the score is noise, so that few guesses are as good as many.
        scores = np.where(honest, coins, ~coins) + 0.5 * generator.random(CANARIES)
        tried = [guess(scores, coins, made=made) for made in default_guesses(CANARIES)]
        alarms += best_lower_bound(tried, delta=delta)[0] > claimed
    return alarms


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_the_bound_exceeds_the_truth_no_oftener_than_it_says(epsilon: float) -> None:
    """At 95 % confidence; more than the quantile below has a probability of at most 1e-6."""
    assert _alarms(epsilon, claimed=epsilon) <= binom.isf(1e-6, RUNS, 0.05)


def test_a_claim_that_is_too_small_is_contradicted() -> None:
    """Effect to be detected: a true epsilon of 1.6 under a claim of 1. The lead of the share of right guesses over
    what the claim allows is about seven standard deviations, so that missing it in one run in twenty has a
    probability far below 1e-6."""
    assert _alarms(1.6, claimed=1.0, delta=1e-6, runs=40) >= 38
