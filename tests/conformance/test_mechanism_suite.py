"""The suite passes sound mechanisms and catches each deliberate mistake by the check that is made for it.

A sound mechanism fails a check by chance with a probability of at most 1e-6 (`ALARM`). A broken one goes unnoticed
with less: deviations and numbers are chosen so that each lies many standard deviations beyond the alarm, which
`test_the_power_against_noise_that_is_too_small` computes for the smallest of them.
"""

from __future__ import annotations

import numpy as np
import pytest
import subjects
from subjects import neighbours

from wardline.attacks.auditing import mechanism_conformance as suite
from wardline.attacks.auditing.mechanism_conformance import ALARM, conformance

TRIALS = 200_000
SOUND = [subjects.LaplaceCounts(), subjects.GaussianCounts()]
NAMES = ("sensitivity", "fit", "independence", "fresh", "grid", "low bits", "epsilon")


def check(subject, trials=TRIALS):
    return conformance(subject, pairs=neighbours(0, 200), trials=trials)


@pytest.mark.parametrize("subject", SOUND, ids=lambda one: type(one).__name__)
def test_a_sound_mechanism_passes_every_check(subject):
    # With 200,000 trials the Gaussian's bound is 0.326, standard deviation 0.024, and 8 of 60 runs stayed below 0.3;
    # with four times as many 0.439 and 0.025, over five deviations above it.
    report = check(subject, trials=4 * TRIALS)
    assert tuple(one.name for one in report.checks) == NAMES
    report.raise_for_failures()
    assert all(one.alarm <= 1e-6 for one in report.checks)
    # The audit beside the claim: it sees some of epsilon, so that passing it means something.
    assert report.checks[-1].found > 0.3 * subject.epsilon


@pytest.mark.parametrize(
    ("twin", "caught_by"),
    [
        (subjects.TooSmall(), {"fit", "epsilon"}),
        (subjects.TooSmallGaussian(), {"fit"}),
        (subjects.Seeded(), {"fresh"}),
        (subjects.ForkBlind(), {"fresh"}),
        (subjects.FloatNoise(), {"grid", "low bits"}),
        (subjects.RoundedToSixteenths(), {"grid"}),
        (subjects.ForgetsAGroup(), {"sensitivity", "epsilon"}),
        (subjects.OneRowTooMany(), {"sensitivity", "epsilon"}),
        (subjects.OneDrawForTwo(), {"independence"}),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, subjects.LaplaceCounts) else "",
)
def test_each_mistake_is_caught_by_the_check_made_for_it(twin, caught_by):
    report = check(twin)
    assert caught_by <= set(report.failed), str(report)
    with pytest.raises(AssertionError, match="FAIL"):
        report.raise_for_failures()
    # And not by checks that the mistake leaves alone, or the name of the check would say nothing.
    untouched = {
        subjects.Seeded: {"sensitivity", "fit", "independence", "grid", "epsilon"},
        subjects.ForkBlind: {"sensitivity", "fit", "independence", "grid", "epsilon"},
        subjects.TooSmall: {"sensitivity", "independence", "fresh", "grid"},
        subjects.TooSmallGaussian: {"sensitivity", "independence", "fresh", "grid"},
        subjects.ForgetsAGroup: {"fit", "independence", "fresh", "grid"},
        subjects.OneRowTooMany: {"fit", "independence", "fresh", "grid"},
        subjects.OneDrawForTwo: {"sensitivity", "fresh", "grid"},
    }
    assert not untouched.get(type(twin), set()) & set(report.failed), str(report)


def test_the_power_against_noise_that_is_too_small():
    subject = subjects.LaplaceCounts()
    power = subjects.power_of_fit(subject, subjects.TooSmall(), TRIALS, bins=64, alarm=ALARM)
    assert power > 1 - 1e-9
    # At a hundredth of the trials the same mistake would go unnoticed: the number of trials is what buys the power.
    assert subjects.power_of_fit(subject, subjects.TooSmall(), 2_000, bins=32, alarm=ALARM) < 0.9


def test_p_values_of_sound_noise_are_uniform():
    """The stated alarm is true only if p-values are uniform: 300 of them, by Kolmogorov and Smirnov at 1e-7."""
    subject = subjects.LaplaceCounts()
    draw = subject.source()
    found = [suite.check_fit(draw(4_000), subject.cumulative).found for _ in range(300)]
    distance = np.max(np.abs(np.sort(found) - (np.arange(300) + 0.5) / 300))
    assert distance < np.sqrt(np.log(2 / 1e-7) / 600) + 1 / 600


def test_checks_that_were_given_nothing_say_so():
    subject = subjects.LaplaceCounts()
    with pytest.raises(ValueError, match="pairs"):
        suite.check_sensitivity(subject.exact, [], subject.sensitivity)
    with pytest.raises(ValueError, match="noise"):
        suite.check_fit(np.zeros(10, np.int64), subject.cumulative)
    with pytest.raises(ValueError, match="shapes"):
        suite.check_sensitivity(lambda table: np.zeros(len(table)), [((1,), ())], subject.sensitivity)


def test_whatever_changes_nothing_is_no_release():
    """Constant noise is not independent, and not as claimed."""
    constant = np.zeros(TRIALS, np.int64)
    assert not suite.check_independence(constant).passed
    assert not suite.check_fit(constant, subjects.LaplaceCounts().cumulative).passed
    assert not suite.check_fresh(lambda: lambda count: np.zeros(count, np.int64)).passed


def test_exponent_and_last_bits_are_read():
    values = {0.0: 7, 1.0: 8 + 7, -3.0: 16 + 7, 0.5: 7, 1 + 2**-52: 8, -1 - 2**-51: 8 + 1, 0.1: -24 + 1}
    assert suite.low_bits(np.array(list(values))).tolist() == list(values.values())
    assert suite.low_bits(np.zeros((3, 2))).shape == (3, 2)
