"""Which attacks an audit makes, with how much of its time, and what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wardline.attacks.catalogue import known_attacks
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.target import Access
from wardline.robust.ball import Norm

Tier: TypeAlias = Literal["quick", "standard", "deep"]
Kind: TypeAlias = Literal["images", "rows", "constrained rows", "texts"]

SECONDS: Mapping[Tier, float] = {"quick": 120.0, "standard": 600.0, "deep": 3600.0}
"""How long an audit of each tier takes at most, on two cores."""

_ORDER: tuple[Tier, ...] = ("quick", "standard", "deep")
_GRADIENTS: frozenset[Kind] = frozenset({"images", "rows"})
_TABLES: frozenset[Kind] = frozenset({"rows", "constrained rows"})
_CONSTRAINED: frozenset[Kind] = frozenset({"constrained rows"})
_TEXTS: frozenset[Kind] = frozenset({"texts"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One attack of an audit.

    Attributes:
        attack: its id.
        settings: what it is made with, beside the ball; by tier where that matters.
        weight: its share of the time, relative to the others.
        most: the most examples it is tried on.
    """

    attack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    most: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """What will be done, and what not.

    Attributes:
        steps: the attacks, in order.
        cut: what is left out, with the reason of each.
    """

    steps: tuple[Step, ...]
    cut: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """An attack that audits know how to use.

    Attributes:
        tier: the first tier that makes it.
        kinds: the inputs that it suits.
        step: how it is made.
        norms: the norms that it knows; None where it has none.
        only: the one access at which it is worth its time; None for whatever suffices.
        recipe: whether it must know how the model was trained.
        hides: whether it needs an attribute of rows to hide.
    """

    tier: Tier
    kinds: frozenset[Kind]
    step: Step
    norms: tuple[Norm, ...] | None = ("linf", "l2", "l1")
    only: Access | None = None
    recipe: bool = False
    hides: bool = False


_NEVER: Mapping[str, str] = {
    "evasion.fgsm": "evasion.pgd goes on where it stops",
    "evasion.pgd_dlr_targeted": "evasion.apgd_t does the same with adaptive steps",
    "backdoor.trigger": "nobody named a trigger; `wardline attack run backdoor.trigger` tries one",
    "reconstruction.inversion": (
        "whether a class can be recognised is no secret unless a class is a person, so no verdict would follow"
    ),
}
"""Why an attack that works on a model and examples is in no audit."""

_ALL: frozenset[Kind] = frozenset({"images", "rows", "constrained rows"})

