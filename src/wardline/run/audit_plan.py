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
    """

    tier: Tier
    kinds: frozenset[Kind]
    step: Step
    norms: tuple[Norm, ...] | None = ("linf", "l2", "l1")
    only: Access | None = None


# The cheapest that can break a model stands first: what breaks it there need not be tried again.
_OFFERS: tuple[_Offer, ...] = (_Offer(tier="quick", kinds=_GRADIENTS, step=Step(attack="evasion.pgd", weight=3.0)),)


def plan_audit(
    *,
    access: Access,
    kind: Kind,
    norm: Norm,
    tier: Tier,
    has_train: bool,
    entries: tuple[AttackEntry, ...] | None = None,
) -> AuditPlan:
    """Choose the attacks.

    Args:
        access: what the adversary sees.
        kind: what the inputs are.
        norm: of the changes that the adversary can make.
        tier: how much time there is.
        has_train: whether the rows that the model was trained on are known.
        entries: the attacks there are; by default all known ones.

    Returns:
        Every known attack is either among the steps or among what is cut, with the reason.
    """
    offers = {offer.step.attack: offer for offer in _OFFERS}
    steps: list[tuple[int, Step]] = []
    cut: list[tuple[str, str]] = []
    for entry in known_attacks() if entries is None else entries:
        offer = offers.get(entry.id)
        reason = _reason(entry, offer, access=access, kind=kind, norm=norm, tier=tier, has_train=has_train)
        if reason or offer is None:
            cut.append((entry.id, reason))
        else:
            steps.append((_OFFERS.index(offer), offer.step))
    return AuditPlan(steps=tuple(step for _, step in sorted(steps, key=lambda one: one[0])), cut=tuple(cut))


def _reason(
    entry: AttackEntry,
    offer: _Offer | None,
    *,
    access: Access,
    kind: Kind,
    norm: Norm,
    tier: Tier,
    has_train: bool,
) -> str:
    """Why an attack is not made; empty if it is."""
    if offer is None:
        return f"no audit makes it by itself: `wardline attack run {entry.id}` does"
    if kind not in offer.kinds:
        return f"it is not for {kind}"
    if not access.allows(entry.needs):
        return f"it needs {entry.needs.value}, the adversary has {access.value}"
    if offer.only is not None and access is not offer.only:
        return f"with {access.value} stronger attacks were made"
    if offer.norms is not None and norm not in offer.norms:
        return f"it does not know the norm {norm}"
    if entry.family == "membership" and not has_train:
        return "the rows that the model was trained on were not given"
    if _ORDER.index(offer.tier) > _ORDER.index(tier):
        return f"it is left to the {offer.tier} tier"
    return ""
