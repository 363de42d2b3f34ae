"""Corruptions do what their names say, more at each severity, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from wardline.core import Seeds
from wardline.robust.corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt


def pictures(channels: int = 3, height: int = 32, width: int = 32, rows: int = 24) -> np.ndarray:
    """Smooth coloured pictures with an edge."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[0:height, 0:width] / max(height, width)
    waves = rng.random((rows, channels, 4, 1, 1))
    smooth = 0.5 + 0.3 * np.sin(6 * waves[:, :, 0] * down + 6 * waves[:, :, 1] * across + 6 * waves[:, :, 2])
    return np.clip(smooth + 0.2 * (across > waves[:, :, 3]), 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 24, 40)], ids=str)
def test_images_of_any_size_stay_images_and_change_more_at_each_severity(kind: Corruption, shape) -> None:
    x = pictures(*shape)
    before = x.copy()
    moved = []
    for severity in SEVERITIES:
        found = corrupt(x, kind, severity=severity, seeds=Seeds(1))
        assert found.shape == x.shape
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert found.max() <= 1
        moved.append(float(np.abs(found - x).mean()))
        assert moved[-1] > 0 or min(shape[1:]) < 16, (kind, severity)
    assert (x == before).all()
    assert moved[-1] > moved[0]
    if min(shape[1:]) >= 24:
        assert all(later > 0.9 * earlier for earlier, later in itertools.pairwise(moved)), moved


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_same_seed_gives_the_same_images_in_any_order_and_another_does_not(kind: Corruption) -> None:
    x = pictures(rows=6)
    first = corrupt(x, kind, severity=3, seeds=Seeds(5))
    corrupt(x, "fog", severity=1, seeds=Seeds(5))
    state = torch.get_rng_state()
    assert (corrupt(x, kind, severity=3, seeds=Seeds(5)) == first).all()
    assert torch.equal(torch.get_rng_state(), state)
    fixed = kind in {"defocus_blur", "brightness", "contrast", "pixelate"}
    assert (corrupt(x, kind, severity=3, seeds=Seeds(6)) == first).all() == fixed


def test_each_corruption_is_what_it_is_called() -> None:
    grey = np.full((40, 1, 32, 32), 0.5, dtype=np.float32)

    def at(kind: Corruption, x: np.ndarray = grey, severity: int = 5) -> np.ndarray:
        return corrupt(x, kind, severity=severity, seeds=Seeds(0))

    assert abs(at("gaussian_noise").std() - 0.10) < 0.002
    assert abs(at("shot_noise").std() - np.sqrt(0.5 / 50)) < 0.002
    assert abs(np.isin(at("impulse_noise"), [0, 1]).mean() - 0.07) < 0.005
    np.testing.assert_allclose(at("brightness"), 0.8, rtol=1e-5)
    half = np.where(np.arange(32) < 16, 0.2, 0.8).astype(np.float32) * np.ones((2, 3, 32, 1), np.float32)
    np.testing.assert_allclose(at("contrast", half)[..., 0], 0.5 - 0.3 * 0.15, rtol=1e-5)
    for kind in ("defocus_blur", "motion_blur", "rotation", "translation", "scale", "pixelate"):
        np.testing.assert_allclose(at(kind), 0.5, atol=1e-5, err_msg=kind)
    dot = np.zeros((9, 1, 33, 33), dtype=np.float32)
    dot[:, :, 16, 16] = 1
    for kind in ("defocus_blur", "motion_blur"):
        np.testing.assert_allclose(at(kind, dot).sum(axis=(1, 2, 3)), 1, rtol=1e-3, err_msg=kind)
    assert at("defocus_blur", dot).max() < 0.3
    fog = at("fog")
    assert fog.std() > 0.05
    assert np.abs(np.diff(fog, axis=3)).mean() < 0.5 * fog.std(), "clouds are smooth"
    assert at("snow").mean() > 0.55


def test_displacements_have_the_size_that_is_said() -> None:
    x = np.zeros((30, 1, 64, 64), dtype=np.float32)
    x[:, :, 28:36, 28:36] = 1
    rows, columns = np.mgrid[0:64, 0:64]

    def centres(images: np.ndarray) -> np.ndarray:
        mass = images.sum(axis=(1, 2, 3))
        return np.stack([(images * axis).sum(axis=(1, 2, 3)) / mass for axis in (rows, columns)], axis=1)

    moved = centres(corrupt(x, "translation", severity=5, seeds=Seeds(0))) - centres(x)
    np.testing.assert_allclose(np.hypot(*moved.T), 0.18 * 64, rtol=0.01)
    bar = np.zeros((30, 1, 48, 96), dtype=np.float32)
    bar[:, :, 23:25, 28:68] = 1
    turned = corrupt(bar, "rotation", severity=5, seeds=Seeds(0))
    rows, columns = np.mgrid[0:48, 0:96]
    for image in turned[:, 0]:
        weight = image / image.sum()
        down, across = rows - (weight * rows).sum(), columns - (weight * columns).sum()
        tilt = 0.5 * np.arctan2(2 * (weight * down * across).sum(), (weight * (across**2 - down**2)).sum())
        assert abs(abs(np.degrees(tilt)) - 30) < 1.5
    sizes = corrupt(x, "scale", severity=5, seeds=Seeds(0)).sum(axis=(1, 2, 3)) / 64
    grown = sizes > 1
    np.testing.assert_allclose(sizes[grown], 1.6**2, rtol=0.05)
    np.testing.assert_allclose(sizes[~grown], 1.6**-2, rtol=0.05)
    assert 0 < grown.sum() < 30


@pytest.mark.parametrize(
    ("x", "kind", "severity"),
    [
        (pictures(), "hail", 1),
        (pictures(), "fog", 0),
        (pictures() * 255, "fog", 1),
        (pictures().astype(np.float64), "fog", 1),
        (pictures()[:, 0], "fog", 1),
        (pictures(1, 6, 32), "fog", 1),
    ],
    ids=["kind", "severity", "bounds", "type", "axes", "size"],
)
def test_what_cannot_be_corrupted_is_refused(x, kind, severity) -> None:
    with pytest.raises(ValueError, match="must"):
        corrupt(x, kind, severity=severity, seeds=Seeds(0))
