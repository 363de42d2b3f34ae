"""What noise does to reconstruction from gradients, over enough rows to tell."""

from __future__ import annotations

import itertools

import numpy as np
from torch import nn

from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.reconstruction.first_layer import FirstLayer
from wardline.attacks.reconstruction.sharing import Defence, GradientData, Simulation
from wardline.core import Seeds
from wardline.models import Mlp, build, torch_generator
from wardline.models.torch_predictor import TorchPredictor

ROWS = 200
NETWORK = nn.Sequential(
    nn.Flatten(), build(Mlp(inputs=64, hidden=(32,), classes=4), generator=torch_generator(Seeds(3), "network"))
)
TARGET = Target(TorchPredictor(NETWORK, classes=4), InputSpec(shape=(1, 8, 8)))
LADDER = (0.0, 1e-4, 1e-3, 1e-2)


def _nearness(noise: float) -> np.ndarray:
    generator = Seeds(5).numpy("rows")
    x, y = generator.random((ROWS, 1, 8, 8), dtype=np.float32), generator.integers(4, size=ROWS)
    sharer = Simulation(NETWORK, defence=Defence(noise=noise), seeds=Seeds(6).child(str(noise)))
    result = FirstLayer().run(TARGET, GradientData.collect(sharer, x, y), Budget(), 0)
    return np.array(result.details["psnr_db"]["each"])


def test_nearness_falls_with_noise_at_every_step() -> None:
    """Each step must cost 3 dB by more than six standard errors of the paired difference: a false alarm, and a step
    that is taken for a loss of 3 dB and is none, has a chance below 1e-8 each. The attack is the adapted one.
    """
    near = [_nearness(noise) for noise in LADDER]
    assert near[0].min() > 90
    for less, more in itertools.pairwise(near):
        apart = less - more
        assert apart.mean() - 6 * apart.std(ddof=1) / np.sqrt(ROWS) > 3
