"""What no part of a policy can see alone: whether its parts agree with each other.

Each check looks only at the parts that are valid by themselves, so that one wrong number elsewhere does
not hide a contradiction, and all problems of a file are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from wardline.policy.dataset import BooleanColumn, Budget, CategoryColumn, Column, IgnoredColumn, PersonUnit
from wardline.policy.fields import show
from wardline.policy.problems import Problem, nearest
from wardline.policy.rules import ClaimsHold, Gate, MembershipAuc, MembershipTpr, Waiver
from wardline.policy.sections import Attack, DpSgd, MembershipAttack, Protection

CONTRADICTION = "wardline_contradiction"
"""Type of the validation error that a policy raises whose parts disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a policy that are valid by themselves; None, or left out of a list, where one is not.

    Attributes:
        columns: every listed column; None for one whose own contract is wrong.
        protections, attacks, gates, waivers: the valid entries, each with its place in the list.
        complete_attacks: whether every entry of the list of attacks is valid.
        complete_gates: whether every entry of the list of gates is valid.
    """

    target: str | None
    unit: Literal["row"] | PersonUnit | None
    budget: Budget | None
    columns: Mapping[str, Column | None] | None
    protections: tuple[tuple[int, Protection], ...]
    attacks: tuple[tuple[int, Attack], ...]
    gates: tuple[tuple[int, Gate], ...]
    waivers: tuple[tuple[int, Waiver], ...]
    complete_attacks: bool = True
    complete_gates: bool = True


def contradictions(parts: Parts) -> Iterator[Problem]:
    """Every disagreement between the parts."""
    for check in CHECKS:
        yield from check(parts)


def _target(parts: Parts) -> Iterator[Problem]:
    """The target is a listed column of kind category or boolean whose values are never missing."""
    if parts.target is None or parts.columns is None:
        return
    path = ("data", "target")
    if parts.target not in parts.columns:
        yield Problem(
            path=path,
            message=f"names the column {show(parts.target)}, which data.columns does not list",
            hint=nearest(parts.target, parts.columns, "columns"),
        )
        return
    match parts.columns[parts.target]:
        case None | BooleanColumn(missing=False):
            return
        case BooleanColumn(missing=True) | CategoryColumn(missing=True):
            yield Problem(
                path=path,
                message="names a column whose values may be missing: nothing can be learned from a row without one",
                hint='leave out such rows and write "missing: false" for that column',
            )
        case CategoryColumn():
            return
        case IgnoredColumn():
            yield Problem(
                path=path,
                message="names a column of kind ignore",
                hint="give the column the kind category or boolean, or choose another target",
            )
        case other:
            yield Problem(
                path=path,
                message=f"names a column of kind {other.kind}; a target is a category or boolean column",
                hint="give it the kind category and list its values, or choose another target",
            )


def _unit(parts: Parts) -> Iterator[Problem]:
    """The column that names the person is listed, is of kind ignore, and is not the target."""
    if not isinstance(parts.unit, PersonUnit) or parts.columns is None:
        return
    path = ("data", "unit", "column")
    if parts.unit.column not in parts.columns:
        yield Problem(
            path=path,
            message=f"names the column {show(parts.unit.column)}, which data.columns does not list",
            hint=nearest(parts.unit.column, parts.columns, "columns"),
        )
    elif parts.unit.column == parts.target:
        yield Problem(
            path=path,
            message="names the target: the column of the person cannot be what is predicted",
            hint="name the column that says whose row it is",
        )
    elif not isinstance(parts.columns[parts.unit.column], IgnoredColumn | None):
        yield Problem(
            path=("data", "columns", parts.unit.column, "kind"),
            message="names the person, so the model must not read it",
            hint='write "kind: ignore"',
        )


def _features(parts: Parts) -> Iterator[Problem]:
    """At least one column is left for the model to read, besides the target and the column of the person."""
    if parts.columns is None or parts.target is None:
        return
    person = parts.unit.column if isinstance(parts.unit, PersonUnit) else None
    left = [
        name
        for name, column in parts.columns.items()
        if name not in (parts.target, person) and not isinstance(column, IgnoredColumn)
    ]
    if not left:
        yield Problem(
            path=("data", "columns"),
            message="leaves no column for the model to read",
            hint="list at least one column that is neither the target nor of kind ignore",
        )


def _budget(parts: Parts) -> Iterator[Problem]:
    """No protection asks for more than the whole budget of the data set."""
    if parts.budget is None:
        return
    for index, protection in parts.protections:
        if not isinstance(protection, DpSgd):
            continue
        for key, asked, limit in (
            ("epsilon", protection.epsilon, parts.budget.epsilon),
            ("delta", protection.delta, parts.budget.delta),
        ):
            if asked > limit:
                yield Problem(
                    path=("protections", index, key),
                    message=f"is {asked:g}, above the limit of {limit:g} in data.budget: no release would be allowed",
                    hint=f"lower it, or raise data.budget.{key}, knowing what that means",
                )


def _attacks(parts: Parts) -> Iterator[Problem]:
    """Each kind of attack is listed once."""
    seen: set[str] = set()
    for index, attack in parts.attacks:
        if attack.kind in seen:
            yield Problem(
                path=("attacks", index, "kind"),
                message=f"lists {attack.kind} a second time",
                hint="put both into one entry",
            )
        seen.add(attack.kind)


def _gates(parts: Parts) -> Iterator[Problem]:
    """Each gate rule is listed once; membership-tpr once for each at_fpr and method."""
    seen: set[tuple[object, ...]] = set()
    for index, gate in parts.gates:
        key = (gate.rule, gate.at_fpr, gate.method) if isinstance(gate, MembershipTpr) else (gate.rule,)
        if key in seen:
            yield Problem(
                path=("gates", index, "rule"),
                message=f"lists {gate.rule} a second time",
                hint="keep the stricter one",
            )
        seen.add(key)


def _evidence_for_gates(parts: Parts) -> Iterator[Problem]:
    """A gate has the attack that it needs: claims-hold an audit, the membership rules a membership attack."""
    if not parts.complete_attacks:
        return
    kinds = {attack.kind for _, attack in parts.attacks}
    for index, gate in parts.gates:
        match gate:
            case ClaimsHold() if "audit" not in kinds:
                missing = "audit"
            case MembershipTpr() | MembershipAuc() if "membership" not in kinds:
                missing = "membership"
            case _:
                continue
        yield Problem(
            path=("gates", index, "rule"),
            message=f"{gate.rule} rests on an attack of kind {missing}, which attacks does not list",
            hint=f'add "- {{kind: {missing}}}" to attacks',
        )


def _membership_limits(parts: Parts) -> Iterator[Problem]:
    """A membership-tpr gate names a rate and a method that the attack measures, and a limit above guessing."""
    attack = next((attack for _, attack in parts.attacks if isinstance(attack, MembershipAttack)), None)
    for index, gate in parts.gates:
        if not isinstance(gate, MembershipTpr):
            continue
        if gate.at_most < gate.at_fpr:
            yield Problem(
                path=("gates", index, "at_most"),
                message=f"is {gate.at_most:g}, below at_fpr ({gate.at_fpr:g}), which a blind guess reaches",
                hint="choose a limit above at_fpr",
            )
        if attack is not None and gate.at_fpr not in attack.fpr:
            yield Problem(
                path=("gates", index, "at_fpr"),
                message=f"is {gate.at_fpr:g}, which the membership attack does not measure",
                hint=f"choose one of its fpr ({', '.join(f'{one:g}' for one in attack.fpr)}), or add it there",
            )
        if attack is not None and gate.method is not None and gate.method not in attack.methods:
            yield Problem(
                path=("gates", index, "method"),
                message=f"is {gate.method}, which the membership attack does not use",
                hint=f"choose one of its methods ({', '.join(attack.methods)}), or add it there",
            )


def _waivers(parts: Parts) -> Iterator[Problem]:
    """A waiver is for a rule that gates lists (or attacks-ran, which is always held), and for each there is one."""
    rules = {gate.rule for _, gate in parts.gates} | {"attacks-ran"}
    seen: set[str] = set()
    for index, waiver in parts.waivers:
        if parts.complete_gates and waiver.rule not in rules:
            yield Problem(
                path=("waivers", index, "rule"),
                message=f"waives {waiver.rule}, which gates does not list",
                hint="remove the waiver",
            )
        if waiver.rule in seen:
            yield Problem(
                path=("waivers", index, "rule"),
                message=f"waives {waiver.rule} a second time",
                hint="keep the one that counts",
            )
        seen.add(waiver.rule)


CHECKS: tuple[Callable[[Parts], Iterator[Problem]], ...] = (
    _target,
    _unit,
    _features,
    _budget,
    _attacks,
    _gates,
    _evidence_for_gates,
    _membership_limits,
    _waivers,
)
"""All checks across parts; the first line of each docstring stands in the reference."""
