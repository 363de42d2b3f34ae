"""The evidence of an audit: every outcome is drawn anew, and nothing that contradicts itself is shown."""

import base64
import copy

import numpy as np
import pytest

from wardline.attacks.intervals import clopper_pearson
from wardline.core import IntegrityError, Verdict
from wardline.core.canonical import to_json
from wardline.core.drawing.png import png
from wardline.crypto import SigningKey
from wardline.evidence import render_audit, verify_bundle, write_bundle
from wardline.evidence.audit_consistency import check_audit


def attack(name, broken, n, *, tolerated=0.0, control=(24, 24), checks=(), outcome):
    value = None
    if control is not None:
        found = clopper_pearson(*control)
        value = {"description": "everything within reach", "rate": control[0] / control[1], "interval": found}
        value |= {"n": control[1], "chance": 0.0, "passed": found.low > 0.5}
    return to_json(
        {
            "attack": name,
            "threat": {"goal": "another class", "access": "white box", "limits": "linf 0.03", "knowledge": ""},
            "paper": "Madry et al. 2018, section 2.1",
            "quantity": "attack_success_rate",
            "n": n,
            "rate": broken / n if n else None,
            "interval": clopper_pearson(broken, n) if n else None,
            "chance": 0.0,
            "tolerated": tolerated,
            "queries": 100,
            "gradients": 50,
            "checks": [{"name": "budget", "outcome": "pass", "detail": "all were begun"}, *checks],
            "seed": 0,
            "details": {},
            "control": value,
            "outcome": outcome,
            "seconds": 1.5,
        }
    )


def evidence(*attacks, outcome, preflight="pass", pictures=()):
    return {
        "schema": "wardline.audit/1",
        "project": "digits",
        "created": "2026-11-21T10:00:00Z",
        "seconds": 12.0,
        "verdict": {"outcome": outcome, "summary": "of all attacks"},
        "target": {
            "where": "models/digits",
            "kind": "folder",
            "sha256": "a" * 64,
            "access": "white box",
            "classes": 10,
            "inputs": {"shape": [1, 8, 8]},
        },
        "data": {"source": "digits.npz", "sha256": "b" * 64, "rows": 200},
        "settings": {
            "tier": "quick",
            "budget_seconds": 120.0,
            "seed": 0,
            "norm": "linf",
            "radius": 0.1,
            "tolerated": max(
                (one["tolerated"] for one in attacks if one["attack"] != "extraction.knockoff"), default=0.0
            ),
            "copied": 0.9,
        },
        "preflight": [{"name": "mode", "outcome": preflight, "detail": "it was in evaluation mode"}],
        "attacks": list(attacks),
        "curves": [
            {
                "title": "Accuracy against radius",
                "across": "radius",
                "up": "accuracy",
                "series": [{"label": "evasion.pgd", "points": [[0.0, 0.95, 0.9, 0.98], [0.1, 0.0, 0.0, 0.02]]}],
            }
        ],
        "pictures": list(pictures),
        "cut": [{"subject": "evasion.square", "reason": "it is left to the standard tier"}],
        "environment": {"python": "3.11", "platform": "Linux", "packages": {"numpy": "2"}},
    }


BROKEN = attack("evasion.pgd", 180, 200, outcome="fail")
WITHSTOOD = attack("evasion.square", 0, 200, outcome="pass")
UNCONTROLLED = attack("evasion.fab", 0, 200, control=None, outcome="inconclusive")
DOUBTFUL = attack(
    "evasion.fgsm",
    0,
    200,
    checks=({"name": "zero-gradients", "outcome": "inconclusive", "detail": "94 % of gradients are zero"},),
    outcome="inconclusive",
)
NOTHING = attack("evasion.cw", 0, 0, control=None, outcome="inconclusive")


@pytest.mark.parametrize(
    ("attacks", "outcome"),
    [
        ((BROKEN, WITHSTOOD), "fail"),
        ((WITHSTOOD,), "pass"),
        ((WITHSTOOD, UNCONTROLLED), "inconclusive"),
        ((WITHSTOOD, DOUBTFUL), "inconclusive"),
        ((NOTHING,), "inconclusive"),
        ((attack("evasion.pgd", 30, 200, tolerated=0.3, outcome="pass"),), "pass"),
        # Twenty trials without a success do not show that a rate lies near zero.
        ((attack("evasion.pgd", 0, 20, outcome="inconclusive"),), "inconclusive"),
        ((attack("evasion.pgd", 0, 200, control=(3, 24), outcome="inconclusive"),), "inconclusive"),
    ],
)
def test_the_verdict_follows_from_the_figures(attacks, outcome):
    value = evidence(*attacks, outcome=outcome)
    assert check_audit(value) is Verdict(outcome)
    for other in {"pass", "fail", "inconclusive"} - {outcome}:
        with pytest.raises(IntegrityError, match="add up to"):
            check_audit(evidence(*attacks, outcome=other))


