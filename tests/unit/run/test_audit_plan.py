"""Which attacks an audit makes: every known one is either made or told why not."""

import itertools

import pytest

from wardline.attacks.catalogue import known_attacks
from wardline.attacks.protocol.target import Access
from wardline.run.audit_plan import SECONDS, Situation, plan_audit

KINDS = ("images", "rows", "constrained rows", "texts")


@pytest.mark.parametrize("access", Access, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_out_silently(access, kind):
    needs = {entry.id: entry.needs for entry in known_attacks()}
    for norm, tier in itertools.product(("linf", "l2", "l1"), SECONDS):
        plan = plan_audit(Situation(access=access, kind=kind, norm=norm, tier=tier, train=True, recipe=True))
        made, cut = (
            [step.attack for step in plan.steps],
            [one for attacks, _ in plan.cut for one in attacks.split(", ")],
        )
        assert sorted(made + cut) == sorted(needs)
        reasons = [reason for _, reason in plan.cut]
        assert all(reasons)
        assert len(set(reasons)) == len(reasons)
        assert all(access.allows(needs[attack]) for attack in made)
        evading = [attack for attack in made if attack.startswith(("evasion.", "text."))]
        # Among the attacks that see labels alone none is made for l1.
        assert evading or (access is Access.LABELS and norm == "l1")


@pytest.mark.parametrize("access", Access, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_audit_makes_what_a_shorter_one_makes(access, kind):
    made = [
        {step.attack for step in plan_audit(Situation(access=access, kind=kind, norm="linf", tier=tier)).steps}
        for tier in SECONDS
    ]
    assert made[0] <= made[1] <= made[2]


def test_membership_waits_for_the_training_rows():
    without = plan_audit(Situation(access=Access.SCORES, kind="rows", norm="linf", tier="deep"))
    with_rows = plan_audit(Situation(access=Access.SCORES, kind="rows", norm="linf", tier="deep", train=True))
    assert not any(step.attack.startswith("membership.") for step in without.steps)
    assert any(step.attack == "membership.loss" for step in with_rows.steps)
    assert not any(step.attack == "membership.lira" for step in with_rows.steps), "nobody said how it was trained"


def test_whoever_has_the_model_need_not_copy_it():
    plan = plan_audit(Situation(access=Access.WHITE_BOX, kind="rows", norm="linf", tier="deep"))
    assert not any(step.attack.startswith("extraction.") for step in plan.steps)
    assert any(reason.endswith("has the model already") for _, reason in plan.cut)


def made(**known):
    situation = {"access": Access.SCORES, "kind": "constrained rows", "norm": "linf", "tier": "standard"}
    return plan_audit(Situation(**(situation | known)))


def test_an_attribute_is_inferred_where_there_is_one_and_the_training_rows_are_known():
    def reason(plan):
        return next((why for attacks, why in plan.cut if "reconstruction.attribute" in attacks), None)

    assert reason(made(train=True, attribute=True)) is None
    assert any(step.attack == "reconstruction.attribute" for step in made(train=True, attribute=True).steps)
    assert "no attribute to hide" in reason(made(train=True))
    assert "trained on were not given" in reason(made(attribute=True))
    assert "images" in reason(made(train=True, attribute=True, kind="images"))


def test_no_audit_inverts_a_model_and_says_why():
    plan = made(access=Access.WHITE_BOX, kind="images", tier="deep")
    assert "no verdict would follow" in next(why for attacks, why in plan.cut if "reconstruction.inversion" in attacks)
