"""The schema: what is accepted, and each refusal with its place, message and remedy."""

from __future__ import annotations

import datetime
import json

import pytest
from pydantic import ValidationError

from wardline.core import PolicyError, canonical_json
from wardline.policy import (
    AuditAttack,
    CategoryColumn,
    DpSgd,
    MembershipAttack,
    MembershipTpr,
    MlpModel,
    NumberColumn,
    PersonUnit,
    Policy,
    parse_policy,
)


def test_a_good_policy_is_read_as_it_stands(good):
    policy = parse_policy(good.encode()).policy
    assert policy.project == "adult-income"
    assert policy.data.unit == "row"
    assert policy.data.columns["age"] == NumberColumn(kind="number", low=17, high=90)
    work = policy.data.columns["work"]
    assert isinstance(work, CategoryColumn)
    assert work.values == ("?", "Private", "no")  # YAML 1.2: no is text
    assert policy.model == MlpModel(kind="mlp", hidden=(64,))
    assert policy.protections == (DpSgd(kind="dp-sgd", epsilon=3, delta=1e-5),)  # 1e-5 is a number
    assert policy.attacks == (MembershipAttack(kind="membership"), AuditAttack(kind="audit"))
    assert policy.gates[2] == MembershipTpr(rule="membership-tpr", at_fpr=0.01, at_most=0.05)
    assert policy.waivers[0].until == datetime.date(2027, 6, 30)
    assert policy.evidence.seed == 7


def test_a_policy_goes_through_json_and_back(good):
    policy = parse_policy(good.encode()).policy
    again = Policy.from_json(json.loads(canonical_json(policy.to_json())))
    assert again == policy
    assert "clip_norm" not in policy.to_json()["protections"][0]


def test_a_policy_cannot_be_changed(good):
    policy = parse_policy(good.encode()).policy
    with pytest.raises(ValidationError):
        policy.project = "other"
    with pytest.raises(TypeError):
        policy.data.columns["age"] = policy.data.columns["work"]
    assert isinstance(policy.gates, tuple)


def test_a_person_with_several_rows(good):
    text = good.replace("unit: row", "unit: {column: person, max_rows: 8}")
    assert parse_policy(text.encode()).policy.data.unit == PersonUnit(column="person", max_rows=8)