def test_a_model_that_could_not_be_examined_does_not_pass():
    assert check_audit(evidence(WITHSTOOD, outcome="inconclusive", preflight="fail")) is Verdict.INCONCLUSIVE
    with pytest.raises(IntegrityError, match="add up to"):
        check_audit(evidence(WITHSTOOD, outcome="pass", preflight="inconclusive"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda one: one.update(outcome="pass"), "said to be pass", id="the outcome"),
        pytest.param(lambda one: one.update(rate=0.0), "outside of its interval", id="the rate"),
        pytest.param(lambda one: one["interval"].update(low=0.0), "not the exact one", id="the lower end"),
        pytest.param(lambda one: one["interval"].update(high=1.0), "not the exact one", id="the upper end"),
        pytest.param(lambda one: one.update(n=100), "not the exact one", id="fewer trials"),
        pytest.param(lambda one: one.update(n=201), "no share of its trials", id="one more trial"),
        pytest.param(lambda one: one.update(rate=None), "with its trials", id="no rate"),
        pytest.param(
            lambda one: one["checks"].append({"name": "ran", "outcome": "fail", "detail": "no"}),
            "said to be fail",
            id="a failed check",
        ),
        pytest.param(lambda one: one.pop("checks"), "no evidence of the form", id="no checks"),
    ],
)
def test_a_figure_that_was_bent_is_noticed(change, words):
    value = copy.deepcopy(evidence(BROKEN, outcome="fail"))
    change(value["attacks"][0])
    with pytest.raises(IntegrityError, match=words):
        check_audit(value)


def test_a_control_cannot_be_declared_passed():
    value = evidence(attack("evasion.pgd", 0, 200, control=(3, 24), outcome="pass"), outcome="pass")
    value["attacks"][0]["control"]["passed"] = True
    with pytest.raises(IntegrityError, match="positive control"):
        check_audit(value)


def test_a_control_must_beat_what_guessing_reaches_there():
    value = evidence(attack("extraction.knockoff", 0, 200, tolerated=0.9, outcome="pass"), outcome="pass")
    control = value["attacks"][0]["control"]
    control |= to_json({"rate": 150 / 200, "n": 200, "interval": clopper_pearson(150, 200), "chance": 0.6})
    assert check_audit(value) is Verdict.PASS
    control["chance"] = 0.74
    with pytest.raises(IntegrityError, match="positive control"):
        check_audit(value)


def test_an_audit_without_attacks_or_with_doubled_ones_is_refused():
    with pytest.raises(IntegrityError, match="without an attack"):
        check_audit(evidence(outcome="pass"))
    with pytest.raises(IntegrityError, match="twice"):
        check_audit(evidence(BROKEN, BROKEN, outcome="fail"))


@pytest.mark.parametrize("picture", ["no base64!", base64.b64encode(b"<svg onload=alert(1)>").decode()])
def test_a_picture_that_is_none_is_refused(picture):
    shown = {"title": "broken", "text": "", "png": picture}
    with pytest.raises(IntegrityError, match="picture"):
        check_audit(evidence(BROKEN, outcome="fail", pictures=[shown]))


def test_the_report_shows_everything_and_runs_nothing():
    picture = base64.b64encode(png(np.zeros((4, 4), np.uint8))).decode()
    hostile = copy.deepcopy(BROKEN)
    hostile["threat"]["goal"] = "<script>alert(1)</script>"
    value = evidence(hostile, WITHSTOOD, outcome="fail", pictures=[{"title": "grid", "text": "x", "png": picture}])
    page = render_audit(value).decode()
    assert page == render_audit(value).decode()
    assert "<script" not in page
    assert "img-src data:" in page
    assert f"data:image/png;base64,{picture}" in page
    for words in ("evasion.pgd", "90%", "evasion.square", "left to the standard tier", "models/digits"):
        assert words in page.replace("\u00a0", " ").replace(" %", "%")
    assert "img-src" not in render_audit(evidence(BROKEN, outcome="fail")).decode()


def test_a_signed_audit_verifies_and_cannot_pass_for_a_run(tmp_path):
    key = SigningKey.generate()
    value = evidence(BROKEN, outcome="fail")
    write_bundle(tmp_path / "audit", predicate=value, files={"report.html": render_audit(value)}, key=key)
    verified = verify_bundle(tmp_path / "audit", key.verifying_key)
    assert verified.verdict is Verdict.FAIL
    assert verified.predicate["schema"] == "wardline.audit/1"
    with pytest.raises(IntegrityError):
        write_bundle(
            tmp_path / "bent",
            predicate={**value, "verdict": {"outcome": "pass", "summary": ""}},
            files={"report.html": b"x"},
            key=key,
        )
    assert not (tmp_path / "bent").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tolerated": 0.95}, "tolerates other"),
        ({"chance": 0.95}, "reached by guessing"),
    ],
)
def test_an_attack_cannot_bring_its_own_line(change, told):
    value = evidence(copy.deepcopy(BROKEN), outcome="fail")
    check_audit(value)
    value["attacks"][0] |= {**change, "outcome": "pass"}
    value["verdict"]["outcome"] = "pass"
    value["settings"]["tolerated"] = 0.0
    with pytest.raises(IntegrityError, match=told):
        check_audit(value)


