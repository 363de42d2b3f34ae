"""From policy and facts to a plan: what is decided, and what is refused before anything is spent."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable

import pytest

from wardline.core import ConflictError, PolicyError
from wardline.dp import epsilon_spent
from wardline.gate import Accuracy, AttacksRan, ClaimsHold
from wardline.models import Cnn, Logistic, Mlp
from wardline.plan import DataFacts, contract_of, expected_seconds, resolve
from wardline.plan.cost import told
from wardline.policy import LoadedPolicy, parse_policy

TODAY = datetime.date(2026, 11, 21)
FACTS = DataFacts(
    source="file:t.csv",
    sha256="0" * 64,
    account="b" * 64,
    rows=1000,
    units=1000,
    unit="row",
    train_rows=750,
    train_units=750,
    holdout_rows=250,
    holdout_units=250,
    features=4,
    classes=("no", "yes"),
)
POLICY = """\
schema: 1
project: test
purpose: A test.
data:
  source: file:t.csv
  target: sick
  unit: row
  columns:
    a: {kind: number, low: 0, high: 1}
    sick: {kind: category, values: ["no", "yes"]}
model: {kind: logistic}
threats:
  - {adversary: outsider, access: artefact, goal: membership}
protections:
  - {kind: dp-sgd, epsilon: 3, delta: 1e-5}
attacks:
  - {kind: audit, canaries: 500}
gates:
  - {rule: claims-hold}
  - {rule: accuracy, at_least: 0.9}
