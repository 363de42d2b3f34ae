"""Equation solving: exact weights from few answers, and what rounding and silence about scores cost the thief."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.extraction.equations import Equations, draw
from wardline.attacks.extraction.theft import ExtractionData
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import UsageError, Verdict
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.answers import Rounded, TopOnly


def linear(features, classes, *, seed=0):
    """A softmax model whose classes all occur in the unit cube."""
    rng = np.random.default_rng(seed)
    weights = 2 * rng.normal(size=(classes, features))
    module = nn.Linear(features, classes)
    with torch.no_grad():
        module.weight[:] = torch.from_numpy(weights)
        module.bias[:] = torch.from_numpy(rng.normal(size=classes) - weights.sum(axis=1) / 2)
    return module


def weights_of(module):
    """Weights and offset, without the part that all classes share."""
    layer = next(part for part in module.modules() if isinstance(part, nn.Linear))
    found = torch.hstack([layer.weight, layer.bias[:, None]]).detach().numpy().astype(np.float64)
    return found - found.mean(axis=0)


def stolen(module, *, defence=lambda p: p, spec=None, attack=None, access=None, budget=None, seed=0):
    features, classes = module.in_features, module.out_features
    spec = spec or InputSpec(shape=(features,))
    rng = np.random.default_rng(1)
    data = ExtractionData(pool=draw(spec, 300, rng), held_out=draw(spec, 1000, rng))
    target = Target(defence(TorchPredictor(module, classes=classes)), spec, access=access)
    result = (attack or Equations()).run(target, data, budget or Budget(), seed)
    return result, target


@pytest.mark.parametrize(("features", "classes"), [(10, 2), (20, 5), (40, 10)])
@pytest.mark.parametrize("softmax", [False, True])
def test_scores_of_one_more_input_than_features_give_the_exact_weights(features, classes, softmax):
    module = linear(features, classes)

    def defence(predictor):
        gives_probabilities = nn.Sequential(module, nn.Softmax(dim=1))
        return TorchPredictor(gives_probabilities, classes=classes, gives="probabilities") if softmax else predictor

    result, _ = stolen(module, defence=defence, access=Access.SCORES)
    truth, found = weights_of(module), weights_of(result.examples["copy"].network())
    assert np.abs(found - truth).max() <= 1e-4 * np.abs(truth).max()
    assert result.rate == 1.0
    assert result.details["attack_queries"] == features + 1 + 16  # sixteen of them test the solution
    assert result.verdict is Verdict.FAIL
    assert result.chance < 0.9


@pytest.mark.parametrize(("decimals", "error", "agreement"), [(4, 0.005, 0.995), (2, 0.06, 0.98)])
def test_rounded_answers_cost_more_questions_and_still_give_the_weights(decimals, error, agreement):
    module = linear(20, 3)
    result, _ = stolen(module, defence=lambda p: Rounded(p, decimals=decimals))
    truth, found = weights_of(module), weights_of(result.examples["copy"].network())
    assert np.abs(found - truth).max() <= error * np.abs(truth).max()
    assert result.rate >= agreement
    assert 37 < result.details["attack_queries"] <= 20 * 21 + 32


@pytest.mark.parametrize(("features", "classes"), [(10, 2), (15, 4)])
def test_labels_alone_give_the_weights_up_to_a_factor(features, classes):
    module = linear(features, classes)
    result, _ = stolen(module, defence=TopOnly)
    truth, found = weights_of(module), weights_of(result.examples["copy"].network())
    factor = (truth * found).sum() / (found**2).sum()
    assert factor > 0
    assert np.abs(factor * found - truth).max() <= 1e-4 * np.abs(truth).max()
    assert result.rate >= 0.999
    assert result.details["attack_queries"] <= 60 * (classes - 1) * (features + 1)


GROUPED = InputSpec(
    shape=(6,),
    low=np.array([-5, 0, 0, 0, 0, 0], dtype=np.float32),
    high=np.array([5, 100, 9, 1, 1, 1], dtype=np.float32),
    steps=np.array([0, 0, 1, 0, 0, 0], dtype=np.float32),
    groups=((3, 4, 5),),
    mutable=np.array([True, False, True, True, True, True]),
)


@pytest.mark.parametrize("access", [Access.SCORES, Access.LABELS])
def test_only_admissible_inputs_are_asked_about_and_all_admissible_ones_are_copied(access):
    module = linear(6, 2)
    with torch.no_grad():
        module.weight[:] = torch.tensor([[0.0] * 6, [1.0, 0.05, -0.4, 1.0, -1.0, 0.3]])
        module.bias[:] = torch.tensor([0.0, -1.0])
    asked = []

    class Listening(TorchPredictor):
        def answer(self, x):
            asked.append(x.copy())
            return super().answer(x)

    spec = InputSpec(shape=(6,), low=GROUPED.low, high=GROUPED.high, steps=GROUPED.steps, groups=GROUPED.groups)
    result, _ = stolen(module, defence=lambda p: Listening(module, classes=2), spec=GROUPED, access=access)
    rows = np.concatenate(asked)
    assert spec.admissible(rows, rows).all()
    on_grid = np.abs(rows[:, 2] - np.round(rows[:, 2])).max()
    assert on_grid < 1e-3
    assert result.rate >= 0.999


def test_a_model_that_is_not_linear_is_not_called_withstanding():
    torch_layers = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in torch_layers.parameters():
            parameter.normal_(generator=generator)
    rng = np.random.default_rng(0)
    data = ExtractionData(pool=rng.random((100, 8), dtype=np.float32), held_out=rng.random((500, 8), dtype=np.float32))
    target = Target(TorchPredictor(torch_layers, classes=2), InputSpec(shape=(8,)), access=Access.SCORES)
    result = Equations().run(target, data, Budget(tolerated=0.99), 0)
    assert result.rate < 0.99
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_cap_ends_the_attack_and_that_is_said():
    module = linear(20, 2)
    result, target = stolen(module, access=Access.SCORES, budget=Budget(queries=1064 + 12))
    assert target.ledger.queries <= 1076
    assert result.details["attack_queries"] == 12
    assert result.rate < 1.0


def test_equal_seeds_give_equal_json():
    for defence in (lambda p: p, TopOnly):
        first, again = (stolen(linear(10, 3), defence=defence, seed=5)[0].to_json() for _ in "ab")
        assert first == again


def test_bisection_needs_a_continuous_feature():
    spec = InputSpec(shape=(3,), groups=((0, 1, 2),))
    with pytest.raises(UsageError, match="continuous"):
        stolen(linear(3, 2), defence=TopOnly, spec=spec)
