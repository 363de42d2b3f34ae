"""Gradients in bfloat16: taken where they point the same way, and never believed about success."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from digits_net import SPEC, digits
from wardline.attacks.evasion.apgd import Apgd, ApgdTargeted
from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.evasion.half_precision import HalfPrecision, half_precision
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.target import Target
from wardline.core import Seeds
from wardline.models import torch_generator
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import NORMS, Ball, Norm

RADII: dict[Norm, float] = {"linf": 0.15, "l2": 0.9, "l1": 1.5}


@pytest.fixture(autouse=True)
def _a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch computes the same numbers elsewhere, only more slowly.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


@pytest.fixture(scope="module")
def data() -> Labelled:
    x, y = digits()
    return Labelled(x=x[1297:1547], y=y[1297:1547])


@pytest.fixture(scope="module")
def net() -> nn.Module:
    x, y = (torch.from_numpy(part[:1297]) for part in digits())
    generator = torch_generator(Seeds(0), "digits")
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    with torch.no_grad():
        for part in net.parameters():
            part.uniform_(-0.1, 0.1, generator=generator)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(12):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return net.eval().requires_grad_(False)


def attacked(net: nn.Module, data: Labelled, **settings: Any) -> AttackResult:
    target = Target(TorchPredictor(net, classes=10), SPEC)
    return Pgd(**settings).run(target, data, Budget(batch=100), 0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_search_in_half_precision_breaks_as_many(net: nn.Module, data: Labelled, norm: Norm) -> None:
    ball = Ball(norm=norm, radius=RADII[norm])
    quick, exact = attacked(net, data, ball=ball), attacked(net, data, ball=ball, exact=True)
    assert quick.rate is not None
    assert exact.rate is not None
    assert 0.2 < exact.rate < 0.95
    assert abs(quick.rate - exact.rate) <= 0.012  # three of 250; rounding decides rows at the edge either way
    assert not np.array_equal(quick.examples["adversarial"], exact.examples["adversarial"])


@pytest.mark.parametrize("attack", [Apgd, ApgdTargeted])
def test_auto_pgd_in_half_precision_breaks_as_many(
    net: nn.Module, data: Labelled, attack: type[Apgd] | type[ApgdTargeted]
) -> None:
    ball = Ball(norm="linf", radius=0.15)
    quick, exact = (
        attack(ball=ball, steps=30, exact=exact).run(
            Target(TorchPredictor(net, classes=10), SPEC), data, Budget(batch=100), 0
        )
        for exact in (False, True)
    )
    assert quick.rate is not None
    assert exact.rate is not None
    assert 0.2 < exact.rate < 0.95
    assert abs(quick.rate - exact.rate) <= 0.012
    assert not np.array_equal(quick.examples["adversarial"], exact.examples["adversarial"])


def test_what_only_rounding_misreads_is_no_success(net: nn.Module, data: Labelled) -> None:
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)

    class Torn(nn.Module):
        """In bfloat16 the second likeliest class wins; the gradient of the margin stays as it is."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.net(x)
            if logits.dtype != torch.bfloat16:
                return logits
            best, order = logits.detach().topk(2, dim=1)
            return logits.scatter_add(1, order[:, 1:], 1.1 * (best[:, :1] - best[:, 1:]) + 0.1)

    rounded = HalfPrecision(Torn().eval())
    assert (rounded(x).argmax(1) != y).float().mean() > 0.9
    assert half_precision(Torn().eval(), x, y, loss="margin", norm="linf") is not None
    ball = Ball(norm="linf", radius=0.15)
    torn, exact = attacked(Torn().eval(), data, ball=ball, loss="margin"), attacked(net, data, ball=ball, loss="margin")
    assert torn.rate is not None
    assert exact.rate is not None
    assert torn.rate > 0.2  # rows that only rounding misreads have not left the search
    assert abs(torn.rate - exact.rate) <= 0.1


@pytest.mark.parametrize("scale", [300.0, 1e5])
def test_a_network_that_hides_its_gradients_is_searched_exactly(net: nn.Module, data: Labelled, scale: float) -> None:
    class Scaled(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = super().forward(x) * scale
            return logits

    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    assert half_precision(Scaled(net), x, y, loss="ce", norm="linf") is None
    assert half_precision(net, x, y, loss="ce", norm="linf") is not None


def test_a_processor_without_it_searches_exactly(
    net: nn.Module, data: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    ball = Ball(norm="linf", radius=0.15)
    plain, exact = attacked(net, data, ball=ball), attacked(net, data, ball=ball, exact=True)
    assert np.array_equal(plain.examples["adversarial"], exact.examples["adversarial"])
