from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.membership.driver import Limits, MembershipData
from wardline.attacks.membership.label_only import LabelOnly
from wardline.attacks.membership.score_attacks import (
    ScoreAttack,
    lira_attack,
    lira_offline_attack,
    loss_attack,
    rmia_attack,
    rmia_offline_attack,
)
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec, TextSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.core import Seeds, UsageError, Verdict, canonical_json
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp
from wardline.models.torch_predictor import TorchPredictor

ARCHITECTURE = Mlp(inputs=16, hidden=(32,), classes=2)
TRAINING = PlainConfig(batch=32, epochs=20, learning_rate=0.02)
RECIPE = ReferenceRecipe(architecture=ARCHITECTURE, training=TRAINING, references=4)
SPEC = InputSpec(shape=(16,), low=-8, high=8)
FEW = Limits(fpr=0.1, max_candidates=100)
ATTACKS = [loss_attack(), rmia_attack(), lira_attack(), rmia_offline_attack(), lira_offline_attack()]


def _examples(rows: int, stream: str) -> Examples:
    generator = Seeds(3).numpy(stream)
    return Examples(
        x=generator.normal(size=(rows, 16)).astype(np.float32),
        y=generator.integers(2, size=rows),
        unit=np.arange(rows, dtype=np.int64),
        features=tuple(f"f{i}" for i in range(16)),
        classes=("no", "yes"),
    )


MEMBERS, OTHERS = _examples(150, "in"), _examples(120, "out")
MODEL = TorchPredictor.of(train_plain(ARCHITECTURE, MEMBERS, config=TRAINING, seeds=Seeds(0)))
DATA = MembershipData(members=MEMBERS, non_members=OTHERS, recipe=RECIPE, population=_examples(300, "population"))


def _target(**changes: object) -> Target:
    return Target(MODEL, SPEC, **changes)


@pytest.mark.parametrize("attack", [*ATTACKS, LabelOnly()], ids=lambda one: one.id)
def test_random_labels_learned_by_heart_are_found_and_told_the_same_way_twice(attack: ScoreAttack | LabelOnly) -> None:
    attack = dataclasses.replace(attack, limits=FEW)
    target = _target()
    result = attack.run(target, DATA, Budget(), 1)
    assert result.details["auc"]["interval"].low > 0.5
    assert result.quantity == "tpr_at_fpr_0.1"
    assert result.n == 100
    assert result.chance == 0.1
    assert result.queries == target.ledger.queries >= 200
    assert result.verdict is not Verdict.PASS
    assert result.details["paper"] == result.paper
    assert result.details["access"] == attack.needs.value
    assert result.details["prior"] == result.threat.knowledge != ""
    again = attack.run(_target(), DATA, Budget(), 1)
    assert canonical_json(again.to_json()) == canonical_json(result.to_json())


def test_a_strong_attack_succeeds() -> None:
    result = dataclasses.replace(rmia_attack(), limits=FEW).run(_target(), DATA, Budget(), 0)
    assert result.verdict is Verdict.FAIL
    assert next(check for check in result.checks if check.name == "control").detail.startswith("not needed")


def test_a_model_that_saw_neither_side_passes_only_because_the_control_works() -> None:
    elsewhere = train_plain(ARCHITECTURE, _examples(150, "elsewhere"), config=TRAINING, seeds=Seeds(0))
    target = Target(TorchPredictor.of(elsewhere), SPEC)
    attack = dataclasses.replace(rmia_attack(), limits=FEW)
    found = attack.run(target, DATA, Budget(tolerated=0.15), 0)
    outcomes = {check.name: check.outcome for check in found.checks}
    assert found.interval.low <= 0.1
    assert (outcomes["control"], outcomes["area"]) == (Verdict.PASS, Verdict.PASS)
    without = loss_attack().run(target, dataclasses.replace(DATA, recipe=None), Budget(), 0)
    assert {check.name: check.outcome for check in without.checks}["control"] is Verdict.INCONCLUSIVE
    assert without.verdict is Verdict.INCONCLUSIVE


def test_too_few_non_members_give_no_figure() -> None:
    result = dataclasses.replace(loss_attack(), limits=Limits(fpr=0.001)).run(_target(), DATA, Budget(), 0)
    assert result.rate is None
    assert result.verdict is Verdict.INCONCLUSIVE
    check = next(check for check in result.checks if check.name == "enough-non-members")
    assert check.outcome is Verdict.FAIL
    assert "at least 1000 non-members" in check.detail


def test_a_cap_on_queries_is_kept_and_told() -> None:
    for attack in (loss_attack(), LabelOnly()):
        result = dataclasses.replace(attack, limits=FEW).run(_target(), DATA, Budget(queries=150), 0)
        assert result.queries <= 150
        assert result.rate is None
        assert {check.name: check.outcome for check in result.checks}["budget"] is Verdict.INCONCLUSIVE


def test_time_that_runs_out_ends_the_training_of_references() -> None:
    result = dataclasses.replace(lira_attack(), limits=FEW).run(_target(), DATA, Budget(seconds=1e-9), 0)
    assert result.rate is None
    assert result.verdict is Verdict.INCONCLUSIVE


def test_answers_that_are_no_numbers_are_never_counted() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 2), float("nan"))

    target = Target(TorchPredictor(Broken(), classes=2), SPEC)
    for attack in (loss_attack(), LabelOnly()):
        result = dataclasses.replace(attack, limits=FEW).run(target, DATA, Budget(), 0)
        assert result.rate is None
        assert {check.name: check.outcome for check in result.checks}["finite-answers"] is Verdict.FAIL


def test_what_an_attack_lacks_is_named() -> None:
    with pytest.raises(UsageError, match="recipe"):
        lira_attack().run(_target(), dataclasses.replace(DATA, recipe=None), Budget(), 0)
    with pytest.raises(UsageError, match="no candidates"):
        lira_offline_attack().run(_target(), dataclasses.replace(DATA, population=None), Budget(), 0)
    with pytest.raises(AccessDenied):
        loss_attack().run(_target(access=Access.LABELS), DATA, Budget(), 0)
    with pytest.raises(UsageError, match="numeric"):
        loss_attack().run(Target(MODEL, TextSpec()), DATA, Budget(), 0)
    with pytest.raises(ValueError, match="16"):
        loss_attack().run(Target(MODEL, InputSpec(shape=(3,), low=-8, high=8)), DATA, Budget(), 0)


def test_data_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="same columns"):
        dataclasses.replace(DATA, non_members=dataclasses.replace(OTHERS, features=tuple("abcdefghijklmnop")))
    with pytest.raises(ValueError, match="another number of columns"):
        dataclasses.replace(
            DATA, recipe=dataclasses.replace(RECIPE, architecture=Mlp(inputs=3, hidden=(4,), classes=2))
        )
    for wrong in ({"fpr": 0.0}, {"level": 1.0}, {"max_candidates": 1}):
        with pytest.raises(ValueError):
            Limits(**wrong)


def test_known_training_rows_keep_the_references_company() -> None:
    with_them = dataclasses.replace(DATA, companions=_examples(60, "companions"))
    result = dataclasses.replace(lira_attack(), limits=FEW).run(_target(), with_them, Budget(), 0)
    assert result.details["reference_rows"] == 100 + 50 + 60
