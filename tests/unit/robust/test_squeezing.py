"""Squeezers against their definitions, and gradients that pass them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from torch import nn

from wardline.models.predictor import Differentiable
from wardline.robust.squeezing import BitDepth, MedianSmoothing, Squeezed, SqueezingDetector, squeezing_scores

IMAGES = np.random.default_rng(0).random((5, 2, 9, 7)).astype(np.float32)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(126, 3)).eval()


def test_bit_depth_rounds_to_the_levels_between_the_bounds() -> None:
    x = torch.tensor([[0.0, 0.2, 0.49, 0.51, 1.0]])
    assert BitDepth(bits=1).squeeze(x).tolist() == [[0, 0, 0, 1, 1]]
    torch.testing.assert_close(BitDepth(bits=2).squeeze(x), torch.tensor([[0, 1 / 3, 1 / 3, 2 / 3, 1]]))
    centred = BitDepth(bits=1, low=-1, high=1)
    assert centred.squeeze(torch.tensor([[-0.2, 0.3]])).tolist() == [[-1, 1]]
    once = BitDepth(bits=3).squeeze(torch.from_numpy(IMAGES))
    assert torch.equal(BitDepth(bits=3).squeeze(once), once)


def test_an_odd_median_is_that_of_scipy() -> None:
    found = MedianSmoothing(size=3).squeeze(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_array_equal(found, median_filter(IMAGES, size=(1, 1, 3, 3), mode="mirror"))


def test_an_even_median_removes_single_pixels_and_keeps_the_shape() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 4, 4] = 1
    assert MedianSmoothing(size=2).squeeze(x).abs().sum() == 0
    assert MedianSmoothing(size=2).squeeze(torch.from_numpy(IMAGES)).shape == IMAGES.shape


def test_a_squeezed_network_answers_on_squeezed_inputs_and_lets_gradients_through() -> None:
    squeezer = BitDepth(bits=1)
    predictor = Squeezed(network(), squeezer, classes=3)
    assert isinstance(predictor, Differentiable)
    seen = squeezer.squeeze(torch.from_numpy(IMAGES))
    np.testing.assert_allclose(predictor.answer(IMAGES), network()(seen).detach().numpy(), rtol=1e-6)
    x = torch.from_numpy(IMAGES).requires_grad_(True)
    logits = predictor.network()(x)
    torch.testing.assert_close(logits, network()(seen))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    torch.testing.assert_close(gradient[0].flatten(), network()[1].weight[0])
    blocked = network()(squeezer.squeeze(x))
    assert torch.autograd.grad(blocked[:, 0].sum(), x)[0].abs().sum() == 0, "the control: rounding has no gradient"


def test_scores_are_the_largest_move_of_the_probabilities() -> None:
    squeezers = (BitDepth(bits=1), MedianSmoothing(size=2))
    plain = network()(torch.from_numpy(IMAGES)).softmax(1)
    moves = [(network()(one.squeeze(torch.from_numpy(IMAGES))).softmax(1) - plain).abs().sum(1) for one in squeezers]
    wanted = torch.stack(moves).amax(0).detach().numpy()
    np.testing.assert_allclose(squeezing_scores(network(), IMAGES, squeezers), wanted, rtol=1e-4, atol=1e-6)
    detector = SqueezingDetector.calibrated(network(), IMAGES, squeezers=squeezers)
    assert not detector.alarms(IMAGES, false_alarm_rate=0.2).all()


def test_settings_out_of_range_and_what_is_no_image_are_refused() -> None:
    for make in (lambda: BitDepth(bits=0), lambda: BitDepth(bits=2, low=1, high=0), lambda: MedianSmoothing(size=1)):
        with pytest.raises(ValueError, match="must be"):
            make()
    with pytest.raises(ValueError, match="takes images"):
        MedianSmoothing().squeeze(torch.zeros(3, 10))
    with pytest.raises(ValueError, match="takes images"):
        MedianSmoothing(size=3).squeeze(torch.zeros(3, 1, 3, 3))
