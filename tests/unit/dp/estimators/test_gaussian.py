"""The closed form of Gaussian noise, and the bridge from discrete to continuous noise."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from wardline.dp.accounting import PoissonGaussian, compose
from wardline.dp.estimators.gaussian import (
    LEAST_EPSILON,
    LEAST_STEPS,
    MOST_DRAWS,
    NOISE_MARGIN,
    gaussian_delta,
    gaussian_mu,
)


@pytest.mark.parametrize(("epsilon", "mu"), [(0.0, 0.1), (0.1, 0.05), (0.5, 0.3), (1.0, 1.0), (3.0, 0.9), (10.0, 3.0)])
def test_delta_is_the_integral_that_defines_it(epsilon, mu):
    def positive_part(x):
        return max(0.0, stats.norm.pdf(x - mu) - math.exp(epsilon) * stats.norm.pdf(x))

    begins = epsilon / mu + mu / 2
    expected, _ = integrate.quad(positive_part, begins, begins + 12, epsabs=0, epsrel=1e-9)
    assert gaussian_delta(epsilon=epsilon, mu=mu) == pytest.approx(expected, rel=1e-6)
    assert gaussian_delta(epsilon=epsilon, mu=mu) >= expected * (1 - 1e-9)


@pytest.mark.crosscheck
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_mu_is_what_the_accountant_says(epsilon, delta):
    mu = gaussian_mu(epsilon=epsilon, delta=delta)
    event = PoissonGaussian(sample_rate=1.0, noise_multiplier=1 / mu)
    assert compose((event,), delta=delta) == pytest.approx(epsilon, rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 256.0])
@pytest.mark.parametrize("delta", [1e-30, 1e-5, 0.5])
def test_mu_keeps_delta_and_hardly_more_would_not(epsilon, delta):
    mu = gaussian_mu(epsilon=epsilon, delta=delta)
    assert gaussian_delta(epsilon=epsilon, mu=mu) <= delta
    assert gaussian_delta(epsilon=epsilon, mu=mu * (1 + 1e-6)) > delta * (1 - 1e-9)


@pytest.mark.parametrize("s", [2.0, 5.0, 20.0])
def test_rounded_continuous_noise_is_as_near_to_discrete_noise_as_the_proof_says(s):
    z = np.arange(0, int(6 * s))
    # Differences of tails: exact to many digits far from the centre.
    rounded = np.log(stats.norm.sf((z - 0.5) / s) - stats.norm.sf((z + 0.5) / s))
    whole = np.arange(-int(40 * s), int(40 * s) + 1)
    discrete = -(z**2) / (2 * s**2) - math.log(math.fsum(np.exp(-(whole**2) / (2 * s**2))))
    ratio = rounded - discrete
    assert (ratio >= -1 / (24 * s**2) - 1e-9).all()
    assert (ratio <= z**2 / (24 * s**4) + 1e-9).all()
    # A quarter of the noise's distance would not do: the bounds are no wider than they need to be.
    assert not (ratio >= -1 / (4 * 24 * s**2)).all()


def test_the_margin_pays_for_the_bridge_from_the_least_epsilon_on():
    eta = (2 * MOST_DRAWS + 2 * math.sqrt(450 * MOST_DRAWS) + 900) / (24 * LEAST_STEPS**2)
    assert eta < 1e-6
    for epsilon in (LEAST_EPSILON, 0.1, 1.0, 10.0, 256.0):
        for delta in (1e-30, 1e-12, 1e-5, 1e-2):
            mu = gaussian_mu(epsilon=epsilon, delta=delta)
            assert gaussian_delta(epsilon=epsilon - eta, mu=mu / (1 + NOISE_MARGIN)) * math.exp(eta) < delta
            assert gaussian_delta(epsilon=epsilon - eta, mu=mu) > delta * (1 - 1e-6), "without the margin it would not"


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (-1.0, 1e-5), (math.nan, 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_figures_out_of_range_are_refused(epsilon, delta):
    with pytest.raises(ValueError, match="must"):
        gaussian_mu(epsilon=epsilon, delta=delta)
