"""Private training that is broken on purpose: the audit must contradict its claim. What is whole must pass.

False alarms: a bound exceeds what is true with probability at most 0.05, but for these settings the truth stays
far below the claim. In the direction of a canary, training is no better than a Gaussian mechanism of mu about 0.35
(claim 1): to exceed 1, the audit would have to guess seven standard deviations too well, less than 1e-10.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import wardline.dp.training.private
from wardline.attacks import AuditDesign, audit_settings, audit_training
from wardline.core import Claim, Measurement, SecureRandom, Seeds
from wardline.data import Examples
from wardline.dp import DpSgdConfig, PlainConfig, default_config, train_dp, train_plain, training_claim
from wardline.models import Architecture, Cnn, Logistic, Mlp, TrainedModel

MLP = Mlp(inputs=10, hidden=(32,), classes=2)


def _examples(units: int = 500, rows_per_unit: int = 1, columns: int = 10) -> Examples:
    generator = Seeds(0).numpy("rows")
    rows = units * rows_per_unit
    x = generator.normal(size=(rows, columns)).astype(np.float32)
    return Examples(
        x=x,
        y=(x[:, 0] > 0).astype(np.int64),
        unit=np.arange(rows, dtype=np.int64) // rows_per_unit,
        features=tuple(f"f{i}" for i in range(columns)),
        classes=("no", "yes"),
    )


def _private(config: DpSgdConfig):
    def train(architecture: Architecture, examples: Examples) -> TrainedModel:
        return train_dp(architecture, examples, config=config, random=SecureRandom(), seeds=Seeds(0))

    return train


def _plain(architecture: Architecture, examples: Examples) -> TrainedModel:
    config = PlainConfig(batch=100, epochs=10, learning_rate=3e-3)
    return train_plain(architecture, examples, config=config, seeds=Seeds(0))


def _audit(train, examples: Examples, claim: Claim, design: AuditDesign, architecture=MLP) -> Measurement:
    found = audit_training(
        train=train, control=_plain, architecture=architecture, examples=examples, claim=claim, design=design,
        coins=SecureRandom(),
    )  # fmt: skip
    assert found.control.passed
    assert found.bears_on == claim.id
    return found


def _setting(epsilon: float, architecture: Architecture = MLP) -> tuple[DpSgdConfig, Claim, AuditDesign]:
    config = default_config(n_units=500, epsilon=epsilon, delta=1e-5, architecture=architecture)
    audited, scale = audit_settings(config, n_units=500)
    return audited, training_claim(audited, n_units=500), AuditDesign(scale=scale)


@pytest.mark.parametrize(
    "architecture",
    [MLP, Logistic(inputs=10, classes=2), Cnn(shape=(1, 2, 5), channels=(4,), hidden=8, classes=2)],
    ids=lambda a: type(a).__name__,
)
def test_training_without_noise_is_caught_and_with_it_is_not(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, claim, design = _setting(1.0, architecture)
    whole = _audit(_private(config), _examples(), claim, design, architecture)
    assert whole.value < claim.value
    monkeypatch.setattr(
        wardline.dp.training.private,
        "noisy_sum",
        lambda total, **_: {name: value.float() for name, value in total.items()},
    )
    broken = _audit(_private(config), _examples(), claim, design, architecture)
    assert broken.value > 4 > claim.value
    assert broken.bound == "lower"


def test_true_noise_stays_below_its_claim_in_every_run() -> None:
    for epsilon in (1.0, 3.0):
        config, claim, design = _setting(epsilon)
        assert all(_audit(_private(config), _examples(), claim, design).value < claim.value for _ in range(3))


def test_a_tenth_of_the_noise_is_caught() -> None:
    config, claim, design = _setting(1.0)
    broken = dataclasses.replace(config, noise_multiplier=config.noise_multiplier / 10)
    assert _audit(_private(broken), _examples(), claim, design).value > claim.value


def test_the_overfitted_network_without_noise_is_caught_at_its_ordinary_learning_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the release is changed for the audit but the added canaries."""
    config = default_config(n_units=500, epsilon=1.0, delta=1e-5, architecture=MLP)
    monkeypatch.setattr(
        wardline.dp.training.private,
        "noisy_sum",
        lambda total, **_: {name: value.float() for name, value in total.items()},
    )
    found = _audit(_private(config), _examples(), training_claim(config, n_units=500), AuditDesign(scale=10.0))
    assert found.value > 1.0


def test_clipping_per_row_where_a_person_is_promised_protection_is_caught() -> None:
    """Six rows a person: clipped and sampled one by one, a person pulls six times as far as the claim knows."""
    config = default_config(n_units=300, epsilon=1.0, delta=1e-5, architecture=MLP, unit="person", max_rows_per_unit=6)
    config, scale = audit_settings(config, n_units=300)
    claim = training_claim(config, n_units=300)
    design = AuditDesign(scale=scale, rows_per_unit=6)
    examples = _examples(300, 6)
    by_row = dataclasses.replace(config, unit="row", max_rows_per_unit=1)

    def broken(architecture: Architecture, planted: Examples) -> TrainedModel:
        rows = dataclasses.replace(planted, unit=np.arange(len(planted), dtype=np.int64))
        return _private(by_row)(architecture, rows)

    assert _audit(_private(config), examples, claim, design).value < claim.value
    assert _audit(broken, examples, claim, design).value > claim.value


def test_too_few_canaries_are_no_evidence_and_say_how_many_would_be() -> None:
    config, claim, design = _setting(3.0)
    found = audit_training(
        train=_private(config), control=_plain, architecture=MLP, examples=_examples(), claim=claim,
        design=dataclasses.replace(design, canaries=40), coins=SecureRandom(),
    )  # fmt: skip
    assert not found.control.passed
    assert "40 canaries cannot prove more than" in found.control.description


def test_a_control_that_trains_nothing_is_not_passed() -> None:
    """Positive control of the positive control: were it passed whatever happens, it would prove nothing."""
    config, claim, design = _setting(1.0)
    found = audit_training(
        train=_private(config), control=_private(config), architecture=MLP, examples=_examples(), claim=claim,
        design=design, coins=SecureRandom(),
    )  # fmt: skip
    assert not found.control.passed


def test_a_claim_about_something_else_is_refused() -> None:
    config, claim, design = _setting(1.0)
    for wrong in (
        dataclasses.replace(claim, quantity="accuracy"),
        dataclasses.replace(claim, direction="at_least"),
        dataclasses.replace(claim, parameters={}),
    ):
        with pytest.raises(ValueError, match="epsilon"):
            _audit(_private(config), _examples(), wrong, design)
