"""From a policy and the facts of its data to a plan. The only place that knows both languages.

Nothing is computed on rows here, so a plan can be shown before anything is spent. What cannot work is
refused here rather than halfway through a run.
"""

from __future__ import annotations

import datetime
import math
from typing import assert_never

from wardline.attacks import canaries_needed, largest_bound
from wardline.core import Labels, PolicyError, check_compatible
from wardline.data import Contract
from wardline.dp import DpSgdConfig, Limit, TrainingOverrides, default_config, default_plain_config, training_claim
from wardline.gate import (
    Accuracy,
    AttacksRan,
    BaselineAccuracy,
    ClaimsHold,
    MembershipAuc,
    MembershipTpr,
    PriceOfPrivacy,
    Rule,
    Waiver,
)
from wardline.models import Architecture, Cnn, Logistic, Mlp
from wardline.plan.plan import AuditStep, DataFacts, MembershipStep, NotAssessed, Plan
from wardline.policy import LoadedPolicy, Policy, rules, sections


def contract_of(policy: Policy) -> Contract:
    """The data contract that the policy states."""
    return Contract.from_policy(policy.to_json()["data"])


def resolve(loaded: LoadedPolicy, facts: DataFacts, *, today: datetime.date) -> Plan:
    """Decide everything that a run will do.

    Args:
        loaded: the policy and where its parts stand in the file.
        facts: sizes and names of the data.
        today: the day on which waivers must be valid.

    Raises:
        ConflictError: if two protections contradict each other.
        PolicyError: if delta is too large for the data, a waiver has expired, the model does not fit the
            data, or nothing protects the training.
    """
    policy = loaded.policy
    check_compatible(_labels(loaded))
    _check_waivers(loaded, today)
    index, protection = _training_protection(loaded)
    _check_delta(loaded, index, protection, facts)
    architecture = _architecture(loaded, facts)
    training = _training(loaded, index, protection, facts, architecture)
    membership, audit = _attacks(policy)
    planned = [name for name, step in (("membership", membership), ("audit", audit)) if step is not None]
    budget = policy.data.budget
    return Plan(
        project=policy.project,
        purpose=policy.purpose,
        title=policy.evidence.title or policy.project,
        seed=policy.evidence.seed,
        facts=facts,
        architecture=architecture,
        training=training,
        baseline=default_plain_config(n_rows=facts.train_rows, architecture=architecture),
        claim=training_claim(training, n_units=facts.train_units),
        membership=membership,
        audit=audit,
        rules=(AttacksRan(planned=tuple(planned)), *_rules(policy)),
        waivers=tuple(Waiver(rule=one.rule, who=one.who, why=one.why, until=one.until) for one in policy.waivers),
        limit=Limit(epsilon=budget.epsilon, delta=budget.delta) if budget else None,
        not_assessed=(*_not_assessed(policy), *_too_few_canaries(protection, audit)),
    )


def _labels(loaded: LoadedPolicy) -> list[Labels]:
    """What each protection needs and breaks; see `core.labels`."""
    labels = []
    for index, protection in enumerate(loaded.policy.protections):
        where = loaded.place("protections", index)
        match protection:
            case sections.DpSgd():
                needs = frozenset({"settings chosen without the data", "features encoded without the data"})
                labels.append(Labels(owner="dp-sgd", needs=needs, sole=frozenset({"training protection"}), where=where))
            case sections.Search(on="private"):
                breaks = frozenset({"settings chosen without the data"})
                labels.append(Labels(owner="search on private data", breaks=breaks, where=where))
            case sections.Search():
                raise PolicyError(
                    "search on public data is not available yet",
                    where=where,
                    hint="remove it; defaults follow from the number of units",
                )
            case sections.Scaling():
                breaks = frozenset({"features encoded without the data"})
                labels.append(Labels(owner="scaling fitted on data", breaks=breaks, where=where))
            case _:
                assert_never(protection)
    return labels


def _check_waivers(loaded: LoadedPolicy, today: datetime.date) -> None:
    for index, waiver in enumerate(loaded.policy.waivers):
        if waiver.until < today:
            raise PolicyError(
                f"the waiver for {waiver.rule} expired on {waiver.until.isoformat()}",
                where=loaded.place("waivers", index),
                hint="remove it, or have somebody answer for it anew with a later date",
            )


def _training_protection(loaded: LoadedPolicy) -> tuple[int, sections.DpSgd]:
    for index, protection in enumerate(loaded.policy.protections):
        if isinstance(protection, sections.DpSgd):
            return index, protection
    raise PolicyError(
        "nothing protects the training",
        where=loaded.place("protections"),
        hint="add {kind: dp-sgd, epsilon: 3, delta: 1e-5}",
    )


def _check_delta(loaded: LoadedPolicy, index: int, protection: sections.DpSgd, facts: DataFacts) -> None:
    """Delta is the probability with which anything may happen to somebody: below one in all of them."""
    if protection.delta >= 1 / facts.train_units:
        least = 1 / facts.train_units
        raise PolicyError(
            f"delta {protection.delta:g} is not below 1/n = {least:.3g} (n = {facts.train_units} training units)",
            where=loaded.place("protections", index, "delta"),
            hint=f"choose {_one_digit(least / 10):g} or less; a delta of 1/n would allow publishing somebody's row",
        )