"""


def loaded(old: str = "", new: str = "") -> LoadedPolicy:
    assert old in POLICY
    return parse_policy(POLICY.replace(old, new, 1).encode() if old else POLICY.encode())


def test_the_noise_is_calibrated_to_the_promise() -> None:
    plan = resolve(loaded(), FACTS, today=TODAY)
    training = plan.training
    spent = epsilon_spent(
        delta=1e-5,
        sample_rate=training.sample_rate,
        noise_multiplier=training.noise_multiplier,
        steps=training.steps,
    )
    assert 2.9 < spent <= 3
    assert plan.claim.value == 3
    assert plan.claim.parameters["units"] == 750
    assert plan.rules == (AttacksRan(planned=("audit",)), ClaimsHold(), Accuracy(at_least=0.9))
    assert plan.membership is None
    assert any(one.subject == "membership inference" for one in plan.not_assessed)


def test_that_claims_hold_is_always_asked() -> None:
    plan = resolve(loaded("  - {rule: claims-hold}\n"), FACTS, today=TODAY)
    assert sum(isinstance(rule, ClaimsHold) for rule in plan.rules) == 1


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("{kind: logistic}", Logistic(inputs=4, classes=2)),
        ("{kind: mlp, hidden: [8, 4]}", Mlp(inputs=4, hidden=(8, 4), classes=2)),
        (
            "{kind: cnn, shape: [1, 2, 2], channels: [3], hidden: 5}",
            Cnn(shape=(1, 2, 2), channels=(3,), hidden=5, classes=2),
        ),
    ],
)
def test_models(model: str, expected: object) -> None:
    assert resolve(loaded("{kind: logistic}", model), FACTS, today=TODAY).architecture == expected


def test_overrides_are_kept_and_calibrated_for() -> None:
    plan = resolve(
        loaded("delta: 1e-5}", "delta: 1e-5, batch: 75, epochs: 4, clip_norm: 2, learning_rate: 0.25}"),
        FACTS,
        today=TODAY,
    )
    training = plan.training
    assert (training.sample_rate, training.steps, training.clip_norm) == (0.1, 40, 2)
    assert training.learning_rate == 0.25


def test_a_person_with_several_rows() -> None:
    text = POLICY.replace("unit: row", "unit: {column: who, max_rows: 3}")
    text = text.replace("    sick:", "    who: {kind: ignore}\n    sick:")
    policy = parse_policy(text.encode())
    plan = resolve(policy, dataclasses.replace(FACTS, unit="who"), today=TODAY)
    assert (plan.training.unit, plan.training.max_rows_per_unit) == ("person", 3)
    assert contract_of(policy.policy).unit_column == "who"


def waive(until: str) -> str:
    return f'waivers:\n  - {{rule: accuracy, who: "A. P.", why: pilot, until: {until}}}\ngates:'


SEARCH = "protections:\n  - {kind: search, on: private, grid: {batch: [1, 2]}}"
PUBLIC_SEARCH = SEARCH.replace("private", "public")
ALONE = "protections:\n  - {kind: scaling, fit: data}"


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (("delta: 1e-5", "delta: 0.0014"), PolicyError, "1/n"),
        (("gates:", waive("2026-11-20")), PolicyError, "expired"),
        (("protections:", SEARCH), ConflictError, "search on private data breaks what dp-sgd needs"),
        (("protections:", PUBLIC_SEARCH), PolicyError, "not available"),
        (("protections:", ALONE), ConflictError, "scaling fitted on data"),
        (
            ("  - {kind: dp-sgd", "  - {kind: dp-sgd, epsilon: 1, delta: 1e-6}\n  - {kind: dp-sgd"),
            ConflictError,
            "only",
        ),
        (("{kind: dp-sgd, epsilon: 3, delta: 1e-5}", "{kind: scaling, fit: data}"), PolicyError, "nothing protects"),
        (("{kind: logistic}", "{kind: cnn, shape: [1, 3, 3], channels: [2], hidden: 2}"), PolicyError, "9 pixels"),
        (("delta: 1e-5}", "delta: 1e-5, batch: 751}"), PolicyError, "batch"),
    ],
)
def test_refused_with_place_and_remedy(change: tuple[str, str], error: type[PolicyError], named: str) -> None:
    with pytest.raises(error) as caught:
        resolve(loaded(*change), FACTS, today=TODAY)
    assert named in str(caught.value)
    assert caught.value.where.startswith("policy.yaml:")
    assert caught.value.hint


def test_a_waiver_holds_on_its_last_day() -> None:
    plan = resolve(loaded("gates:", waive("2026-11-21")), FACTS, today=TODAY)
    assert plan.waivers[0].until == TODAY


def test_a_delta_just_below_the_limit_is_taken() -> None:
    read: Callable[[str], LoadedPolicy] = lambda delta: loaded("delta: 1e-5", f"delta: {delta}")  # noqa: E731
    assert resolve(read("0.00133"), FACTS, today=TODAY).training.delta == 0.00133


def test_the_plan_prints_what_matters() -> None:
    text = str(resolve(loaded("goal: membership", "goal: extraction"), FACTS, today=TODAY))
    for part in ("noise_multiplier", "epsilon <= 3", "delta 1e-05", "extraction by outsider", "canaries: 500"):
        assert part in text


@pytest.mark.parametrize(
    ("epsilon", "canaries", "told"),
    [("3", "500", None), ("5", "500", "are needed"), ("20", "500", "no number could")],
)
def test_an_audit_that_cannot_contradict_the_claim_is_told_beforehand(
    epsilon: str, canaries: str, told: str | None
) -> None:
    policy = parse_policy(POLICY.replace("epsilon: 3", f"epsilon: {epsilon}").replace("500", canaries).encode())
    reasons = [one.reason for one in resolve(policy, FACTS, today=TODAY).not_assessed if "claim of" in one.subject]
    assert bool(reasons) == bool(told)
    assert all((told or "") in reason for reason in reasons)


def test_the_expected_cost_grows_with_the_work_and_is_told() -> None:
    small = expected_seconds(resolve(loaded(), FACTS, today=TODAY))
    assert set(small) == {"train", "baseline", "audit"}
    assert all(seconds > 0 for seconds in small.values())
    large = expected_seconds(resolve(loaded("{kind: logistic}", "{kind: mlp, hidden: [512, 512]}"), FACTS, today=TODAY))
    assert all(large[step] > small[step] for step in small)
    text = str(resolve(loaded(), FACTS, today=TODAY))
    assert "charges     epsilon 3 at delta 1e-05, once" in text
    assert "on one core" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "less than a second"),
        (1.4, "about 1 s"),
        (47, "about 50 s"),
        (115, "about 100 s"),
        (500, "about 8 minutes"),
    ],
)
def test_durations_are_told_with_one_digit(seconds: float, text: str) -> None:
    assert told(seconds) == text
