from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.reconstruction.matching import GradientMatching, infer_class
from wardline.attacks.reconstruction.sharing import Defence, GradientData, Simulation
from wardline.core import Seeds, Verdict, canonical_json
from wardline.models import Mlp, build, torch_generator
from wardline.models.torch_predictor import TorchPredictor


def _network() -> nn.Module:
    """A small network with sigmoids, as the papers use: second derivatives tell where to go."""
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, stride=2), nn.Sigmoid(), nn.Conv2d(8, 8, 3, padding=1), nn.Sigmoid(),
        nn.Flatten(), nn.Linear(8 * 4 * 4, 4),
    )  # fmt: skip
    generator = torch_generator(Seeds(0), "network")
    with torch.no_grad():
        for value in network.parameters():
            value.uniform_(-0.5, 0.5, generator=generator)
    return network


NETWORK = _network()
TARGET = Target(TorchPredictor(NETWORK, classes=4), InputSpec(shape=(1, 8, 8)))


def _pictures(count: int, stream: str) -> np.ndarray:
    """Discs of random place and size on black."""
    generator = Seeds(2).numpy(stream)
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)))
    middle = generator.uniform(2, 6, size=(count, 2, 1, 1))
    apart = np.sqrt(((grid[None] - middle) ** 2).sum(axis=1))
    pictures = np.clip(generator.uniform(1.5, 3, size=(count, 1, 1)) - apart + 0.5, 0, 1)
    return pictures[:, None].astype(np.float32)


X, Y = _pictures(6, "private"), np.arange(6) % 4
PRIOR = _pictures(200, "public")


def _data(defence: Defence | None = None, *, batch: int = 1) -> GradientData:
    return GradientData.collect(Simulation(NETWORK, defence=defence, seeds=Seeds(1)), X, Y, batch=batch, prior=PRIOR)


def test_an_undefended_gradient_gives_its_row_away() -> None:
    result = GradientMatching(objective="idlg", steps=250).run(TARGET, _data(), Budget(), 0)
    assert result.rate == 1.0
    assert result.verdict is Verdict.FAIL
    assert result.details["psnr_db"]["mean"] > 50
    assert result.details["classes_inferred"] == 1.0
    assert result.gradients == result.queries == 250 * 6


@pytest.mark.parametrize(("objective", "gain_db"), [("dlg", 7), ("cosine", 5)])
def test_other_objectives_find_far_more_than_a_guess(objective: str, gain_db: float) -> None:
    result = GradientMatching(objective=objective, steps=250).run(TARGET, _data(), Budget(), 0)
    assert result.details["psnr_db"]["mean"] > result.details["psnr_of_guess_db"]["mean"] + gain_db


def test_the_class_is_read_off_the_last_layer() -> None:
    for gradients, classes in zip(_data().gradients, _data().y, strict=True):
        assert infer_class(gradients, 4) == classes[0]
    with pytest.raises(ValueError, match="last layer"):
        infer_class({"weight": np.zeros((3, 2))}, 5)


def test_the_wide_part_behind_the_head_does_not_hide_the_class() -> None:
    """Its inputs have any sign, and it stands last."""
    architecture = Mlp(inputs=6, hidden=(5,), classes=4, linear_inputs=3)
    network = build(architecture, generator=torch_generator(Seeds(1), "wide"))
    for label in range(4):
        row = torch.cat([torch.full((1, 6), 0.5), torch.full((1, 3), -1.0)], dim=1)
        loss = functional.cross_entropy(network(row), torch.tensor([label]))
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        gradients = {name: value.numpy() for (name, _), value in zip(network.named_parameters(), slopes, strict=True)}
        assert list(gradients)[-1] == "wide.weight"
        assert infer_class(gradients, 4) == label


def test_clipping_hides_nothing_from_who_clips_as_well() -> None:
    result = GradientMatching(steps=150).run(TARGET, _data(Defence(clip_norm=0.1)), Budget(), 0)
    assert result.rate >= 5 / 6


def test_noise_of_dp_sgd_leaves_no_more_than_a_guess_and_the_control_works() -> None:
    defence = Defence.dp_sgd(clip_norm=0.5, noise_multiplier=1.0, batch=1)
    result = GradientMatching(steps=120).run(TARGET, _data(defence), Budget(tolerated=0.4), 0)
    assert result.rate == 0.0
    assert {check.name: check.outcome for check in result.checks}["control"] is Verdict.PASS
    assert result.details["psnr_db"]["mean"] < result.details["psnr_of_guess_db"]["mean"] + 1


def test_a_batch_of_two_rows_is_reconstructed_by_who_knows_their_classes() -> None:
    result = GradientMatching(steps=300).run(TARGET, _data(batch=2), Budget(), 0)
    assert result.rate >= 0.5
    assert "classes" in result.threat.knowledge


def test_a_budget_that_ends_the_search_is_told() -> None:
    result = GradientMatching(steps=250).run(TARGET, _data(), Budget(queries=60), 0)
    assert result.n == 0
    assert result.queries == 60
    assert result.verdict is Verdict.INCONCLUSIVE
    assert next(check for check in result.checks if check.name == "budget").outcome is Verdict.INCONCLUSIVE


def test_the_same_seed_gives_the_same_json_and_another_one_another() -> None:
    attack = GradientMatching(steps=10)
    first, second, other = (canonical_json(attack.run(TARGET, _data(), Budget(), seed).to_json()) for seed in (1, 1, 2))
    assert first == second != other


def test_bad_settings_are_refused() -> None:
    for wrong in ({"objective": "guess"}, {"steps": 0}, {"starts": 0}, {"learning_rate": 0.0}, {"smooth": -1.0}):
        with pytest.raises(ValueError):
            GradientMatching(**wrong)