# Each: what is replaced, by what, the line, the message, a part of the hint.
CASES = {
    "unknown key": ("holdout: 0.25", "holdot: 0.25", 8, "data.holdot: is an unknown key", 'did you mean "holdout"?'),
    "noise is never given": (
        "epsilon: 3",
        "noise: 0\n    epsilon: 3",
        21,
        "protections[0].noise: is an unknown key",
        "calibrated",
    ),
    "epsilon zero": ("epsilon: 3", "epsilon: 0", 21, "protections[0].epsilon: must be above 0, not 0", "example 3"),
    "epsilon negative": ("epsilon: 3", "epsilon: -1", 21, "protections[0].epsilon: must be above 0, not -1", "3"),
    "epsilon nan": ("epsilon: 3", "epsilon: .nan", 21, "protections[0].epsilon: must be a finite number, not nan", "3"),
    "epsilon inf": ("epsilon: 3", "epsilon: .inf", 21, "protections[0].epsilon: must be a finite number, not inf", "3"),
    "epsilon overflow": ("epsilon: 3", "epsilon: 1e999", 21, "protections[0].epsilon: must be a finite number", "3"),
    "epsilon text": (
        "epsilon: 3",
        'epsilon: "3"',
        21,
        'protections[0].epsilon: must be a number, not the text "3"',
        "3",
    ),
    "epsilon flag": ("epsilon: 3", "epsilon: true", 21, "protections[0].epsilon: must be a number, not the flag", "3"),
    "epsilon absent": ("epsilon: 3", "epsilon:", 21, "protections[0].epsilon: has no value", "write a value"),
    "delta zero": ("delta: 1e-5", "delta: 0", 22, "protections[0].delta: must be above 0, not 0", "1 / number"),
    "delta one": ("delta: 1e-5", "delta: 1", 22, "protections[0].delta: must be below 1, not 1", "1e-5"),
    "delta above one": ("delta: 1e-5", "delta: 1.5", 22, "protections[0].delta: must be below 1, not 1.5", "1e-5"),
    "delta underflow": ("delta: 1e-5", "delta: 1e-999", 22, "protections[0].delta: must be above 0", "1e-5"),
    "target missing": ("target: income", "target: incme", 6, 'data.target: names the column "incme"', '"income"'),
    "target ignored": ("target: income", "target: person", 6, "data.target: names a column of kind ignore", "category"),
    "target a number": ("target: income", "target: age", 6, "data.target: names a column of kind number", "category"),
    "target with gaps": ("target: income", "target: work", 6, "data.target: names a column whose values may", "false"),
    "one value": ('["<=50K", ">50K"]', '["<=50K"]', 15, "data.columns.income.values: has 1 entries; at least 2", "2"),
    "value twice": ('"?", Private, no', "Private, Private", 13, 'work.values: lists "Private" twice', "once"),
    "1 and '1'": ('"?", Private, no', '1, "1"', 13, 'data.columns.work.values: lists "1" twice', "once"),
    "flag for value": ('"?", Private, no', "true, false", 13, "values[0]: holds true, which is a flag", "boolean"),
    "low above high": ("low: 17, high: 90", "low: 90, high: 17", 11, "low (90) is not below high (17)", "exchange"),
    "low is high": ("low: 17, high: 90", "low: 17, high: 17", 11, "low (17) is not below high (17)", "widen"),
    "range too wide": ("low: 17, high: 90", "low: -1e308, high: 1e308", 11, "too wide to compute with", "narrow"),
    "log below zero": ("low: 0, high: 99999", "low: -1, high: 9", 12, "scale: log needs low of at least 0", "linear"),
    "low not whole": (
        "low: 0, high: 99999",
        "low: 0.5, high: 9",
        12,
        "gain.low: must be a whole number, not the",
        "smallest",
    ),
    "unit unknown": ("unit: row", "unit: rows", 7, "data.unit: must be row, or a mapping with", "unit: row"),
    "unit column missing": (
        "unit: row",
        "unit: {column: persn, max_rows: 2}",
        7,
        'names the column "persn"',
        '"person"',
    ),
    "unit column a feature": (
        "unit: row",
        "unit: {column: age, max_rows: 2}",
        11,
        "age.kind: names the person",
        "ignore",
    ),
    "unit is the target": ("unit: row", "unit: {column: income, max_rows: 2}", 7, "names the target", "whose row"),
    "unit without bound": ("unit: row", "unit: {column: person}", 7, "data.unit.max_rows: is missing", "max_rows: 8"),
    "holdout zero": ("holdout: 0.25", "holdout: 0", 8, "data.holdout: must be above 0, not 0", "0.25"),
    "holdout one": ("holdout: 0.25", "holdout: 1.0", 8, "data.holdout: must be below 1, not 1.0", "0.25"),
    "budget below epsilon": ("epsilon: 10", "epsilon: 2", 21, "is 3, above the limit of 2 in data.budget", "lower it"),
    "budget below delta": (
        "delta: 1e-4",
        "delta: 1e-6",
        22,
        "protections[0].delta: is 1e-05, above the limit",
        "lower",
    ),
    "http": ("file:adult.parquet", "http://h.example/a.csv", 5, "data.source: is not encrypted", "https:"),
    "https without digest": (
        "file:adult.parquet",
        "https://h.example/a.csv",
        4,
        "data: an https source needs sha256",
        "add",
    ),
    "password": ("file:adult.parquet", "https://u:p@h.example/a.csv", 5, "data.source: holds a user name or", "remove"),
    "no file at all": (
        "file:adult.parquet",
        "https://h.example",
        5,
        "data.source: is not the address of a file",
        "HOST",
    ),
    "bad port": ("file:adult.parquet", "https://h.example:x/a", 5, "data.source: is not an address", "HOST"),
    "no scheme": ("file:adult.parquet", "adult.parquet", 5, "data.source: does not say what kind", "file:PATH"),
    "odd scheme": ("file:adult.parquet", "ftp://h.example/a", 5, "data.source: starts with 'ftp:'", "file:PATH"),
    "file host": (
        "file:adult.parquet",
        "file:///adult.parquet",
        5,
        "data.source: is a file address with a host",
        "PATH",
    ),
    "header of none": (
        "source: file:adult.parquet",
        "source: sklearn:wine\n  header: false",
        4,
        "is about CSV",
        "remove",
    ),
    "digest short": (
        "  target: income",
        "  sha256: abc\n  target: income",
        6,
        'data.sha256: "abc" does not have',
        "64 hex",
    ),
    "hidden zero": ("hidden: [64]", "hidden: [0]", 16, "model.hidden[0]: must be at least 1, not 0", "4,096"),
    "hidden huge": ("hidden: [64]", "hidden: [1000000]", 16, "model.hidden[0]: must be at most 4096", "4,096"),
    "hidden empty": ("hidden: [64]", "hidden: []", 16, "model.hidden: is empty", "[64]"),
    "hidden no list": ("hidden: [64]", "hidden: 64", 16, "model.hidden: must be a list, not the number 64", "[64]"),
    "model unknown": ("{kind: mlp, hidden: [64]}", "{kind: mpl}", 16, 'model.kind: "mpl" is not known', '"mlp"?'),
    "model without kind": (
        "{kind: mlp, hidden: [64]}",
        "{hidden: [64]}",
        16,
        "model: has no kind",
        "logistic, mlp, cnn",
    ),
    "tiny images": (
        "{kind: mlp, hidden: [64]}",
        "{kind: cnn, shape: [1, 8, 8], channels: [1, 1, 1, 1], hidden: 8}",
        16,
        "model: 4 convolutions halve 8 x 8 pixels to nothing",
        "fewer",
    ),
    "access unknown": (
        "access: artefact",
        "access: artifact",
        18,
        'threats[0].access: "artifact" is not',
        '"artefact"?',
    ),
    "no gates": (
        "gates:\n  - {rule: claims-hold}\n  - {rule: accuracy, at_least: 0.835}\n"
        "  - {rule: membership-tpr, at_fpr: 0.01, at_most: 0.05}\nwaivers:\n"
        '  - {rule: accuracy, who: "A. Person <a@b.example>", why: pilot only, until: 2027-06-30}\n',
        "gates: []\n",
        26,
        "gates: is empty: a gate without rules passes everything",
        "claims-hold",
    ),
    "gate twice": (
        "{rule: accuracy, at_least: 0.835}",
        "{rule: claims-hold}",
        28,
        "gates[1].rule: lists claims-hold a",
        "keep",
    ),
    "gate unknown": (
        "{rule: claims-hold}",
        "{rule: claim-holds}",
        27,
        'gates[0].rule: "claim-holds" is not',
        '"claims-hold"?',
    ),
    "claims without audit": (
        "  - {kind: audit, canaries: 1000}\n",
        "",
        26,
        "rests on an attack of kind audit",
        "kind: audit",
    ),
    "tpr without attack": (
        "  - {kind: membership, methods: [loss, rmia, lira], references: 16}\n",
        "",
        28,
        "gates[2].rule: membership-tpr rests on an attack of kind membership",
        "kind: membership",
    ),
    "limit below guessing": (
        "at_most: 0.05",
        "at_most: 0.005",
        29,
        "gates[2].at_most: is 0.005, below at_fpr",
        "above",
    ),
    "unmeasured rate": ("at_fpr: 0.01", "at_fpr: 0.02", 29, "gates[2].at_fpr: is 0.02, which the membership", "0.01"),
    "unused method": ("methods: [loss, rmia, lira]", "methods: [loss, loss]", 24, 'lists "loss" twice', "once"),
    "attack twice": (
        "{kind: audit, canaries: 1000}",
        "{kind: membership}",
        25,
        "attacks[1].kind: lists membership",
        "one",
    ),
    "waived claim": ("{rule: accuracy, who", "{rule: claims-hold, who", 31, "claims-hold cannot be waived", "defect"),
    "waiver for nothing": (
        "{rule: accuracy, who",
        "{rule: membership-auc, who",
        31,
        "which gates does not list",
        "remove",
    ),
    "waiver without name": ('who: "A. Person <a@b.example>"', 'who: ""', 31, "waivers[0].who: is empty", "visible"),
    "waiver date": ("2027-06-30", "2027-02-30", 31, 'waivers[0].until: "2027-02-30" is not in the calendar', "YYYY"),
    "waiver no date": ("2027-06-30", "tomorrow", 31, 'waivers[0].until: must be a date, not "tomorrow"', "YYYY"),
    "seed negative": ("seed: 7", "seed: -1", 32, "evidence.seed: must be at least 0, not -1", "seed"),
    "seed fraction": ("seed: 7", "seed: 7.0", 32, "evidence.seed: must be a whole number, not the number 7.0", "seed"),
    "schema absent": ("schema: 1\n", "", 1, "schema: is missing", 'add "schema: 1"'),
    "schema of tomorrow": (
        "schema: 1",
        "schema: 2",
        1,
        "schema: is version 2; this wardline reads version 1",
        "write 1",
    ),
    "schema a fraction": ("schema: 1", "schema: 1.0", 1, "schema: must be a whole number, not 1.0", "digits alone"),
    "schema a flag": ("schema: 1", "schema: true", 1, "schema: must be a whole number, not true", "digits alone"),
    "project a path": ("project: adult-income", "project: ../up", 2, 'project: "../up" does not have', "letters"),
    "purpose invisible": ("Predict who earns more.", '"a\\u202Eb"', 3, "purpose: holds a control character", "visible"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_refusal_names_place_and_remedy(refused, name):
    old, new, line, message, hint = CASES[name]
    error = refused(old, new)
    assert error.where == f"policy.yaml:{line}"
    assert message in error.message
    assert hint in error.hint
    assert error.code == "WL-E201"
    assert error.exit_code == 2


def test_all_problems_are_told_at_once_in_the_order_of_the_file(good):
    text = good
    for old, new in (
        ("target: income", "target: incme"),
        ("holdout: 0.25", "holdout: 2"),
        ("low: 17, high: 90", "low: 90, high: 17"),
        ("epsilon: 3", "epsilon: .nan"),
        ("{rule: accuracy, at_least: 0.835}", "{rule: claims-hold}"),
    ):
        text = text.replace(old, new)
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode())
    assert str(caught.value).splitlines() == [
        'policy.yaml:6: data.target: names the column "incme", which data.columns does not list',
        "policy.yaml:8: data.holdout: must be below 1, not 2",
        "policy.yaml:11: data.columns.age: low (90) is not below high (17)",
        "policy.yaml:21: protections[0].epsilon: must be a finite number, not nan",
        "policy.yaml:28: gates[1].rule: lists claims-hold a second time",
        "policy.yaml:31: waivers[0].rule: waives accuracy, which gates does not list",
    ]
    assert len(caught.value.hint.splitlines()) == 6


def test_a_policy_made_in_python_is_held_to_the_same_rules(good):
    value = parse_policy(good.encode()).policy.to_json()
    value["gates"] = [{"rule": "membership-auc", "at_most": 0.6}]
    value["attacks"] = [{"kind": "audit"}]
    value["waivers"] = []
    with pytest.raises(ValidationError, match="membership-auc rests on an attack of kind membership"):
        Policy.from_json(value)


def test_an_expired_waiver_is_not_the_schemas_business(good):
    policy = parse_policy(good.replace("2027-06-30", "2001-01-01").encode()).policy
    assert policy.waivers[0].until.year == 2001


def test_the_same_rule_at_two_rates_is_no_repetition(good):
    more = "at_most: 0.05}\n  - {rule: membership-tpr, at_fpr: 0.001, at_most: 0.01}"
    assert len(parse_policy(good.replace("at_most: 0.05}", more).encode()).policy.gates) == 4


@pytest.mark.parametrize(
    "source",
    ["sklearn:breast_cancer", "file:folder/a table.csv", "file:../x.parquet", "https://h.example:8443/a.csv?b=c"],
)
def test_sources_that_are_taken(good, source):
    text = good.replace("source: file:adult.parquet", f'source: "{source}"\n  sha256: {"A" * 64}')
    data = parse_policy(text.encode()).policy.data
    assert (data.source, data.sha256) == (source, "a" * 64)


@pytest.mark.parametrize(
    "protection", ["{kind: search, on: private, grid: {learning_rate: [0.1, 1]}}", "{kind: scaling, fit: data}"]
)
def test_contradictory_protections_are_spoken_of_but_refused_later(good, protection):
    policy = parse_policy(good.replace("protections:\n", f"protections:\n  - {protection}\n").encode()).policy
    assert len(policy.protections) == 2
    assert Policy.from_json(policy.to_json()) == policy
