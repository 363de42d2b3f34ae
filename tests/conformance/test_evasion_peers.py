"""FGSM and PGD beside foolbox and ART."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from digits_net import digits, target_of, trained
from wardline.attacks.evasion.gradient import Fgsm, Pgd
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.robust.ball import Ball

pytestmark = pytest.mark.crosscheck

STEPS = 40


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def data(net: nn.Module) -> Labelled:
    """Examples that the network reads rightly."""
    x, y = digits()
    x, y = x[1297:1597], y[1297:1597]
    with torch.no_grad():
        right = net(torch.from_numpy(x)).argmax(1).numpy() == y
    return Labelled(x=x[right], y=y[right])


def _kept(net: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    with torch.no_grad():
        return float((net(torch.from_numpy(x.astype(np.float32))).argmax(1).numpy() == y).mean())


def _ours(net: nn.Module, data: Labelled, attack: Pgd | Fgsm, *, seed: int = 0) -> np.ndarray:
    return attack.run(target_of(net), data, Budget(batch=len(data)), seed).examples["adversarial"]


@pytest.mark.parametrize(
    ("norm", "radius", "name"), [("linf", 0.1, "LinfPGD"), ("l2", 0.6, "L2PGD"), ("l1", 1.5, "L1PGD")]
)
def test_pgd_is_as_strong_as_foolbox(net: nn.Module, data: Labelled, norm: str, radius: float, name: str) -> None:
    foolbox = pytest.importorskip("foolbox")
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    peer = getattr(foolbox.attacks, name)(steps=STEPS, abs_stepsize=2.5 * radius / STEPS, random_start=True)
    pgd, theirs, ours = Pgd(ball=Ball(norm=norm, radius=radius), steps=STEPS), [], []
    for seed in range(3):  # one random start more or less moves either by a point
        torch.manual_seed(seed)
        found = peer(model, torch.from_numpy(data.x), torch.from_numpy(data.y), epsilons=radius)[1].numpy()
        theirs.append(_kept(net, found, data.y))
        ours.append(_kept(net, _ours(net, data, pgd, seed=seed), data.y))
    assert 0.1 < np.mean(ours) < 0.8
    assert np.mean(ours) <= np.mean(theirs) + 0.01
    if norm != "l1":  # a dense L1 step is much weaker than a sparse one, so there is nothing to be equal to
        assert np.mean(theirs) <= np.mean(ours) + 0.02


@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.1), ("l2", 0.6)])
def test_pgd_is_as_strong_as_art(net: nn.Module, data: Labelled, norm: str, radius: float) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescent

    peer = ProjectedGradientDescent(
        _classifier(net),
        norm={"linf": np.inf, "l2": 2}[norm],
        eps=radius,
        eps_step=2.5 * radius / STEPS,
        max_iter=STEPS,
        num_random_init=1,
        batch_size=len(data),
        verbose=False,
    )
    np.random.seed(0)
    torch.manual_seed(0)
    theirs = peer.generate(data.x, data.y)
    ours = _ours(net, data, Pgd(ball=Ball(norm=norm, radius=radius), steps=STEPS))
    assert _kept(net, ours, data.y) <= _kept(net, theirs, data.y) + 0.01
    assert _kept(net, theirs, data.y) <= _kept(net, ours, data.y) + 0.03


@pytest.mark.parametrize(("norm", "name"), [("linf", "LinfFastGradientAttack"), ("l2", "L2FastGradientAttack")])
def test_fgsm_gives_the_examples_of_foolbox(net: nn.Module, data: Labelled, norm: str, name: str) -> None:
    foolbox = pytest.importorskip("foolbox")
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    inner = Labelled(x=0.25 + 0.5 * data.x, y=data.y)  # away from the bounds: foolbox meets them in another way
    with torch.no_grad():
        right = net(torch.from_numpy(inner.x)).argmax(1).numpy() == inner.y
    inner = Labelled(x=inner.x[right], y=inner.y[right])
    peer = getattr(foolbox.attacks, name)(random_start=False)
    theirs = peer(model, torch.from_numpy(inner.x), torch.from_numpy(inner.y), epsilons=0.1)[1].numpy()
    ours = _ours(net, inner, Fgsm(ball=Ball(norm=norm, radius=0.1)))
    assert np.allclose(ours, theirs, atol=1e-5)


def test_fgsm_gives_the_examples_of_art(net: nn.Module, data: Labelled) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import FastGradientMethod

    theirs = FastGradientMethod(_classifier(net), norm=np.inf, eps=0.1, batch_size=len(data)).generate(data.x, data.y)
    ours = _ours(net, data, Fgsm(ball=Ball(norm="linf", radius=0.1)))
    assert np.allclose(ours, theirs, atol=1e-6)


def _classifier(net: nn.Module) -> object:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        net, loss=nn.CrossEntropyLoss(), input_shape=(64,), nb_classes=10, clip_values=(0, 1), device_type="cpu"
    )
