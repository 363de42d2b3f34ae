"""Membership attacks of the protocol where there is nothing to find, and on canaries that were learned by heart.

Intervals are at a level of 1 - 1e-7, so each check alarms falsely with a probability of about 1e-7 (areas: up to the
normal approximation). Seeds are fixed, so the result does not vary anyway.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import make_classification

from wardline.attacks.membership.candidates import join, pick_candidates
from wardline.attacks.membership.driver import Limits, MembershipData, Sides
from wardline.attacks.membership.label_only import LabelOnly
from wardline.attacks.membership.score_attacks import (
    ScoreAttack,
    lira_attack,
    lira_offline_attack,
    loss_attack,
    rmia_attack,
    rmia_offline_attack,
)
from wardline.attacks.membership.scores import lira_scores, scaled_confidence
from wardline.attacks.membership.shadow import ReferenceRecipe, balanced_design
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.roc import roc_curve, tpr_at_fpr
from wardline.core import NoProgress, Seeds, Verdict
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp, train_stack
from wardline.models.torch_predictor import TorchPredictor

LEVEL = 1 - 1e-7
COLUMNS = 60
RECIPE = ReferenceRecipe(
    architecture=Mlp(inputs=COLUMNS, hidden=(64,), classes=2),
    training=PlainConfig(batch=32, epochs=40, learning_rate=0.01),
    references=4,
)
BY_HEART = ReferenceRecipe(
    architecture=Mlp(inputs=COLUMNS, hidden=(128,), classes=2),
    training=PlainConfig(batch=32, epochs=60, learning_rate=0.01),
    references=16,
)
SPEC = InputSpec(shape=(COLUMNS,), low=-8, high=8)
ATTACKS = [loss_attack(), rmia_attack(), lira_attack(), rmia_offline_attack(), lira_offline_attack(), LabelOnly()]


def _examples(rows: int, stream: str, *, canaries: bool = False) -> Examples:
    """Rows of two classes that a line parts; canaries carry the wrong class."""
    generator = Seeds(11).numpy(stream)
    x = np.clip(generator.normal(size=(rows, COLUMNS)), -6, 6).astype(np.float32)
    y = x[:, 0] + x[:, 1] + 0.3 * generator.normal(size=rows) > 0
    return Examples(
        x=x,
        y=(y ^ canaries).astype(np.int64),
        unit=np.arange(rows, dtype=np.int64),
        features=tuple(f"f{i}" for i in range(COLUMNS)),
        classes=("no", "yes"),
    )


def _target(trained_on: Examples, recipe: ReferenceRecipe) -> Target:
    model = train_plain(recipe.architecture, trained_on, config=recipe.training, seeds=Seeds(2))
    return Target(TorchPredictor.of(model), SPEC)


@pytest.fixture(scope="module")
def canaries() -> tuple[Target, MembershipData]:
    """Mislabelled rows among 1,500 clean ones that the adversary knows."""
    members, clean = _examples(500, "in", canaries=True), _examples(1500, "clean")
    others = _examples(500, "out", canaries=True)
    data = MembershipData(members=members, non_members=others, companions=clean, recipe=BY_HEART)
    return _target(join(members, clean), BY_HEART), data


def _sides(attack: ScoreAttack, target: Target, data: MembershipData) -> Sides:
    candidates = pick_candidates(data.members, data.non_members, most=1000, seeds=Seeds(0))
    if data.companions is not None:
        candidates = candidates.accompanied(data.companions)
    return attack.score(target, candidates, data, seeds=Seeds(0), progress=NoProgress())


def test_canaries_are_told_apart_and_lira_finds_five_times_what_loss_finds(
    canaries: tuple[Target, MembershipData],
) -> None:
    """With 16 references, at 1 % false alarms. Bounds of both rates hold given each attack's own threshold."""
    target, data = canaries
    rates = {}
    for attack in (loss_attack(), lira_attack()):
        sides = _sides(attack, target, data)
        rates[attack.method] = tpr_at_fpr(sides.members, sides.non_members, fpr=0.01, level=LEVEL).at_threshold
        area = roc_curve(sides.members, sides.non_members, level=LEVEL)
        if attack.method == "lira":
            assert area.auc > 0.95
            assert area.auc_interval.low > 0.9
    assert rates["lira"].low >= 5 * rates["loss"].high


def test_with_the_default_number_of_references_lira_does_not_lose_members_to_noisy_variances() -> None:
    """Eight confidences a side tell an example's own variance badly; six draws of references, each with a target.

    Effect to be detected: a default that fits a variance to each example recognises far fewer at 1 % false alarms.
    """
    found: dict[bool, list[float]] = {True: [], False: []}
    x, y = make_classification(1600, 20, n_informative=8, n_classes=3, flip_y=0.3, random_state=31)
    x, y = x.astype(np.float32), y.astype(np.int64)
    recipe = ReferenceRecipe(
        architecture=Mlp(inputs=20, hidden=(32,), classes=3),
        training=PlainConfig(batch=64, epochs=30, learning_rate=0.01),
    )
    assert recipe.references == 16
    for draw in range(6):
        generator = Seeds(500 + draw).numpy("design")
        inside = balanced_design(len(x), recipe.references + 2, generator=generator)
        sets = np.stack([np.flatnonzero(flags) for flags in inside])
        stack = train_stack(recipe.architecture, recipe.training, x=x, y=y, sets=sets, seeds=Seeds(500 + draw))
        phi, member = scaled_confidence(stack.logits(x), y), inside[-1]
        for by_default in found:
            scores = lira_scores(phi[-1], phi[:16], inside[:16], fixed_variance=None if by_default else False)
            found[by_default].append(tpr_at_fpr(scores[member], scores[~member], fpr=0.01).value)
    assert np.mean(found[True]) > 1.3 * np.mean(found[False])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.id)
def test_members_and_others_that_are_exchangeable_are_not_told_apart(attack: ScoreAttack | LabelOnly) -> None:
    limits = Limits(fpr=0.1, level=LEVEL, max_candidates=200)
    data = MembershipData(
        members=_examples(200, "in"),
        non_members=_examples(200, "out"),
        recipe=RECIPE,
        population=_examples(400, "population"),
    )
    target = _target(_examples(400, "elsewhere"), RECIPE)
    result = dataclasses.replace(attack, limits=limits).run(target, data, Budget(), 0)
    assert result.details["auc"]["interval"].low <= 0.5 <= result.details["auc"]["interval"].high
    assert result.interval.low <= 0.1 <= result.interval.high
    assert result.verdict is not Verdict.FAIL
