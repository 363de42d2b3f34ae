from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.attacks.reconstruction.first_layer import FirstLayer, first_dense, one_row
from wardline.attacks.reconstruction.sharing import Defence, GradientData, Simulation
from wardline.core import Seeds, Verdict, canonical_json
from wardline.models import Cnn, Mlp, build, torch_generator
from wardline.models.torch_predictor import TorchPredictor

SPEC = InputSpec(shape=(1, 8, 8))
NETWORK = nn.Sequential(
    nn.Flatten(), build(Mlp(inputs=64, hidden=(48,), classes=4), generator=torch_generator(Seeds(3), "n"))
)
TARGET = Target(TorchPredictor(NETWORK, classes=4), SPEC)


def _rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = Seeds(5).numpy("rows")
    return generator.random((count, 1, 8, 8), dtype=np.float32), generator.integers(4, size=count)


def _data(defence: Defence | None = None, *, count: int = 12, batch: int = 1) -> GradientData:
    sharer = Simulation(NETWORK, defence=defence, seeds=Seeds(6))
    return GradientData.collect(sharer, *_rows(count), batch=batch)


def test_one_example_is_reconstructed_exactly_from_a_linear_layers_gradient() -> None:
    result = FirstLayer().run(TARGET, _data(), Budget(), 0)
    assert result.rate == 1.0
    assert result.verdict is Verdict.FAIL
    for found, true in zip(result.examples["found"], result.examples["x"], strict=True):
        np.testing.assert_allclose(found[0], true[0], atol=1e-5)


def test_clipping_and_sparse_sharing_hide_nothing() -> None:
    for defence in (Defence(clip_norm=0.01), Defence(kept=0.3), Defence(clip_norm=0.1, kept=0.3)):
        result = FirstLayer().run(TARGET, _data(defence), Budget(), 0)
        assert result.verdict is Verdict.FAIL, defence
        assert result.rate >= 0.75


def test_noise_of_dp_sgd_defeats_it_and_the_control_shows_that_it_works_otherwise() -> None:
    defence = Defence.dp_sgd(clip_norm=1.0, noise_multiplier=1.0, batch=1)
    result = FirstLayer().run(TARGET, _data(defence, count=40), Budget(), 0)
    assert result.rate == 0.0
    assert {check.name: check.outcome for check in result.checks}["control"] is Verdict.PASS
    assert result.verdict is Verdict.PASS


def test_all_units_together_tell_more_under_noise_than_the_best_one() -> None:
    """The attack adapted to noise: a fit of rank one against the quotient of the unit with the largest bias entry."""
    generator = np.random.default_rng(0)
    units, row = generator.normal(size=30), generator.random(50)
    fitted, single = [], []
    for _ in range(50):
        by_weight = np.outer(units, row) + 0.1 * generator.normal(size=(30, 50))
        by_bias = units + 0.1 * generator.normal(size=30)
        largest = np.abs(by_bias).argmax()
        fitted.append(np.abs(one_row(by_weight, by_bias) - row).mean())
        single.append(np.abs(by_weight[largest] / by_bias[largest] - row).mean())
    assert np.mean(fitted) < 0.7 * np.mean(single)


def test_rows_of_a_batch_that_have_a_unit_to_themselves_are_found_exactly() -> None:
    """Eight rows, 48 units with ReLU: units that are active on one row alone hold that row."""
    data = _data(count=48, batch=8)
    result = FirstLayer(success_db=60.0).run(TARGET, data, Budget(), 0)
    alone = 0
    layer = NETWORK[1]["dense0"]
    for x in data.x:
        active = (x.reshape(8, 64) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()) > 0
        alone += int(active[:, active.sum(axis=0) == 1].any(axis=1).sum())
    assert alone >= 5
    assert result.rate == pytest.approx(alone / 48, abs=0.05)


def test_units_that_said_nothing_give_nothing() -> None:
    assert not one_row(np.zeros((4, 6)), np.zeros(4)).any()
    assert not one_row(np.ones((4, 6)), np.zeros(4)).any()


def test_the_same_seed_gives_the_same_json() -> None:
    first, second = (FirstLayer().run(TARGET, _data(Defence(noise=0.01)), Budget(), 3).to_json() for _ in range(2))
    assert canonical_json(first) == canonical_json(second)


def test_another_first_layer_and_less_access_are_refused() -> None:
    with pytest.raises(ValueError, match="first layer"):
        first_dense(build(Cnn(shape=(1, 8, 8), channels=(4,), hidden=8, classes=4)), 64)
    with pytest.raises(ValueError, match="first layer"):
        first_dense(nn.Linear(64, 4, bias=False), 64)
    blind = Target(TorchPredictor(NETWORK, classes=4), SPEC, access=Access.SCORES)
    with pytest.raises(AccessDenied):
        FirstLayer().run(blind, _data(), Budget(), 0)


def test_gradients_of_another_network_are_refused() -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    data = GradientData.collect(Simulation(other, seeds=Seeds(0)), *_rows(2))
    with pytest.raises(ValueError, match="not of the target's parameters"):
        FirstLayer().run(TARGET, data, Budget(), 0)
