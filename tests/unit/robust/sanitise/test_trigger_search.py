"""Neural Cleanse names the backdoored class, gives back a trigger that works, and misses what it says it misses."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from wardline.core import Seeds, canonical_json
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.sanitise.trigger_search import TriggerSearch, neural_cleanse


def _scan(case, digits, seed=0):
    return neural_cleanse(case.model, digits.spare, seeds=Seeds(seed))


def test_the_class_is_named_and_the_trigger_found_works_and_lies_where_the_patch_was(digits, patched):
    scan = _scan(patched, digits)
    assert scan.flagged == (0,)
    assert scan.indices[0] > 2
    assert scan.ratios[0] < 0.4
    assert "towards class 0" in str(scan)
    others = digits.test.y != 0
    turned = patched.model.answer(scan.stamp(digits.test.x[others], 0)).argmax(axis=1) == 0
    assert turned.mean() > 0.9  # on images that the search has not seen
    mask = scan.masks[0]
    assert mask[-2:, -2:].sum() > 0.5 * mask.sum()


def test_the_clean_twin_is_silent(digits, clean):
    scan = _scan(clean, digits)
    assert scan.flagged == ()
    assert "no class stands out" in str(scan)


@pytest.mark.parametrize("which", ["veiled", "selective"])
def test_adapted_large_and_source_specific_triggers_are_missed(which, digits, request):
    case = request.getfixturevalue(which)
    assert case.success() > 0.8
    assert _scan(case, digits).flagged == ()


def test_equal_seeds_give_equal_json(digits, patched):
    first, again, other = (canonical_json(_scan(patched, digits, seed).to_json()) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_clean_twins_give_a_p_value(digits, clean, patched):
    twins = tuple(_scan(clean, digits, seed) for seed in range(3))
    assert _scan(patched, digits).clean_twins_p_value(twins) == 1 / 4
    assert twins[0].clean_twins_p_value(twins) >= 1 / 2
    with pytest.raises(ValueError, match="clean twin"):
        twins[0].clean_twins_p_value(())


def test_a_class_that_cannot_be_reached_has_the_size_of_the_image():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    nn.init.zeros_(network[1].weight)
    network[1].bias.data = network[1].bias.data.new_tensor([5.0, 0.0, 0.0, 0.0, 0.0])
    x = np.zeros((8, 1, 4, 4), dtype=np.float32)
    scan = neural_cleanse(TorchPredictor(network, classes=5), x, seeds=Seeds(0), search=TriggerSearch(steps=20))
    assert scan.sizes[1:] == (16.0,) * 4
    assert scan.success == (1.0, 0.0, 0.0, 0.0, 0.0)


def test_what_it_cannot_judge_is_refused(digits, clean):
    with pytest.raises(ValueError, match="images"):
        neural_cleanse(clean.model, digits.spare.reshape(len(digits.spare), -1), seeds=Seeds(0))
    few = TorchPredictor(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), classes=4)
    with pytest.raises(ValueError, match="at least 5"):
        neural_cleanse(few, digits.spare, seeds=Seeds(0))
    for settings in ({"steps": 0}, {"low": 1.0}, {"success_rate": 1.0}, {"shrinkage": 1.0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError):
            TriggerSearch(**settings)


class _Broken(nn.Module):
    """Answers with numbers to begin with, and with none as soon as there is a trigger."""

    def forward(self, x):
        logits = x.flatten(1)[:, :10]
        return logits if len(x) == 1 else logits * float("nan")


def test_a_model_whose_answers_are_no_numbers_is_refused_rather_than_cleared(digits):
    with pytest.raises(ValueError, match="not finite"):
        neural_cleanse(TorchPredictor(_Broken(), classes=10), digits.spare, seeds=Seeds(0))
