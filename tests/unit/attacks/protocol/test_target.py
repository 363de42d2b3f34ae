"""A target gives an adversary what the threat model says, counts it, and gives no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.protocol.ledger import BudgetSpent, QueryLedger
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor
from wardline.models.torch_predictor import TorchPredictor

X = np.random.default_rng(0).random((6, 3)).astype(np.float32)
SPEC = InputSpec(shape=(3,))
NET = nn.Linear(3, 4)
PROBS = CallablePredictor(
    lambda x: np.concatenate([1 - x[:, :1], x[:, :1]], axis=1), form=AnswerForm(gives="probabilities", classes=2)
)
LABELS = CallablePredictor(lambda x: x[:, 0] > 0.5, form=AnswerForm(gives="labels", classes=2))


def test_the_most_that_a_model_shows_is_the_default() -> None:
    assert Target(TorchPredictor(NET, classes=4), SPEC).access is Access.WHITE_BOX
    assert Target(PROBS, SPEC).access is Access.SCORES
    assert Target(LABELS, SPEC).access is Access.LABELS
    assert Target(TorchPredictor(NET, classes=4), SPEC, access=Access.LABELS).access is Access.LABELS


@pytest.mark.parametrize(("predictor", "access"), [(LABELS, Access.SCORES), (PROBS, Access.WHITE_BOX)])
def test_an_adversary_cannot_have_more_than_there_is(predictor, access: Access) -> None:
    with pytest.raises(AccessDenied, match=f"cannot have {access.value}"):
        Target(predictor, SPEC, access=access)


def test_each_level_includes_those_before_it() -> None:
    allowed = {(one, other) for one in Access for other in Access if one.allows(other)}
    assert len(allowed) == 6
    assert (Access.WHITE_BOX, Access.LABELS) in allowed
    assert (Access.LABELS, Access.SCORES) not in allowed


def test_what_was_not_granted_is_refused_and_costs_nothing() -> None:
    target = Target(TorchPredictor(NET, classes=4), SPEC, access=Access.LABELS)
    with pytest.raises(AccessDenied, match="needs scores, the adversary has labels"):
        target.scores(X)
    with pytest.raises(AccessDenied, match="needs white box"):
        target.network()
    assert target.ledger.queries == 0
    target.labels(X)
    assert target.ledger.queries == 6


def test_the_model_is_not_asked_beyond_the_cap() -> None:
    asked: list[int] = []

    def count(x: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        return x[:, 0] > 0.5

    predictor = CallablePredictor(count, form=AnswerForm(gives="labels", classes=2))
    target = Target(predictor, SPEC, ledger=QueryLedger(cap=8))
    target.labels(X)
    with pytest.raises(BudgetSpent):
        target.labels(X)
    assert asked == [6]


def test_a_network_charges_for_every_row_and_tells_gradients_apart() -> None:
    target = Target(TorchPredictor(NET, classes=4), SPEC, ledger=QueryLedger(cap=20))
    net = target.network()
    net(torch.from_numpy(X))
    assert (target.ledger.queries, target.ledger.gradients) == (6, 0)
    x = torch.from_numpy(X).requires_grad_(True)
    (slope,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    assert slope.abs().sum() > 0
    assert (target.ledger.queries, target.ledger.gradients) == (12, 6)
    with pytest.raises(BudgetSpent):
        net(torch.cat([x, x]))


def test_changing_the_network_changes_neither_the_model_nor_the_callers() -> None:
    target = Target(TorchPredictor(NET, classes=4), SPEC)
    before, mine = target.labels(X), NET.weight.detach().clone()
    with torch.no_grad():
        for parameter in target.network().parameters():
            parameter.zero_()
    assert (target.labels(X) == before).all()
    assert torch.equal(NET.weight, mine)


def test_of_probabilities_logarithms_are_shown_and_holes_stay_holes() -> None:
    np.testing.assert_allclose(np.exp(Target(PROBS, SPEC).scores(X)), PROBS.answer(X), rtol=1e-5)
    holes = CallablePredictor(
        lambda x: np.where(x[:, :1] > 0.5, np.nan, [[0.0, 1.0]]), form=AnswerForm(gives="probabilities", classes=2)
    )
    target = Target(holes, SPEC)
    scores = target.scores(X)
    silent = X[:, 0] > 0.5
    assert np.isnan(scores[silent]).all()
    assert np.isfinite(scores[~silent]).all()
    assert (target.labels(X) == np.where(silent, -1, 1)).all()
