import numpy as np
import pytest
import torch

from wardline.core import SecureRandom, Seeds
from wardline.dp.training.noise import ROUNDING_MARGIN, noisy_sum


def noisy(total, *, noise_multiplier=1.0, clip_norm=1.0, random=None):
    return noisy_sum(total, noise_multiplier=noise_multiplier, clip_norm=clip_norm, random=random or SecureRandom())


@pytest.mark.parametrize(
    "random", [Seeds(0), np.random.default_rng(0), np.random.RandomState(0), torch.Generator(), 0, "secure"]
)
def test_nothing_that_can_be_seeded_is_accepted(random):
    with pytest.raises(TypeError, match="SecureRandom"):
        noisy_sum({"w": torch.zeros(2)}, noise_multiplier=1.0, clip_norm=1.0, random=random)


@pytest.mark.parametrize(
    ("noise_multiplier", "clip_norm"),
    [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0), (1e300, 1e300), (1e-300, 1e-300)],
)
def test_noise_of_no_or_no_finite_size_is_refused(noise_multiplier, clip_norm):
    with pytest.raises(ValueError, match="standard deviation"):
        noisy({"w": torch.zeros(2)}, noise_multiplier=noise_multiplier, clip_norm=clip_norm)


def test_shapes_and_names_stay_and_the_sum_is_not_changed():
    total = {"a": torch.ones(3, 2, dtype=torch.float64), "b": torch.zeros((), dtype=torch.float64)}
    found = noisy(total)
    assert {name: value.shape for name, value in found.items()} == {"a": (3, 2), "b": ()}
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert torch.equal(total["a"], torch.ones(3, 2, dtype=torch.float64))


@pytest.mark.parametrize("std", [3e-9, 0.3, 1.0, 700.0])
def test_results_lie_on_a_grid_that_says_nothing_about_low_bits(std):
    # Two sums that differ only far below the noise: unrounded, their noisy values would have other low-order bits.
    for value in (0.0, std / 3 * (1 + 2**-40)):
        found = noisy({"w": torch.full((4096,), value, dtype=torch.float64)}, clip_norm=std)["w"].double()
        grid = 2.0 ** (np.floor(np.log2(std * (1 + ROUNDING_MARGIN))) - 20)
        assert torch.equal(torch.round(found / grid) * grid, found)
        # The control: the grid is not coarser than it need be, about a million steps to a standard deviation.
        assert not torch.equal(torch.round(found / (2 * grid)) * (2 * grid), found)
        assert 2**-21 <= grid / std <= 2**-19


def test_rounding_moves_a_sum_by_no_more_than_half_the_grid():
    total = torch.linspace(-5, 5, 999, dtype=torch.float64)
    noise = noisy({"w": total}, noise_multiplier=1e-4)["w"].double() - total
    assert float(noise.abs().max()) < 1e-4 * 10 + 5 * 2**-23


def test_two_sums_get_different_noise():
    random = SecureRandom()
    total = {"w": torch.zeros(64, dtype=torch.float64)}
    assert not torch.equal(noisy(total, random=random)["w"], noisy(total, random=random)["w"])
    assert not torch.equal(noisy(total)["w"], noisy(total)["w"])
