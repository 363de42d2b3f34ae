"""Attacks made from words, and comparisons of several models under several attacks."""

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.catalogue import find_attack, known_attacks
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import UsageError
from wardline.core.canonical import canonical_json
from wardline.models import TorchPredictor
from wardline.robust.ball import Ball
from wardline.run.attacking import compare, make_attack, settings_of

BALL = Ball(norm="linf", radius=0.25)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd:
    """An attack with settings of all simple kinds, and one that words cannot give."""

    ball: Ball = BALL
    steps: int = 3
    rate: float = 0.5
    eager: bool = False
    how: Literal["this", "that"] = "this"
    limit: int | None = None
    pair: tuple[int, int] = (1, 2)

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError("steps must be at least 1")


ODD = AttackEntry(
    id="evasion.odd", family="evasion", needs=Access.LABELS, summary="", paper="", factory=f"{__name__}:Odd"
)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setattr(AttackEntry, "load", lambda self: Odd if self is ODD else _load(self))


_load = AttackEntry.load


def test_words_become_settings_of_the_right_kind():
    made = make_attack(ODD, words={"steps": "7", "rate": "1e-3", "eager": "yes", "how": "that"}, ball=BALL)
    assert made == Odd(ball=BALL, steps=7, rate=1e-3, eager=True, how="that")
    assert make_attack(ODD, words={"limit": "none"}, ball=None).limit is None
    assert make_attack(ODD, words={"limit": "5"}, ball=None).limit == 5
    assert settings_of(ODD) == {"steps": 3, "rate": 0.5, "eager": False, "how": "this", "limit": None}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"stepz": "7"}, "has no setting stepz"),
        ({"pair": "1,2"}, "has no setting pair"),
        ({"ball": "1"}, "has no setting ball"),
        ({"steps": "7.5"}, "no value for steps"),
        ({"eager": "perhaps"}, "no value for eager"),
        ({"steps": "0"}, "steps must be at least 1"),
    ],
    ids=["unknown", "not simple", "ball", "fraction", "flag", "out of range"],
)
def test_words_that_do_not_fit_are_refused_with_a_remedy(words, told):
    with pytest.raises(UsageError, match=told) as caught:
        make_attack(ODD, words=words, ball=None)
    assert caught.value.hint


@pytest.mark.parametrize("entry", known_attacks(), ids=lambda entry: entry.id)
def test_every_attack_can_be_made_without_a_word(entry):
    made = make_attack(entry, words={}, ball=None)
    assert made.id == entry.id
    assert made.needs is entry.needs
    assert made.paper == entry.paper
    settings_of(entry)


class _Linear(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        score = self.scale * (x[:, 0] - 0.5)
        return torch.stack([-score, score], dim=1)


@pytest.mark.parametrize(
    "entry", [one for one in known_attacks() if one.family == "evasion"], ids=lambda entry: entry.id
)
def test_every_attack_within_a_ball_gets_the_one_that_was_asked_for(entry):
    """Two of them are made by functions, which once kept a radius of 8/255 whatever was said."""
    wanted = Ball(norm="l2" if entry.id in {"evasion.cw_l2", "evasion.boundary"} else "linf", radius=0.1234)
    made = make_attack(entry, words={}, ball=wanted)
    if entry.id == "evasion.tabular":
        assert not hasattr(made, "ball")
    else:
        assert made.ball == wanted


def test_models_are_compared_over_the_same_examples():
    rng = np.random.default_rng(0)
    x = rng.random((120, 3), dtype=np.float32)
    y = (x[:, 0] > 0.5).astype(np.int64)
    targets = [
        Target(TorchPredictor(_Linear(5.0), classes=2), InputSpec(shape=(3,)), name="open"),
        Target(TorchPredictor(_Linear(5.0), classes=2), InputSpec(shape=(3,)), name="closed", access=Access.LABELS),
    ]
    attack = make_attack(find_attack("evasion.pgd"), words={"steps": "10"}, ball=BALL)
    found = compare(targets, [attack], Labelled(x=x, y=y), budget=Budget(), seed=0)
    # Whoever lies within the radius of the boundary can be moved across it; nobody else can.
    share = float((np.abs(x[:, 0] - 0.5) >= 0.25).mean())
    assert found.results[0][0].details["robust_accuracy"]["value"] == pytest.approx(share, abs=0.02)
    assert found.results[1][0] is None
    assert found.rows[1] == ("closed", "unknown", "needs more access")
    canonical_json(found.to_json())
    page = found.page().decode()
    assert "evasion.pgd" in page
    assert "<script" not in page
