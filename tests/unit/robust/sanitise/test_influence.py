"""Influence and loss along the training: gradients checked against autograd, and what the rankings find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from wardline.core import Seeds
from wardline.robust.sanitise.influence import influence_on, late_learners, loss_trajectories, self_influence


def test_self_influence_is_the_squared_gradient_of_the_last_layer(digits, flipped):
    checkpoints = flipped.checkpoints[-2:]
    rows = slice(0, 4)
    x, y = flipped.data.x[rows], flipped.data.y[rows]
    expected = np.zeros(4)
    for checkpoint in checkpoints:
        network = checkpoint.predictor.network().double()
        head = [part for part in network.modules() if isinstance(part, torch.nn.Linear)][-1].requires_grad_()
        for row in range(4):
            logits = network(torch.from_numpy(x[row : row + 1]).double())
            gradients = torch.autograd.grad(
                functional.cross_entropy(logits, torch.from_numpy(y[row : row + 1])), list(head.parameters())
            )
            expected[row] += checkpoint.learning_rate * sum(float((one**2).sum()) for one in gradients)
    np.testing.assert_allclose(self_influence(checkpoints, x, y).scores, expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("rank", [self_influence, late_learners])
def test_wrong_labels_come_first(flipped, rank):
    assert rank(flipped.checkpoints, flipped.data.x, flipped.data.y).quality(flipped.relabelled).auc > 0.9


@pytest.mark.parametrize("rank", [self_influence, late_learners])
def test_adapted_a_backdoor_is_learned_so_fast_that_it_ranks_low(veiled, rank):
    assert rank(veiled.checkpoints, veiled.data.x, veiled.data.y).quality(veiled.relabelled).auc < 0.5


@pytest.mark.parametrize("which", ["patched", "veiled"])
def test_from_five_suspects_influence_leads_back_to_the_poison(which, request):
    case = request.getfixturevalue(which)
    suspects = case.triggered()[:5]
    ranking = influence_on(
        case.checkpoints, case.data.x, case.data.y, suspects=suspects, predicted=np.zeros(5, dtype=np.int64)
    )
    assert ranking.quality(case.relabelled).auc > 0.95


def test_adapted_covers_are_not_found(selective):
    suspects = selective.triggered()[:5]
    ranking = influence_on(
        selective.checkpoints,
        selective.data.x,
        selective.data.y,
        suspects=suspects,
        predicted=np.zeros(5, dtype=np.int64),
    )
    covers = np.setdiff1d(selective.data.rows, selective.relabelled)
    assert ranking.quality(selective.relabelled).auc > 0.9
    assert ranking.quality(covers).auc < 0.6


def test_taking_out_what_taught_the_suspects_removes_the_backdoor(patched, learner):
    suspects = patched.triggered()[:5]
    ranking = influence_on(
        patched.checkpoints, patched.data.x, patched.data.y, suspects=suspects, predicted=np.zeros(5, dtype=np.int64)
    )
    kept = ranking.keep(2 * len(patched.relabelled))
    cleaned = learner(patched.data.x[kept], patched.data.y[kept], seeds=Seeds(0))
    assert patched.success() > 0.95
    assert patched.success(cleaned) < 0.2
    assert patched.accuracy(cleaned) > patched.accuracy() - 0.05


def test_losses_fall_along_the_training(clean):
    losses = loss_trajectories(clean.checkpoints, clean.data.x, clean.data.y)
    assert losses.shape == (5, len(clean.data.y))
    assert (np.diff(losses.mean(axis=1)) < 0).all()


def test_what_is_missing_is_told(digits, clean):
    with pytest.raises(ValueError, match="checkpoint"):
        self_influence((), digits.x, digits.y)
    with pytest.raises(ValueError, match="suspects"):
        influence_on(clean.checkpoints, digits.x, digits.y, suspects=digits.x[:0], predicted=digits.y[:0])
