from __future__ import annotations

import numpy as np
import pytest

from wardline.attacks.auditing.canaries import (
    audit_settings,
    canary_labels,
    canary_scores,
    with_canaries,
    with_linear_inputs,
)
from wardline.data import Examples
from wardline.dp import DpSgdConfig
from wardline.models import Logistic, Mlp, TrainedModel, parameter_shapes


def _examples(rows: int = 6) -> Examples:
    return Examples(
        x=np.arange(2 * rows, dtype=np.float32).reshape(rows, 2),
        y=np.arange(rows, dtype=np.int64) % 3,
        unit=np.arange(rows, dtype=np.int64) // 2,
        features=("a", "b"),
        classes=("p", "q", "r"),
    )


def test_included_canaries_are_rows_of_their_own_and_nothing_else_changes() -> None:
    examples = _examples()
    included = np.array([True, False, False, True])
    planted = with_canaries(examples, included=included, scale=7.0, rows_per_unit=3)
    np.testing.assert_array_equal(planted.x[:6, :2], examples.x)
    assert not planted.x[:6, 2:].any()
    np.testing.assert_array_equal(planted.unit[:6], examples.unit)
    assert planted.x[6:].tolist() == [[0, 0, 7, 0, 0, 0]] * 3 + [[0, 0, 0, 0, 0, 7]] * 3
    assert planted.unit[6:].tolist() == [3, 3, 3, 4, 4, 4]
    assert planted.y[6:].tolist() == [0] * 6  # canaries 0 and 3, three classes in turn
    assert len(planted.features) == 6


def test_no_canary_may_be_included() -> None:
    planted = with_canaries(_examples(), included=np.zeros(4, dtype=np.bool_), scale=1.0)
    assert len(planted) == 6
    assert planted.x.shape[1] == 6


def test_scores_measure_the_pull_towards_the_own_class() -> None:
    architecture = with_linear_inputs(Mlp(inputs=2, hidden=(3,), classes=3), 4)
    parameters = {name: np.zeros(shape, dtype=np.float32) for name, shape in parameter_shapes(architecture).items()}
    labels = canary_labels(4, 3)
    parameters["wide.weight"][labels, np.arange(4)] = [1.0, 2.0, -1.0, 0.0]
    parameters["wide.weight"][(labels + 1) % 3, np.arange(4)] = [0.0, 1.0, 0.0, 4.0]
    model = TrainedModel(
        architecture=architecture, parameters=parameters, features=tuple("abcdef"), classes=tuple("pqr")
    )
    assert canary_scores(model).tolist() == [1.0, 1.5, -1.0, -2.0]


def test_an_architecture_with_linear_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="linear inputs"):
        with_linear_inputs(Logistic(inputs=2, classes=2, linear_inputs=1), 4)


def test_audit_settings_change_nothing_that_privacy_depends_on() -> None:
    config = DpSgdConfig(
        epsilon=3.0, delta=1e-5, clip_norm=0.5, noise_multiplier=3.0, sample_rate=0.2, steps=90, learning_rate=2.0,
        momentum=0.9,
    )  # fmt: skip
    audited, scale = audit_settings(config, n_units=2000)
    for name in ("epsilon", "delta", "clip_norm", "noise_multiplier", "sample_rate", "steps", "momentum", "unit"):
        assert getattr(audited, name) == getattr(config, name)
    assert 0 < audited.learning_rate < config.learning_rate
    # Four standard deviations of noise and all of the drift together leave the loss of a canary where it was.
    pull = audited.learning_rate / (1 - 0.9) * 2**0.5 * 0.5 / (0.2 * 2000)
    assert scale * pull * (90 * 0.2 + 4 * 3.0 * 90**0.5) <= 1 + 1e-9


def test_audit_settings_never_raise_the_learning_rate() -> None:
    config = DpSgdConfig(
        epsilon=3.0, delta=1e-5, clip_norm=0.5, noise_multiplier=3.0, sample_rate=0.2, steps=90, learning_rate=1e-9
    )
    assert audit_settings(config, n_units=2000)[0].learning_rate == 1e-9
