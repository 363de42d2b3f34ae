"""A policy in plain sentences, for a person who is not a specialist."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import assert_never

from wardline.policy.dataset import IgnoredColumn, PersonUnit
from wardline.policy.fields import number
from wardline.policy.rules import (
    Accuracy,
    BaselineAccuracy,
    ClaimsHold,
    Gate,
    MembershipAuc,
    MembershipTpr,
    PriceOfPrivacy,
)
from wardline.policy.schema import Policy
from wardline.policy.sections import (
    Attack,
    AuditAttack,
    CnnModel,
    DpSgd,
    LogisticModel,
    MembershipAttack,
    MlpModel,
    Model,
    Protection,
    Scaling,
    Search,
    Threat,
)

_ACCESS = {
    "labels": "sees only the labels that the model predicts",
    "scores": "sees the model's scores for every class",
    "artefact": "holds the model's files",
}
_GOAL = {
    "membership": "learn whether a given person is in the training data",
    "attribute": "learn something about a person that they do not know yet",
    "reconstruction": "reconstruct training data",
    "extraction": "copy the model",
}
_WIDTH = 100


def guess_accuracy(epsilon: float, delta: float) -> float:
    """How often somebody can at best be right about one person, who was 50:50 unsure before.

    Of all tests of "in the data" against "not in the data" on an (epsilon, delta)-private release, with even
    odds beforehand, none is right with a higher probability than (e^epsilon + delta) / (1 + e^epsilon).

    Args:
        epsilon: privacy loss, above 0.
        delta: failure probability, in (0, 1).

    Returns:
        A probability in (0.5, 1].

    References:
        Kairouz, Oh and Viswanath 2015, theorem 2.1.
    """
    wrong = (1 - delta) * math.exp(-epsilon) / (1 + math.exp(-epsilon))
    return 1 - wrong


def recognised_share(epsilon: float, delta: float, *, at_fpr: float) -> float:
    """The largest true-positive rate that an (epsilon, delta)-private release allows at a false-positive rate.

    Args:
        epsilon: privacy loss, above 0.
        delta: failure probability, in (0, 1).
        at_fpr: the false-positive rate, in (0, 1).

    Returns:
        A probability.

    References:
        Kairouz, Oh and Viswanath 2015, theorem 2.1.
    """
    # The first bound holds sway at low rates; min() before exp() keeps a huge epsilon from overflowing.
    low = at_fpr * math.exp(min(epsilon, 700.0)) + delta
    high = 1 - math.exp(-epsilon) * (1 - delta - at_fpr)
    return min(1.0, low, high)


def explain(policy: Policy) -> str:
    """Say in plain sentences what is protected, from whom, how well, what is measured and when it passes.

    Args:
        policy: a valid policy.

    Returns:
        Text of several headed paragraphs, wrapped at 100 characters.
    """
    blocks = [
        [f"{policy.project}: {policy.purpose}"],
        ["Whose data", *_wrapped(_data(policy))],
        ["From whom it is protected", *_wrapped(_threat(threat) for threat in policy.threats)],
        ["What is trained", *_wrapped([_model(policy.model)])],
        ["How it is protected", *_wrapped(_protection(one, policy) for one in policy.protections)],
        ["What is tried against the result", *_wrapped(_attack(attack) for attack in policy.attacks)],
        ["When it passes", *_wrapped(_gates(policy))],
    ]
    if policy.waivers:
        waivers = (
            f"{one.rule} may fail until {one.until.isoformat()}: {one.who} answers for it ({one.why})."
            for one in policy.waivers
        )
        blocks.append(["What a person has let pass", *_wrapped(waivers)])
    blocks.append(["What it does not say", *_wrapped(_limits(policy))])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _wrapped(sentences: Iterable[str]) -> list[str]:
    return [textwrap.fill(one, _WIDTH, initial_indent="- ", subsequent_indent="  ") for one in sentences]


def _percent(share: float) -> str:
    return f"{share * 100:.6g} %"


def _at_most(share: float) -> str:
    """A share as a percentage that never understates it, with one decimal."""
    tenths = math.ceil(share * 1000 - 1e-9)
    return "nearly 100 %" if tenths >= 1000 else f"{tenths / 10:g} %"


def _data(policy: Policy) -> Iterator[str]:
    data = policy.data
    match data.unit:
        case PersonUnit(column=column, max_rows=max_rows):
            yield (
                f"What counts is the person that the column {column} names, with all of their rows, of which at "
                f"most {max_rows} are used."
            )
        case "row":
            yield "What counts is each row: it is taken to be about one person, and no person to have two."
        case _ as other:
            assert_never(other)
    read = sum(not isinstance(column, IgnoredColumn) for column in data.columns.values()) - 1
    yield f"The table is {data.source}. The model predicts {data.target} from {read} other columns."
    yield (
        "Its digest is pinned: other data is refused."
        if data.sha256 or data.table_sha256
        else "Its digest is not pinned: a later run may find other data there."
    )
    yield f"{_percent(data.holdout)} of the people are kept apart from training, for measuring only."
    if data.budget is not None:
        yield (
            f"All releases from this table together may not exceed epsilon {number(data.budget.epsilon)} and delta "
            f"{number(data.budget.delta)}; a run that would is refused."
        )


def _threat(threat: Threat) -> str:
    return f"{threat.adversary}: {_ACCESS[threat.access]} and wants to {_GOAL[threat.goal]}."


def _model(model: Model) -> str:
    match model:
        case LogisticModel():
            return "A logistic regression."
        case MlpModel(hidden=hidden):
            layers = "a hidden layer" if len(hidden) == 1 else "hidden layers"
            return f"A multilayer perceptron with {layers} of {' and '.join(map(str, hidden))} units."
        case CnnModel(shape=shape, channels=channels):
            size = " x ".join(map(str, shape))
            return f"A convolutional network for images of {size}, with {len(channels)} convolutions."
        case _:
            assert_never(model)


def _protection(protection: Protection, policy: Policy) -> str:
    match protection:
        case DpSgd():
            return _dp_sgd(protection, policy)
        case Search(on="public"):
            return "Settings are searched on public data."
        case Search():
            return "Settings are searched on the protected data, which no other protection accounts for."
        case Scaling():
            return "Features are scaled by statistics of the protected data, which no other protection accounts for."
        case _:
            assert_never(protection)


def _dp_sgd(protection: DpSgd, policy: Policy) -> str:
    who = "one row" if policy.data.unit == "row" else "one person"
    epsilon, delta = protection.epsilon, protection.delta
    certain = guess_accuracy(epsilon, delta)
    found = recognised_share(epsilon, delta, at_fpr=0.01)
    weak = " That is close to certainty: alone, this epsilon promises little." if certain >= 0.99 else ""
    return (
        f"Training adds noise, so that the model depends little on {who} (differential privacy, epsilon "
        f"{number(epsilon)}, delta {number(delta)}). In words: an adversary who is 50:50 unsure whether a person "
        f"is in the training data, and who knows everything else about it, will after seeing the model be right "
        f"in at most {_at_most(certain)} of cases.{weak} If only 1 % of outsiders may be wrongly accused, at most "
        f"{_at_most(found)} of members can be recognised. Smaller epsilon, stronger promise."
    )


def _attack(attack: Attack) -> str:
    match attack:
        case MembershipAttack():
            rates = " and ".join(_percent(rate) for rate in attack.fpr)
            return (
                f"Membership inference ({', '.join(attack.methods)}) with {attack.references} reference models: how "
                f"many members can be told from outsiders, if {rates} of outsiders may be wrongly accused."
            )
        case AuditAttack():
            return (
                f"An audit: {attack.canaries} marked examples, half of them left out; how well they can be told apart "
                f"proves, with {_percent(attack.confidence)} confidence, how large epsilon is at least."
            )
        case _:
            assert_never(attack)


def _gates(policy: Policy) -> Iterator[str]:
    yield "All of these must hold, and every attack must have worked on a model without protection."
    for gate in policy.gates:
        yield _gate(gate)


def _gate(gate: Gate) -> str:
    match gate:
        case ClaimsHold():
            return "No measurement contradicts a claim; a measured epsilon above the claimed one is a defect."
        case Accuracy(at_least=least):
            return f"The released model is right on at least {_percent(least)} of the rows kept apart."
        case BaselineAccuracy(at_least=least):
            return f"The same model without protection is right on at least {_percent(least)} of them."
        case PriceOfPrivacy(at_most=most):
            return f"Protection costs at most {_percent(most)} of accuracy, in percentage points."
        case MembershipTpr(at_fpr=rate, at_most=most, method=method):
            how = f"By {method}" if method else "By every method"
            return (
                f"{how}, at most {_percent(most)} of members are recognised while {_percent(rate)} of outsiders "
                f"are wrongly accused."
            )
        case MembershipAuc(at_most=most):
            return f"Membership inference has an area under the ROC curve of at most {most:g} (0.5 is guessing)."
        case _:
            assert_never(gate)


def _limits(policy: Policy) -> Iterator[str]:
    yield "What the model shows about people in general is no secret: it is what the model is for."
    untested = sorted({threat.goal for threat in policy.threats} - {"membership"})
    if untested:
        yield f"Nothing here attempts {' or '.join(untested)}; about that the report holds no measurement."
    yield "An attack that fails does not prove that a better one would."
