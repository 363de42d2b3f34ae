import dataclasses

import pytest

from wardline.dp import TrainingOverrides, default_config, epsilon_spent
from wardline.models import Cnn, Logistic, Mlp

ARCHITECTURE = Mlp(inputs=5, hidden=(8,), classes=2)


def derive(n_units=10_000, *, epsilon=3.0, delta=1e-5, architecture=ARCHITECTURE, **arguments):
    return default_config(n_units=n_units, epsilon=epsilon, delta=delta, architecture=architecture, **arguments)


@pytest.mark.parametrize("n_units", [1, 30, 427, 24_421, 10_000_000])
@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_the_noise_bears_the_epsilon_at_any_size(n_units, epsilon):
    config = derive(n_units, epsilon=epsilon)
    spent = epsilon_spent(
        delta=config.delta,
        sample_rate=config.sample_rate,
        noise_multiplier=config.noise_multiplier,
        steps=config.steps,
    )
    assert 0.98 * epsilon < spent <= epsilon
    assert 0 < config.sample_rate <= 0.5
    assert 60 <= config.steps <= 500


def test_less_privacy_budget_means_smaller_steps():
    rates = [derive(500, epsilon=epsilon).learning_rate for epsilon in (0.3, 1.0, 8.0)]
    assert rates == sorted(rates)
    assert rates[0] < rates[2]


def test_images_take_more_steps_where_there_are_few():
    cnn = Cnn(shape=(1, 8, 8), channels=(4,), hidden=8, classes=10)
    assert derive(1000, architecture=cnn).steps == 120
    assert derive(1000, architecture=Logistic(inputs=5, classes=2)).steps == 63


def test_overrides_take_the_place_of_what_is_derived_and_the_noise_follows():
    derived = derive()
    config = derive(overrides=TrainingOverrides(batch=100, epochs=3, clip_norm=2.0, learning_rate=0.25))
    assert (config.sample_rate, config.steps, config.clip_norm, config.learning_rate) == (0.01, 300, 2.0, 0.25)
    assert config.noise_multiplier < derived.noise_multiplier
    # The learning rate is relative to the clipping norm unless it is given.
    other = derive(overrides=TrainingOverrides(clip_norm=2.0))
    assert other.learning_rate * other.clip_norm == pytest.approx(derived.learning_rate * derived.clip_norm)
    assert other.noise_multiplier == derived.noise_multiplier


def test_the_unit_is_passed_on_and_changes_nothing_else():
    person = derive(unit="person", max_rows_per_unit=8)
    assert person == dataclasses.replace(derive(), unit="person", max_rows_per_unit=8)


def test_what_cannot_be_met_is_refused():
    with pytest.raises(ValueError, match="batch"):
        derive(50, overrides=TrainingOverrides(batch=51))
    with pytest.raises(ValueError, match="n_units"):
        derive(0)
    with pytest.raises(ValueError, match="epsilon"):
        derive(epsilon=0.0)
    for name in ("batch", "epochs", "clip_norm", "learning_rate"):
        with pytest.raises(ValueError, match=name):
            TrainingOverrides(**{name: 0})
