"""Spectral signatures: what they find by construction, on a network, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.roc import roc_curve
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.sanitise.representation import represent
from wardline.robust.sanitise.spectral import spectral_signatures


def _inside(case, ranking) -> float:
    """The area within the attacked class, where the ranking is meant to be read."""
    rows = np.flatnonzero(case.data.y == case.poison.target)
    bad = np.isin(rows, case.relabelled)
    return roc_curve(ranking.scores[rows[bad]], ranking.scores[rows[~bad]]).auc


def test_a_second_population_far_from_its_class_comes_first():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 5)).astype(np.float32)
    x[:20, 2] += 12
    y = np.r_[np.zeros(200), np.ones(100)].astype(np.int64)
    linear = nn.Linear(5, 2)
    torch.nn.init.zeros_(linear.weight)
    ranking = spectral_signatures(TorchPredictor(linear, classes=2), x, y)
    assert ranking.quality(np.arange(20)).precision == 1


def test_scores_are_squared_projections_on_the_first_principal_component(digits, clean):
    from sklearn.decomposition import PCA

    rows = digits.y == 7
    ranking = spectral_signatures(clean.model, digits.x, digits.y)
    projected = PCA(n_components=1, svd_solver="full").fit_transform(represent(clean.model, digits.x).hidden[rows])
    np.testing.assert_allclose(ranking.scores[rows], projected[:, 0] ** 2, rtol=1e-6, atol=1e-8)


@pytest.mark.crosscheck
def test_scores_are_those_of_the_adversarial_robustness_toolbox(digits, clean):
    poison = pytest.importorskip("art.defences.detector.poison.spectral_signature_defense")
    rows = digits.y == 4
    hidden = represent(clean.model, digits.x).hidden[rows]
    # It projects rows as they are; the algorithm projects centred ones, so it is given those.
    theirs = poison.SpectralSignatureDefense.spectral_signature_scores(hidden - hidden.mean(axis=0))
    ours = spectral_signatures(clean.model, digits.x, digits.y).scores[rows]
    np.testing.assert_allclose(ours, theirs[:, 0] ** 2, rtol=1e-6, atol=1e-8)


def test_patched_rows_stand_out_and_an_equal_share_of_the_class_hides_them(patched, veiled):
    found = spectral_signatures(patched.model, patched.data.x, patched.data.y)
    assert _inside(patched, found) > 0.65
    # Adapted: as many poisoned rows as clean ones in the class lie equally far from their common mean.
    hidden = spectral_signatures(veiled.model, veiled.data.x, veiled.data.y)
    assert _inside(veiled, hidden) < 0.65


def test_labels_must_be_as_many_as_inputs(digits, clean):
    with pytest.raises(ValueError, match="as many labels"):
        spectral_signatures(clean.model, digits.x, digits.y[:-1])
