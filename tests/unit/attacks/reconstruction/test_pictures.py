from __future__ import annotations

import numpy as np
import pytest
import torch

from wardline.attacks.reconstruction.pictures import MOST_DB, psnr, total_variation


def test_psnr_is_that_of_the_mean_squared_error_and_ends_where_there_is_none() -> None:
    true = np.zeros((2, 4), dtype=np.float32)
    found = np.array([[0.1, 0.1, 0.1, 0.1], [0, 0, 0, 0]], dtype=np.float32)
    near = psnr(found, true, value_range=1.0)
    assert near[0] == pytest.approx(20.0, abs=1e-4)
    assert near[1] == MOST_DB
    np.testing.assert_allclose(psnr(10 * found, true, value_range=10.0), near, atol=1e-4)


def test_a_flat_picture_has_no_variation_and_an_edge_has() -> None:
    flat, edge = torch.full((1, 1, 4, 4), 0.7), torch.zeros((1, 1, 4, 4))
    edge[..., 2:] = 1.0
    assert total_variation(flat).item() == 0
    assert total_variation(edge).item() == pytest.approx(1 / 3)