# The cheapest that can break a model stands first. Whatever knows no other norm is left out where another one counts.
_OFFERS: tuple[_Offer, ...] = (
    _Offer(tier="quick", kinds=_GRADIENTS, step=Step(attack="evasion.pgd", weight=3.0)),
    _Offer(tier="standard", kinds=_GRADIENTS, step=Step(attack="evasion.pgd_dlr", weight=1.0)),
    _Offer(tier="quick", kinds=_GRADIENTS, step=Step(attack="evasion.apgd_t", weight=3.0, most=500)),
    _Offer(tier="standard", kinds=_GRADIENTS, step=Step(attack="evasion.apgd_ce", weight=1.0)),
    _Offer(tier="standard", kinds=_GRADIENTS, step=Step(attack="evasion.fab_t", weight=2.0, most=500)),
    _Offer(
        tier="quick",
        kinds=_GRADIENTS,
        step=Step(attack="evasion.square", settings={"queries": 1000}, weight=2.0, most=500),
    ),
    _Offer(tier="standard", kinds=_GRADIENTS, step=Step(attack="evasion.autoattack", weight=6.0)),
    _Offer(tier="standard", kinds=_GRADIENTS, step=Step(attack="evasion.cw_l2", weight=2.0, most=500), norms=("l2",)),
    _Offer(
        tier="quick",
        kinds=_GRADIENTS,
        step=Step(attack="evasion.hopskipjump", weight=3.0, most=200),
        norms=("linf", "l2"),
        only=Access.LABELS,
    ),
    _Offer(
        tier="standard",
        kinds=_GRADIENTS,
        step=Step(attack="evasion.boundary", weight=2.0, most=200),
        norms=("l2",),
        only=Access.LABELS,
    ),
    # A radius says nothing about rows with categories: there a number of columns may be changed instead.
    _Offer(tier="quick", kinds=_CONSTRAINED, step=Step(attack="evasion.tabular", weight=2.0), norms=None),
    _Offer(tier="quick", kinds=_TEXTS, step=Step(attack="text.characters", weight=2.0, most=500), norms=None),
    _Offer(tier="quick", kinds=_TEXTS, step=Step(attack="text.words", weight=2.0, most=500), norms=None),
    _Offer(
        tier="quick",
        kinds=_TEXTS,
        step=Step(attack="text.guesses", weight=2.0, most=500),
        norms=None,
        only=Access.LABELS,
    ),
    _Offer(tier="quick", kinds=_ALL, step=Step(attack="membership.loss", weight=1.0), norms=None),
    _Offer(tier="standard", kinds=_ALL, step=Step(attack="membership.rmia", weight=3.0), norms=None, recipe=True),
    _Offer(tier="standard", kinds=_ALL, step=Step(attack="membership.lira", weight=3.0), norms=None, recipe=True),
    _Offer(
        tier="standard",
        kinds=_ALL,
        step=Step(attack="membership.label_only", weight=2.0),
        norms=None,
        only=Access.LABELS,
    ),
    _Offer(
        tier="standard",
        kinds=_TABLES,
        step=Step(attack="reconstruction.attribute", weight=1.0),
        norms=None,
        hides=True,
    ),
    _Offer(tier="standard", kinds=_TABLES, step=Step(attack="extraction.equations", weight=1.0), norms=None),
    _Offer(tier="standard", kinds=_ALL, step=Step(attack="extraction.knockoff", weight=2.0), norms=None),
    _Offer(tier="deep", kinds=_ALL, step=Step(attack="extraction.jbda", weight=2.0), norms=None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides which attacks an audit makes.

    Attributes:
        access: what the adversary sees.
        kind: what the inputs are.
        norm: of the changes that the adversary can make.
        tier: how much time there is.
        train: whether the rows that the model was trained on are known.
        recipe: whether it is known how the model was trained.
        attribute: whether the rows have a category or a yes-or-no that can be hidden.
    """

    access: Access
    kind: Kind
    norm: Norm
    tier: Tier
    train: bool = False
    recipe: bool = False
    attribute: bool = False


def plan_audit(situation: Situation, entries: tuple[AttackEntry, ...] | None = None) -> AuditPlan:
    """Choose the attacks.

    Args:
        situation: what decides.
        entries: the attacks there are; by default all known ones.

    Returns:
        Every known attack is either among the steps or among what is cut, with the reason; those that are cut for one
        reason stand together.
    """
    offers = {offer.step.attack: offer for offer in _OFFERS}
    steps: list[tuple[int, Step]] = []
    cut: list[tuple[str, str]] = []
    for entry in known_attacks() if entries is None else entries:
        offer = offers.get(entry.id)
        reason = _reason(entry, offer, situation)
        if reason or offer is None:
            cut.append((entry.id, reason))
        else:
            steps.append((_OFFERS.index(offer), offer.step))
    return AuditPlan(steps=tuple(step for _, step in sorted(steps, key=lambda one: one[0])), cut=_grouped(cut))


def _grouped(cut: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """What is left out for the same reason, together, in the order of the first of each."""
    groups: dict[str, list[str]] = {}
    for attack, reason in cut:
        groups.setdefault(reason, []).append(attack)
    return tuple((", ".join(attacks), reason) for reason, attacks in groups.items())


def _reason(entry: AttackEntry, offer: _Offer | None, at: Situation) -> str:
    """Why an attack is not made; empty if it is."""
    if entry.id in _NEVER:
        return _NEVER[entry.id]
    if offer is None:
        by_hand = entry.data.endswith(":Labelled")
        run = "`wardline attack run` makes it" if by_hand else "it takes more than a model and examples"
        return f"no audit makes it by itself: {run}"
    if at.kind not in offer.kinds:
        return f"it is not for {at.kind}"
    if not at.access.allows(entry.needs):
        return f"it needs {entry.needs.value}, the adversary has {at.access.value}"
    if entry.family == "extraction" and at.access is Access.WHITE_BOX:
        return "an adversary with white box access has the model already"
    if offer.only is not None and at.access is not offer.only:
        return f"with {at.access.value} stronger attacks are made"
    if offer.norms is not None and at.norm not in offer.norms:
        return f"it does not know the norm {at.norm}"
    if offer.hides and not at.attribute:
        return "no column is a category or a yes-or-no, so there is no attribute to hide"
    if entry.family in {"membership", "reconstruction"} and not at.train:
        return "the rows that the model was trained on were not given (--train, or the --policy of its run)"
    if offer.recipe and not at.recipe:
        return "nobody said how the model was trained"
    if _ORDER.index(offer.tier) > _ORDER.index(at.tier):
        return f"it is left to the {offer.tier} tier"
    return ""
