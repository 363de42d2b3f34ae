"""The last hidden layer is what the last linear layer is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.sanitise.representation import represent


def test_logits_are_the_last_layer_of_what_was_seen(digits, clean):
    seen = represent(clean.model, digits.x)
    head = next(module for name, module in clean.model.network().named_modules() if name.endswith("head"))
    expected = seen.hidden @ head.weight.double().numpy().T + head.bias.double().numpy()
    np.testing.assert_allclose(seen.logits, expected, atol=1e-4)
    np.testing.assert_allclose(seen.logits, clean.model.answer(digits.x), atol=1e-5)
    assert seen.hidden.shape == (len(digits.x), 64)


def test_losses_and_probabilities_are_those_of_torch(digits, clean):
    seen = represent(clean.model, digits.x)
    logits, labels = torch.from_numpy(seen.logits), torch.from_numpy(digits.y)
    np.testing.assert_allclose(seen.probabilities(), logits.softmax(dim=1).numpy(), atol=1e-12)
    expected = functional.cross_entropy(logits, labels, reduction="none").numpy()
    np.testing.assert_allclose(seen.losses(digits.y), expected, atol=1e-12)


def test_a_network_without_a_linear_layer_of_rows_is_refused():
    x = np.zeros((2, 1, 4, 4), dtype=np.float32)
    flat = nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten())
    with pytest.raises(ValueError, match="no linear layer"):
        represent(TorchPredictor(flat, classes=2), x)
    per_pixel = nn.Sequential(nn.Linear(4, 2), nn.Flatten(), nn.AvgPool1d(4))
    with pytest.raises(ValueError, match="one vector"):
        represent(TorchPredictor(per_pixel, classes=2), x)
