"""Accounting: against closed forms, against dp-accounting called directly, and against two other accountants."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wardline.core import canonical_json
from wardline.dp.accounting import (
    PoissonGaussian,
    calibrate_noise,
    calibration,
    compose,
    delta_spent,
    epsilon_spent,
    event_from_json,
    event_to_json,
)

SETTINGS = [  # sample_rate, noise_multiplier, steps, delta
    (0.0052, 1.0, 1908, 1e-5),
    (0.05, 1.2, 600, 1e-5),
    (0.5, 6.0, 200, 1e-6),
    (0.01, 4.0, 500, 1e-5),
    (0.2, 1.0, 100, 1e-4),
    (1.0, 20.0, 100, 1e-5),
]


def _spent(setting: tuple[float, float, int, float]) -> float:
    sample_rate, noise_multiplier, steps, delta = setting
    return epsilon_spent(delta=delta, sample_rate=sample_rate, noise_multiplier=noise_multiplier, steps=steps)


def _gaussian_delta(mu: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8: the exact delta of the Gaussian mechanism."""
    from scipy.special import log_ndtr

    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return math.exp(first) * -math.expm1(second - first)


@pytest.mark.crosscheck
@pytest.mark.parametrize("setting", SETTINGS)
def test_equal_to_dp_accounting_called_directly(setting: tuple[float, float, int, float]) -> None:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    sample_rate, noise_multiplier, steps, delta = setting
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=1e-4)
    event = dp_accounting.PoissonSampledDpEvent(sample_rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    accountant.compose(event, steps)
    assert _spent(setting) == pytest.approx(accountant.get_epsilon(delta), rel=5e-4)


@pytest.mark.crosscheck
@pytest.mark.parametrize("setting", [one for one in SETTINGS if one[0] < 1])
def test_inside_the_bounds_of_the_prv_accountant(setting: tuple[float, float, int, float]) -> None:
    """Gopi, Lee and Wutschitz 2021: another discretisation with proven errors on both sides."""
    from prv_accountant import PoissonSubsampledGaussianMechanism, PRVAccountant

    sample_rate, noise_multiplier, steps, delta = setting
    mechanism = PoissonSubsampledGaussianMechanism(sampling_probability=sample_rate, noise_multiplier=noise_multiplier)
    accountant = PRVAccountant(
        prvs=[mechanism], max_self_compositions=[steps], eps_error=0.02, delta_error=delta / 1000
    )
    lower, _, upper = accountant.compute_epsilon(delta=delta, num_self_compositions=[steps])
    assert lower <= _spent(setting) <= upper


@pytest.mark.crosscheck
@pytest.mark.parametrize("setting", SETTINGS)
def test_below_the_looser_bound_by_renyi_divergence(setting: tuple[float, float, int, float]) -> None:
    import dp_accounting

    sample_rate, noise_multiplier, steps, delta = setting
    accountant = dp_accounting.rdp.RdpAccountant(orders=[1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256])
    event = dp_accounting.PoissonSampledDpEvent(sample_rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    accountant.compose(event, steps)
    assert 0.4 * accountant.get_epsilon(delta) < _spent(setting) < accountant.get_epsilon(delta)


def test_a_known_value() -> None:
    assert epsilon_spent(delta=1e-5, sample_rate=0.0052, noise_multiplier=1, steps=1908) == pytest.approx(
        1.24, abs=0.01
    )


@pytest.mark.parametrize(("noise", "steps"), [(20.0, 100), (100.0, 10_000), (300.0, 100_000), (2.0, 1), (0.3, 3)])
@pytest.mark.parametrize("delta", [1e-5, 1e-8, 5e-10])
def test_never_below_the_truth_where_the_truth_is_known(noise: float, steps: int, delta: float) -> None:
    mu = math.sqrt(steps) / noise
    epsilon = epsilon_spent(delta=delta, sample_rate=1, noise_multiplier=noise, steps=steps)
    assert _gaussian_delta(mu, epsilon) <= delta
    assert _gaussian_delta(mu, 0.99 * epsilon) > delta, "and it is tight"


def test_rounding_of_the_fourier_transform_is_covered() -> None:
    """The unprotected twin, dp-accounting called directly, falls below the truth here."""
    from dp_accounting.pld import privacy_loss_distribution

    noise, steps, delta = 100.0, 10_000, 1e-10
    raw = privacy_loss_distribution.from_gaussian_mechanism(noise, value_discretization_interval=1e-4)
    unguarded = raw.self_compose(steps).get_epsilon_for_delta(delta)
    assert _gaussian_delta(1.0, unguarded) > delta
    guarded = epsilon_spent(delta=delta, sample_rate=1, noise_multiplier=noise, steps=steps)
    assert _gaussian_delta(1.0, guarded) <= delta
    assert guarded < 1.01 * unguarded


@pytest.mark.parametrize("setting", SETTINGS[:4])
def test_delta_is_the_other_side_of_epsilon(setting: tuple[float, float, int, float]) -> None:
    sample_rate, noise_multiplier, steps, delta = setting
    found = delta_spent(
        epsilon=_spent(setting), sample_rate=sample_rate, noise_multiplier=noise_multiplier, steps=steps
    )
    assert found == pytest.approx(delta, rel=0.01)


def test_extremes_are_answered_without_running_out_of_memory() -> None:
    assert epsilon_spent(delta=1e-5, sample_rate=1, noise_multiplier=1e6, steps=1) == 0
    assert epsilon_spent(delta=1e-5, sample_rate=1, noise_multiplier=0.01, steps=100_000) > 1e8
    assert epsilon_spent(delta=1e-5, sample_rate=0.5, noise_multiplier=0.1, steps=1000) > 1e3
    assert delta_spent(epsilon=1.0, sample_rate=1, noise_multiplier=0.01, steps=100_000) == 1
    # Three units in a hundred thousand are ever looked at: with that probability at most anything is lost at all.
    assert delta_spent(epsilon=5.0, sample_rate=1e-5, noise_multiplier=0.5, steps=3) <= 3.1e-5


@given(
    sample_rate=st.floats(0.01, 0.5),
    noise=st.floats(0.8, 5.0),
    steps=st.integers(1, 400),
    delta=st.sampled_from([1e-6, 1e-5, 1e-4]),
)
@settings(max_examples=6, deadline=None, derandomize=True)
def test_more_of_anything_that_costs_costs_more(sample_rate: float, noise: float, steps: int, delta: float) -> None:
    def spent(**changes: float) -> float:
        values = {"sample_rate": sample_rate, "noise_multiplier": noise, "steps": steps, "delta": delta}
        return epsilon_spent(**{**values, **changes})  # type: ignore[arg-type]

    here = spent()
    slack = 1 - 5e-4  # the grids of two calls differ
    assert spent(steps=2 * steps) >= slack * here
    assert spent(sample_rate=min(1.0, 1.5 * sample_rate)) >= slack * here
    assert spent(noise_multiplier=noise / 1.3) >= slack * here
    assert spent(delta=delta / 10) >= slack * here


@pytest.mark.parametrize(
    ("epsilon", "delta", "sample_rate", "steps"),
    [
        (3.0, 1e-5, 0.0105, 1500),
        (1.0, 1e-5, 0.0052, 1908),
        (0.1, 1e-6, 0.1, 300),
        (10.0, 1e-4, 0.25, 120),
        (1.0, 1e-5, 1.0, 1),
        (0.01, 1e-5, 0.05, 100),
        (50.0, 1e-5, 0.1, 200),
    ],
)
def test_calibrated_noise_spends_what_was_allowed_and_hardly_less(
    epsilon: float, delta: float, sample_rate: float, steps: int
) -> None:
    noise = calibrate_noise(epsilon=epsilon, delta=delta, sample_rate=sample_rate, steps=steps)
    spent = epsilon_spent(delta=delta, sample_rate=sample_rate, noise_multiplier=noise, steps=steps)
    assert 0.995 * epsilon <= spent <= epsilon
    assert float(f"{noise:.6g}") == noise, "what is printed is what is used"


@given(
    epsilon=st.floats(0.2, 12),
    delta=st.sampled_from([1e-7, 1e-5, 1e-4]),
    sample_rate=st.floats(0.005, 0.5),
    steps=st.integers(5, 2000),
)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_calibration_is_on_the_safe_side_everywhere(
    epsilon: float, delta: float, sample_rate: float, steps: int
) -> None:
    assume(sample_rate * steps > 100 * delta)
    noise = calibrate_noise(epsilon=epsilon, delta=delta, sample_rate=sample_rate, steps=steps)
    assert epsilon_spent(delta=delta, sample_rate=sample_rate, noise_multiplier=noise, steps=steps) <= epsilon


def test_calibrating_again_looks_the_answer_up() -> None:
    asked = {"epsilon": 2.0, "delta": 1e-5, "sample_rate": 0.1, "steps": 50}
    first = calibrate_noise(**asked)  # type: ignore[arg-type]
    before = calibration._calibrate_noise.cache_info()
    assert calibrate_noise(**asked) == first  # type: ignore[arg-type]
    after = calibration._calibrate_noise.cache_info()
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)


def test_what_no_noise_can_reach_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no noise multiplier up to 1e.06 keeps epsilon at 1e-06.*fewer steps"):
        calibrate_noise(epsilon=1e-6, delta=1e-6, sample_rate=1, steps=10_000)


def test_what_hardly_any_noise_reaches_is_refused() -> None:
    """With fewer looks than delta, anything is (epsilon, delta)-private, the raw data of the unlucky included."""
    with pytest.raises(ValueError, match=r"hardly any noise.*protect nobody"):
        calibrate_noise(epsilon=1, delta=1e-2, sample_rate=1e-3, steps=5)


BAD = [
    ("sample_rate", 0),
    ("sample_rate", -0.1),
    ("sample_rate", 1.0001),
    ("sample_rate", math.nan),
    ("noise_multiplier", 0),
    ("noise_multiplier", -1),
    ("noise_multiplier", 0.001),
    ("noise_multiplier", math.nan),
    ("noise_multiplier", math.inf),
    ("steps", 0),
    ("steps", -5),
    ("steps", True),
    ("delta", 0),
    ("delta", 1),
    ("delta", -1e-5),
    ("delta", math.nan),
    ("delta", 1e-14),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_figures_outside_of_their_range_are_refused(name: str, value: float) -> None:
    values = {"delta": 1e-5, "sample_rate": 0.1, "noise_multiplier": 1.0, "steps": 100}
    with pytest.raises(ValueError, match=name):
        epsilon_spent(**{**values, name: value})  # type: ignore[arg-type]
    if name != "delta":
        del values["delta"]
        with pytest.raises(ValueError, match=name):
            delta_spent(**{**values, "epsilon": 1.0, name: value})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=name):
            PoissonGaussian(**{**values, name: value})  # type: ignore[arg-type]
    if name != "noise_multiplier":
        values = {"epsilon": 1.0, "delta": 1e-5, "sample_rate": 0.1, "steps": 100}
        with pytest.raises(ValueError, match=name):
            calibrate_noise(**{**values, name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf])
def test_an_epsilon_outside_of_its_range_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        calibrate_noise(epsilon=epsilon, delta=1e-5, sample_rate=0.1, steps=10)
    with pytest.raises(ValueError, match="epsilon"):
        delta_spent(epsilon=epsilon, sample_rate=0.1, noise_multiplier=1, steps=10)


@pytest.mark.parametrize("steps", [1.5, math.nan, "3"])
def test_steps_are_whole_numbers(steps: object) -> None:
    with pytest.raises(TypeError):
        PoissonGaussian(sample_rate=0.1, noise_multiplier=1.0, steps=steps)  # type: ignore[arg-type]


def test_an_event_survives_json() -> None:
    event = PoissonGaussian(sample_rate=0.0052123456789, noise_multiplier=1.11837, steps=1908)
    assert event_from_json(json.loads(canonical_json(event))) == event
    assert event_to_json(event)["kind"] == "poisson-gaussian"


@pytest.mark.parametrize(
    "changes", [{"kind": "laplace"}, {"extra": 1}, {"steps": None}, {"noise_multiplier": "1"}, {"sample_rate": 2}]
)
def test_a_strange_event_is_refused(changes: dict[str, object]) -> None:
    value = {"kind": "poisson-gaussian", "sample_rate": 0.1, "noise_multiplier": 1.0, "steps": 3}
    with pytest.raises((ValueError, TypeError)):
        event_from_json({**value, **changes})
    with pytest.raises(ValueError, match="keys"):
        event_from_json({key: value[key] for key in ("kind", "steps")})


A = PoissonGaussian(sample_rate=0.05, noise_multiplier=1.2, steps=200)
B = PoissonGaussian(sample_rate=0.2, noise_multiplier=4.0, steps=50)
C = PoissonGaussian(sample_rate=1.0, noise_multiplier=5.0, steps=1)


def test_composition_of_different_mechanisms() -> None:
    from dp_accounting.pld import privacy_loss_distribution as pld

    together = compose([A, B, C], delta=1e-5)
    single = [compose([one], delta=1e-5) for one in (A, B, C)]
    assert max(single) < together < sum(single)
    parts = [
        pld.from_gaussian_mechanism(
            one.noise_multiplier, sampling_prob=one.sample_rate, value_discretization_interval=1e-4
        ).self_compose(one.steps)
        for one in (A, B, C)
    ]
    direct = parts[0].compose(parts[1]).compose(parts[2]).get_epsilon_for_delta(1e-5)
    assert together == pytest.approx(direct, rel=5e-4)


def test_composition_does_not_depend_on_order_or_on_how_it_is_cut() -> None:
    assert compose([A, B, C], delta=1e-5) == compose([C, A, B], delta=1e-5)
    halves = [PoissonGaussian(sample_rate=0.05, noise_multiplier=1.2, steps=100)] * 2
    whole = epsilon_spent(delta=1e-5, sample_rate=0.05, noise_multiplier=1.2, steps=200)
    assert compose(halves, delta=1e-5) == compose([A], delta=1e-5) == whole


def test_nothing_costs_nothing_and_delta_is_checked_even_then() -> None:
    assert compose([], delta=1e-5) == 0
    with pytest.raises(ValueError, match="delta"):
        compose([], delta=2)


def test_the_ledger_and_the_accountant_load_neither_torch_nor_scipy() -> None:
    script = (
        "import sys, wardline.dp.ledger, wardline.dp.accounting\n"
        "print([one for one in ('torch', 'scipy', 'dp_accounting', 'pydantic') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
