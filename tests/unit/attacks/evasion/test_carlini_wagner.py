"""The attack of Carlini and Wagner: distances with a known truth, and those of another implementation."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from digits_net import digits, target_of, trained
from linear_model import linear_examples, linear_target
from wardline.attacks.evasion.carlini_wagner import CarliniWagner
from wardline.attacks.evasion.fab import FabTargeted
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def data() -> Labelled:
    x, y = digits()
    return Labelled(x=x[1297:1357], y=y[1297:1357])


@pytest.fixture(scope="module")
def result(net: nn.Module, data: Labelled) -> AttackResult:
    return CarliniWagner(steps=200, rate=0.03).run(target_of(net), data, Budget(), 0)


def test_distances_of_a_linear_model_are_its_margins() -> None:
    examples, margins = linear_examples("l2")
    result = CarliniWagner(steps=400).run(linear_target(), examples, Budget(), 0)
    np.testing.assert_allclose(result.examples["distance"], margins, rtol=0.03)
    assert (result.examples["distance"] >= margins * (1 - 1e-4)).all()


def test_every_distance_is_that_of_a_misread_input_within_the_bounds(result: AttackResult, data: Labelled) -> None:
    found, right = result.examples["found"], result.examples["right"]
    assert 0.1 < found.mean() < 1
    lengths = np.linalg.norm((result.examples["adversarial"] - data.x)[found].astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, result.examples["distance"][found], rtol=1e-5)
    assert np.isfinite(result.examples["distance"][right]).all()
    assert {check.name: check.outcome for check in result.checks}["within-threat"] is Verdict.PASS


def test_its_distances_are_as_small_as_those_of_fab(net: nn.Module, data: Labelled, result: AttackResult) -> None:
    fab = FabTargeted(ball=Ball(norm="l2", radius=0.5), steps=50).run(target_of(net), data, Budget(), 0)
    right = result.examples["right"]
    ratio = result.examples["distance"][right] / fab.examples["distance"][right]
    assert 0.9 < np.median(ratio) < 1.05


def test_the_rate_is_the_one_at_the_radius(net: nn.Module, data: Labelled, result: AttackResult) -> None:
    distance = result.examples["distance"]
    assert result.rate == (distance <= 0.5).sum() / result.n
    nothing = CarliniWagner(ball=Ball(norm="l2", radius=0.0), steps=50, weights=3).run(
        target_of(net), data, Budget(), 0
    )
    assert nothing.details["robust_accuracy"] == nothing.details["clean_accuracy"]


def test_features_that_cannot_change_do_not(net: nn.Module, data: Labelled) -> None:
    mutable = np.arange(64) % 2 == 0
    target = Target(TorchPredictor(net, classes=10), InputSpec(shape=(64,), mutable=mutable))
    result = CarliniWagner(ball=Ball(norm="l2", radius=4.0), steps=200, rate=0.03).run(target, data, Budget(), 0)
    assert result.rate is not None
    assert result.rate > 0.9
    assert np.array_equal(result.examples["adversarial"][:, ~mutable], data.x[:, ~mutable])


def test_confidence_costs_distance(net: nn.Module, data: Labelled, result: AttackResult) -> None:
    sure = CarliniWagner(steps=200, rate=0.03, confidence=2.0).run(target_of(net), data, Budget(), 0)
    assert np.nanmedian(sure.examples["distance"]) > 1.05 * np.nanmedian(result.examples["distance"])


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (
        {"ball": Ball(norm="linf", radius=0.1)},
        {"steps": 0},
        {"weights": 0},
        {"rate": 0.0},
        {"confidence": -1.0},
    ):
        with pytest.raises(ValueError):
            CarliniWagner(**wrong)


@pytest.mark.crosscheck
def test_its_distances_are_as_small_as_those_of_art(net: nn.Module, data: Labelled, result: AttackResult) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import CarliniL2Method
    from art.estimators.classification import PyTorchClassifier

    rows = np.flatnonzero(result.examples["right"])[:15]
    theirs = PyTorchClassifier(net, nn.CrossEntropyLoss(), (64,), 10, clip_values=(0, 1))
    attack = CarliniL2Method(theirs, max_iter=30, binary_search_steps=7, batch_size=15, verbose=False)
    changed = attack.generate(data.x[rows], np.eye(10, dtype=np.float32)[data.y[rows]])
    misled = theirs.predict(changed).argmax(1) != data.y[rows]
    lengths = np.linalg.norm(changed - data.x[rows], axis=1)[misled]
    assert misled.sum() >= 10
    assert np.median(result.examples["distance"][rows][misled] / lengths) <= 1.02