def test_an_interval_of_an_unknown_kind_is_refused():
    value = evidence(copy.deepcopy(BROKEN), outcome="fail")
    value["attacks"][0]["interval"] |= {"low": 0.0, "high": 0.9, "method": "by feeling"}
    with pytest.raises(IntegrityError, match="of a kind"):
        check_audit(value)


def inferred(guessed, baseline, outcome):
    one = attack("reconstruction.attribute", guessed, 400, control=None, outcome=outcome)
    one["checks"].append({"name": "control", "outcome": "pass", "detail": "on a model that leaks it is right"})
    found = to_json(clopper_pearson(baseline, 400))
    worse = {"value": 100 / 400, "interval": to_json(clopper_pearson(100, 400))}
    details = {"prior_alone": worse, "imputation": {"value": baseline / 400, "interval": found}}
    return one | {"chance": found["high"], "details": details}


def test_attribute_inference_is_measured_against_what_needs_no_model():
    assert check_audit(evidence(inferred(240, 236, "pass"), outcome="pass")) is Verdict.PASS
    leaky = evidence(inferred(360, 236, "fail"), outcome="fail")
    assert check_audit(leaky) is Verdict.FAIL
    raised = leaky["attacks"][0] | {"chance": 0.95, "outcome": "pass"}
    with pytest.raises(IntegrityError, match="known without the model"):
        check_audit(evidence(raised, outcome="pass"))


def searched(sizes, turned=190, n=200):
    logs = np.log(sizes)
    below = np.median(logs) - logs
    indices = below / (1.4826 * np.median(np.abs(below)))
    ratios = np.asarray(sizes) / np.median(sizes)
    return [
        to_json(
            {
                "label": label,
                "size": size,
                "index": float(index),
                "ratio": float(ratio),
                "n": n,
                "rate": turned / n,
                "interval": clopper_pearson(turned, n),
                "named": bool(index > 2 and ratio < 0.4 and turned > 120),
            }
        )
        for label, (size, index, ratio) in enumerate(zip(sizes, indices, ratios, strict=True))
    ]


CLEAN_SIZES, SMALL = (30.0, 33.0, 28.0, 35.0, 31.0, 29.0), (4.0, 33.0, 28.0, 35.0, 31.0, 29.0)


def triggers(sizes, control=SMALL, **change):
    found = searched(sizes)
    beside = searched(control)
    return {
        "paper": "Wang et al. 2019",
        "steps": 200,
        "images": 400,
        "seed": 0,
        "index": 2.0,
        "shrinkage": 0.4,
        "classes": found,
        "named": [one["label"] for one in found if one["named"]],
        "control": {"label": 0, "classes": beside, "passed": beside[0]["named"]},
        "seconds": 3.0,
        **change,
    }


def test_a_named_class_keeps_a_model_from_passing_and_does_not_fail_it():
    silent = evidence(WITHSTOOD, outcome="pass") | {"triggers": triggers(CLEAN_SIZES)}
    assert check_audit(silent) is Verdict.PASS
    named = evidence(WITHSTOOD, outcome="inconclusive") | {"triggers": triggers(SMALL)}
    assert named["triggers"]["named"] == [0]
    assert check_audit(named) is Verdict.INCONCLUSIVE
    page = render_audit(named).decode()
    assert "Class 0 stands out" in page
    with pytest.raises(IntegrityError, match="add up to"):
        check_audit(named | {"verdict": {"outcome": "pass", "summary": ""}})


def _unsay(part):
    part["named"] = []


def _unname(part):
    part["named"], part["classes"][0]["named"] = [], False


def _enlarge(part):
    part["classes"][0]["ratio"] = 0.9


def _loosen(part):
    part["index"] = 100.0


def _boast(part):
    part["control"] = {"label": 0, "classes": searched(CLEAN_SIZES), "passed": True}


@pytest.mark.parametrize("change", [_unsay, _unname, _enlarge, _loosen, _boast])
def test_a_search_for_triggers_that_contradicts_itself_is_refused(change):
    value = evidence(WITHSTOOD, outcome="inconclusive") | {"triggers": triggers(SMALL)}
    check_audit(value)
    change(value["triggers"])
    with pytest.raises(IntegrityError, match="hold together"):
        check_audit(value)
