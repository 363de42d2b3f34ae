"""The predictor of whatever somebody has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from wardline.models import Logistic, TrainedModel, build
from wardline.models.callable_predictor import CallablePredictor
from wardline.models.dispatch import predictor_of
from wardline.models.predictor import Differentiable
from wardline.models.torch_predictor import TorchPredictor, _Logarithm

X = np.random.default_rng(1).random((20, 4)).astype(np.float32)
Y = np.arange(20) % 3


def test_every_kind_of_model_finds_its_predictor() -> None:
    network = build(Logistic(inputs=4, classes=3))
    own = TrainedModel(
        architecture=Logistic(inputs=4, classes=3),
        parameters={name: value.detach().numpy() for name, value in network.state_dict().items()},
        features=tuple("abcd"),
        classes=tuple("xyz"),
    )
    assert isinstance(predictor_of(own), TorchPredictor)
    assert isinstance(predictor_of(nn.Linear(4, 3), classes=3), TorchPredictor)
    assert isinstance(predictor_of(LogisticRegression().fit(X, Y)), Differentiable)
    assert not isinstance(predictor_of(DecisionTreeClassifier().fit(X, Y)), Differentiable)
    assert isinstance(predictor_of(lambda x: x[:, :3] - 0.5, example=X), CallablePredictor)
    already = predictor_of(nn.Linear(4, 3), classes=3)
    assert predictor_of(already) is already


def test_the_form_of_a_torch_module_is_told_from_an_example() -> None:
    head = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    told = predictor_of(head, example=X)
    assert (told.gives, told.classes) == ("probabilities", 3)
    assert (predictor_of(nn.Linear(4, 3), example=X)).gives == "logits"
    assert predictor_of(head, example=X, gives="logits").gives == "logits", "what is stated is believed"
    training = nn.Sequential(nn.Dropout(), nn.Linear(4, 2)).train()
    assert predictor_of(training, example=X).was_training
    assert all(part.training for part in training.modules()), "the caller's module is left as it was"
    torch.testing.assert_close(head(torch.from_numpy(X)).detach().numpy(), told.answer(X))


@pytest.mark.parametrize("dim", [1, -1, None])
def test_a_softmax_that_has_saturated_does_not_hide_the_gradient(dim) -> None:
    """A model that is sure of itself is no harder to attack: its logits are what an adversary differentiates."""
    body = nn.Linear(4, 3)
    body.weight.data *= 1e4
    head = nn.Sequential(nn.Identity(), nn.Sequential(body, nn.Softmax(dim=dim)))

    def gradient(module: nn.Module) -> np.ndarray:
        x = torch.from_numpy(X).requires_grad_()
        module(x)[:, 1].sum().backward()
        return x.grad.abs().amax(dim=1).numpy()

    predictor = TorchPredictor(head.eval(), classes=3, gives="probabilities")
    assert (gradient(_Logarithm(head)) == 0).any(), "the control: through the softmax there is none for some row"
    network = predictor.network()
    assert (gradient(network) > 1e2).all()
    assert not any(part.training for part in network.modules())
    told = torch.log_softmax(network(torch.from_numpy(X)), dim=1).exp()
    torch.testing.assert_close(told.numpy(), predictor.answer(X))
    assert type(head[1][1]) is nn.Softmax, "the caller's module is left as it was"


def test_a_softmax_over_something_else_than_classes_stays() -> None:
    over_rows = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=0))
    network = TorchPredictor(over_rows, classes=3, gives="probabilities").network()
    x = torch.from_numpy(X)
    torch.testing.assert_close(network(x), over_rows(x).log())


def test_what_is_missing_or_no_model_is_told() -> None:
    with pytest.raises(ValueError, match="number of classes of a torch module"):
        predictor_of(nn.Linear(4, 3))
    with pytest.raises(ValueError, match="the model answers"):
        predictor_of(nn.Linear(4, 3), example=X, classes=5)
    with pytest.raises(ValueError, match="two classes"):
        predictor_of(nn.Linear(4, 1), example=X)
    with pytest.raises(ValueError, match="answers to an example"):
        predictor_of(lambda x: x)
    with pytest.raises(TypeError, match="dict is no model"):
        predictor_of({})