def _one_digit(value: float) -> float:
    scale = 10.0 ** math.floor(math.log10(value))
    return math.floor(value / scale) * scale


def _architecture(loaded: LoadedPolicy, facts: DataFacts) -> Architecture:
    model, classes = loaded.policy.model, len(facts.classes)
    match model:
        case sections.LogisticModel():
            return Logistic(inputs=facts.features, classes=classes)
        case sections.MlpModel():
            return Mlp(inputs=facts.features, hidden=model.hidden, classes=classes)
        case sections.CnnModel():
            if math.prod(model.shape) != facts.features:
                raise PolicyError(
                    f"images of shape {list(model.shape)} have {math.prod(model.shape)} pixels, "
                    f"but the data has {facts.features} feature columns",
                    where=loaded.place("model", "shape"),
                    hint="list every pixel as a number or integer column, in order, and nothing else but the target",
                )
            return Cnn(shape=model.shape, channels=model.channels, hidden=model.hidden, classes=classes)
        case _:
            assert_never(model)


def _training(
    loaded: LoadedPolicy, index: int, protection: sections.DpSgd, facts: DataFacts, architecture: Architecture
) -> DpSgdConfig:
    unit = loaded.policy.data.unit
    try:
        return default_config(
            n_units=facts.train_units,
            epsilon=protection.epsilon,
            delta=protection.delta,
            architecture=architecture,
            unit="row" if unit == "row" else "person",
            max_rows_per_unit=1 if unit == "row" else unit.max_rows,
            overrides=TrainingOverrides(
                batch=protection.batch,
                epochs=protection.epochs,
                clip_norm=protection.clip_norm,
                learning_rate=protection.learning_rate,
            ),
        )
    except ValueError as error:
        raise PolicyError(str(error), where=loaded.place("protections", index), hint="change what it names") from error


def _attacks(policy: Policy) -> tuple[MembershipStep | None, AuditStep | None]:
    membership: MembershipStep | None = None
    audit: AuditStep | None = None
    for attack in policy.attacks:
        match attack:
            case sections.MembershipAttack():
                membership = MembershipStep(methods=attack.methods, references=attack.references, fprs=attack.fpr)
            case sections.AuditAttack():
                audit = AuditStep(canaries=attack.canaries, confidence=attack.confidence)
            case _:
                assert_never(attack)
    return membership, audit


def _rules(policy: Policy) -> list[Rule]:
    """The policy's rules; that no claim is contradicted is one of them, asked for or not."""
    asked = [_rule(gate) for gate in policy.gates]
    return asked if any(isinstance(rule, ClaimsHold) for rule in asked) else [ClaimsHold(), *asked]


def _rule(gate: rules.Gate) -> Rule:
    match gate:
        case rules.ClaimsHold():
            return ClaimsHold()
        case rules.Accuracy():
            return Accuracy(at_least=gate.at_least)
        case rules.BaselineAccuracy():
            return BaselineAccuracy(at_least=gate.at_least)
        case rules.PriceOfPrivacy():
            return PriceOfPrivacy(at_most=gate.at_most)
        case rules.MembershipTpr():
            return MembershipTpr(at_fpr=gate.at_fpr, at_most=gate.at_most, method=gate.method)
        case rules.MembershipAuc():
            return MembershipAuc(at_most=gate.at_most)
        case _:
            assert_never(gate)


_UNMEASURED_GOALS = {
    "attribute": "no attack of this kind is run yet; the claim bounds what participation adds, not inference itself",
    "reconstruction": "no attack of this kind is run yet; the claim bounds it, nothing here measures it",
    "extraction": "privacy protection does not keep the model itself from being copied",
}


def _not_assessed(policy: Policy) -> tuple[NotAssessed, ...]:
    """What a reader might expect and does not get, told beforehand."""
    found = [
        NotAssessed(subject=f"{threat.goal} by {threat.adversary}", reason=_UNMEASURED_GOALS[threat.goal])
        for threat in policy.threats
        if threat.goal in _UNMEASURED_GOALS
    ]
    kinds = {attack.kind for attack in policy.attacks}
    if "membership" not in kinds:
        found.append(NotAssessed(subject="membership inference", reason="the policy does not ask for it"))
    if "audit" not in kinds:
        found.append(NotAssessed(subject="the claim of the training", reason="the policy does not ask for an audit"))
    found.append(
        NotAssessed(
            subject="evasion, poisoning, fairness", reason="this run protects and measures privacy and usefulness only"
        )
    )
    return tuple(found)


def _too_few_canaries(protection: sections.DpSgd, audit: AuditStep | None) -> list[NotAssessed]:
    """Told before the run, not after it: an audit that cannot contradict the claim ends inconclusive."""
    if audit is None:
        return []
    epsilon, delta, confidence = protection.epsilon, protection.delta, audit.confidence
    if largest_bound(audit.canaries, delta=delta, confidence=confidence) > epsilon:
        return []
    needed = canaries_needed(epsilon, delta=delta, confidence=confidence)
    remedy = f"about {needed:,} are needed" if needed else "no number could, at this delta and confidence"
    return [
        NotAssessed(
            subject=f"a claim of epsilon {epsilon:g}",
            reason=f"{audit.canaries:,} canaries cannot contradict it even if all are recognised; {remedy}",
        )
    ]
