"""Writes the three evidence vectors that the report's tests render. The figures are invented, their shape is real.

Run it again after a change of the evidence's form: ``python tests/vectors/make_evidence.py``.
The ROC curves are those of two normal distributions at a distance d (binormal model, equal variances).
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from statistics import NormalDist

from wardline.core import canonical_json

HERE = Path(__file__).parent
NORMAL = NormalDist()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def curve(distance: float) -> tuple[list[float], list[float]]:
    """60 points of a binormal ROC, evenly spaced in the logarithm of the false-positive rate."""
    fpr = [round(10 ** (-4 + 4 * step / 59), 6) for step in range(60)]
    tpr = [1.0 if x >= 1 else round(NORMAL.cdf(NORMAL.inv_cdf(x) + distance), 6) for x in fpr]
    return fpr, tpr


def interval(low: float, high: float, method: str = "Clopper-Pearson") -> dict:
    return {"low": low, "high": high, "level": 0.95, "method": method}


def measurement(**fields: object) -> dict:
    base = {
        "bound": "estimate",
        "interval": None,
        "bears_on": None,
        "control": None,
        "refused": "",
        "details": {},
        "seconds": 1.0,
    }
    return {**base, **fields}


def membership(method: str, figures: dict, released: float, control: float, *, passed: bool = True) -> dict:
    fpr, tpr = curve(released)
    control_fpr, control_tpr = curve(control)
    references = {
        "loss": "Yeom, Giacomelli, Fredrikson, Jha 2018, section 3",
        "rmia": "Zarifzadeh, Liu, Shokri 2024, section 3",
        "lira": "Carlini, Chien, Nasr, Song, Terzis, Tramèr 2022, section 4",
    }
    return measurement(
        id=f"membership.{method}",
        quantity="tpr_at_fpr_0.01",
        value=figures["value"],
        interval=interval(*figures["interval"]),
        trials=8140,
        subject="released",
        control={
            "description": "the model without protection, trained until it remembers",
            "value": figures["control"],
            "interval": interval(*figures["control_interval"]),
            "threshold": 0.02,
            "passed": passed,
        },
        method=f"{method} with 16 reference models" if method != "loss" else "loss threshold",
        reference=references[method],
        details={"roc": {"fpr": fpr, "tpr": tpr, "control_fpr": control_fpr, "control_tpr": control_tpr}},
        seconds=21.4,
    )


def rule(code: str, name: str, title: str, outcome: str, message: str, **links: object) -> dict:
    base = {"code": code, "rule": name, "title": title, "outcome": outcome, "message": message}
    return {**base, "claim": None, "measurement": None, "waiver": None, **links}


def passing() -> dict:
    policy = {
        "schema": 1,
        "project": "adult-income",
        "purpose": "Predict whether a person earns above 50,000 without giving anybody away.",
        "data": {
            "source": "file:adult.parquet",
            "target": "income",
            "unit": "row",
            "holdout": 0.25,
            "budget": {"epsilon": 10, "delta": 1e-4},
            "columns": {
                "age": {"kind": "number", "low": 17, "high": 90},
                "workclass": {"kind": "category", "values": ["?", "Private", "State-gov"]},
                "income": {"kind": "category", "values": ["<=50K", ">50K"]},
            },
        },
        "model": {"kind": "mlp", "hidden": [64]},
        "threats": [{"adversary": "outsider", "access": "artefact", "goal": "membership"}],
        "protections": [{"kind": "dp-sgd", "epsilon": 3, "delta": 1e-5}],
        "attacks": [
            {"kind": "membership", "methods": ["loss", "rmia", "lira"], "references": 16},
            {"kind": "audit", "canaries": 1000},
        ],
        "gates": [
            {"rule": "claims-hold"},
            {"rule": "accuracy", "at_least": 0.835},
            {"rule": "membership-tpr", "at_fpr": 0.01, "at_most": 0.05},
            {"rule": "baseline-accuracy", "at_least": 0.845},
        ],
        "waivers": [],
        "evidence": {"seed": 0},
    }
    claim = {
        "id": "dp.training",
        "quantity": "epsilon",
        "value": 3.0,
        "direction": "at_most",
        "statement": "Training satisfies (3, 1e-5)-differential privacy when one row is added or removed.",
        "adversary": "anybody who sees the released model, knows all other rows and has unlimited computing power",
        "parameters": {
            "delta": 1e-5,
            "unit": "row",
            "neighbours": "add or remove one",
            "noise_multiplier": 0.912,
            "sample_rate": 0.021,
            "steps": 940,
            "clip_norm": 1.0,
            "accountant": "PLD",
        },
        "assumptions": [
            "The number of training rows is public.",
            "The noise comes from a generator that nobody can predict.",
            "Only the final model is released.",
        ],
        "reference": "Abadi et al. 2016, theorem 1; Koskela, Jälkö, Honkela 2020 (privacy loss distributions)",
    }
    audit = measurement(
        id="audit.epsilon",
        quantity="epsilon",
        value=0.6,
        bound="lower",
        trials=1000,
        subject="audit twin",
        bears_on="dp.training",
        control={
            "description": "the same canaries in a model trained without noise or clipping",
            "value": 5.2,
            "interval": None,
            "threshold": 3.0,
            "passed": True,
        },
        method="one-run audit with 1000 inserted canaries",
        reference="Steinke, Nasr, Jagielski 2023, theorem 5.2",
        details={"canaries": 1000, "guesses": 220, "correct": 142},
        seconds=38.9,
    )
    loss = membership(
        "loss",
        {"value": 0.0107, "interval": (0.0086, 0.0132), "control": 0.031, "control_interval": (0.0274, 0.0350)},
        0.03,
        0.55,
    )
    rmia = membership(
        "rmia",
        {"value": 0.0116, "interval": (0.0094, 0.0142), "control": 0.142, "control_interval": (0.1345, 0.1498)},
        0.06,
        1.25,
    )
    lira = membership(
        "lira",
        {"value": 0.0123, "interval": (0.0100, 0.0149), "control": 0.187, "control_interval": (0.1786, 0.1957)},
        0.08,
        1.44,
    )
    auc = copy.deepcopy(lira) | {
        "id": "membership.lira.auc",
        "quantity": "auc",
        "value": 0.5226,
        "interval": interval(0.513, 0.532, "DeLong"),
        "control": {**lira["control"], "value": 0.846, "interval": None, "threshold": 0.55},
        "details": {},
    }
    return {
        "schema": "wardline.evidence/1",
        "project": "adult-income",
        "purpose": policy["purpose"],
        "created": "2026-11-21T04:00:00Z",
        "seconds": 183.2,
        "verdict": {
            "outcome": "pass",
            "summary": "All four rules hold: the attack proved a leak of epsilon 0.6 where at most 3 was promised.",
        },
        "dataset": {
            "source": "file:adult.parquet",
            "sha256": digest("adult"),
            "rows": 32561,
            "units": 32561,
            "unit": "row",
            "train_rows": 24421,
            "holdout_rows": 8140,
            "features": 104,
            "classes": ["<=50K", ">50K"],
        },
        "policy": policy,
        "policy_sha256": digest("policy"),
        "plan": {
            "steps": [
                {"id": "data", "title": "Read the data and hold it against its contract", "detail": {"columns": 15}},
                {"id": "split", "title": "Keep a quarter of the rows apart", "detail": {"holdout": 0.25}},
                {
                    "id": "train",
                    "title": "Train with differential privacy",
                    "detail": {"noise_multiplier": 0.912, "steps": 940, "sample_rate": 0.021, "clip_norm": 1.0},
                },
                {"id": "baseline", "title": "Train the same model without protection", "detail": {"epochs": 12}},
                {
                    "id": "membership",
                    "title": "Attack both: whose row was in the training?",
                    "detail": {"references": 16},
                },
                {"id": "audit", "title": "Plant canaries and try to find them again", "detail": {"canaries": 1000}},
            ],
            "assumptions": ["Column names, ranges and values in the policy are public knowledge."],
        },
        "model": {
            "architecture": {"kind": "mlp", "inputs": 104, "hidden": [64], "classes": 2},
            "parameters": 6850,
        },
        "claims": [claim],
        "measurements": [
            measurement(
                id="utility.accuracy",
                quantity="accuracy",
                value=0.8461,
                interval=interval(0.8381, 0.8539),
                trials=8140,
                subject="released",
                method="share of right answers on the holdout rows",
                reference="Clopper and Pearson 1934",
            ),
            measurement(
                id="utility.baseline",
                quantity="accuracy",
                value=0.8542,
                interval=interval(0.8463, 0.8618),
                trials=8140,
                subject="baseline",
                method="share of right answers on the holdout rows",
                reference="Clopper and Pearson 1934",
            ),
            loss,
            rmia,
            lira,
            auc,
            audit,
        ],
        "rules": [
            rule(
                "WL-G101",
                "claims-hold",
                "No measurement contradicts a claim",
                "pass",
                "audit.epsilon is at least 0.6; dp.training promises at most 3",
                claim="dp.training",
                measurement="audit.epsilon",
            ),
            rule(
                "WL-G102",
                "accuracy",
                "The released model is useful",
                "pass",
                "84.6 % right, at least 83.5 % required",
                measurement="utility.accuracy",
            ),
            rule(
                "WL-G103",
                "membership-tpr",
                "Attackers recognise hardly anybody",
                "pass",
                "the strongest attack finds 1.2 % at 1 % false alarms, at most 5 % allowed",
                measurement="membership.lira",
            ),
            rule(
                "WL-G104",
                "baseline-accuracy",
                "The comparison is fair",
                "pass",
                "85.4 % right without protection, at least 84.5 % required",
                measurement="utility.baseline",
            ),
        ],
        "ledger": {"releases": 1, "epsilon": 3.0, "delta": 1e-5, "limit": {"epsilon": 10, "delta": 1e-4}},
        "not_assessed": [
            {"subject": "Reconstruction of rows", "reason": "The policy names no such threat; no attack was run."},
            {"subject": "Poisoned training data", "reason": "The rows were taken as they are."},
            {"subject": "Fairness between groups", "reason": "No rule of the policy asks for it."},
        ],
        "environment": {
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "packages": {
                "wardline": "0.1.0",
                "torch": "2.13.0",
                "dp-accounting": "0.6.0",
                "numpy": "2.3.4",
                "cryptography": "50.0.0",
            },
        },
        "stages": [
            {"id": name, "sha256": digest(name), "seconds": seconds}
            for name, seconds in (
                ("data", 1.9),
                ("train", 44.1),
                ("baseline", 12.7),
                ("membership", 81.3),
                ("audit", 38.9),
                ("gate", 0.1),
            )
        ],
    }


def failing() -> dict:
    """Noise multiplied by zero while epsilon 1 is claimed, and a waiver for the missing accuracy."""
    value = passing()
    value["project"] = "broken-noise"
    value["purpose"] = "Show that a broken training is found out."
    value["policy"]["project"] = value["project"]
    value["policy"]["purpose"] = value["purpose"]
    value["policy"]["protections"][0]["epsilon"] = 1
    waiver = {"who": "A. Person <a@example.org>", "why": "pilot on ten machines only", "until": "2026-12-31"}
    value["policy"]["waivers"] = [{"rule": "accuracy", **waiver}]
    value["claims"][0] |= {
        "value": 1.0,
        "statement": "Training satisfies (1, 1e-5)-differential privacy when one row is added or removed.",
    }
    value["dataset"] |= {"rows": 1000, "units": 1000, "train_rows": 500, "holdout_rows": 500}
    released, baseline, loss, rmia, lira, auc, audit = value["measurements"]
    released |= {"value": 0.782, "interval": interval(0.7431, 0.8174), "trials": 500}
    baseline |= {"value": 0.786, "interval": interval(0.7474, 0.8211), "trials": 500}
    audit |= {"value": 4.8}
    audit["control"] |= {"value": 4.9, "threshold": 1.0}
    for one, share, distance in ((loss, 0.118, 1.15), (rmia, 0.352, 1.95), (lira, 0.438, 2.17)):
        fpr, tpr = curve(distance)
        one |= {"value": share, "interval": interval(round(share - 0.043, 4), round(share + 0.045, 4)), "trials": 500}
        one["control"] |= {
            "value": round(share + 0.02, 3),
            "interval": interval(round(share - 0.024, 4), round(share + 0.066, 4)),
        }
        one["details"]["roc"] |= {"fpr": fpr, "tpr": tpr, "control_fpr": fpr, "control_tpr": curve(distance + 0.1)[1]}
    auc |= {"value": 0.938, "interval": interval(0.922, 0.952, "DeLong"), "trials": 500}
    auc["control"] |= {"value": 0.946}
    value["verdict"] = {
        "outcome": "fail",
        "summary": "The promise is broken: the attack proved a leak of epsilon 4.8 where at most 1 was promised.",
    }
    rules = value["rules"]
    rules[0] |= {"outcome": "fail", "message": "audit.epsilon is at least 4.8; dp.training promises at most 1"}
    rules[1] |= {"outcome": "fail", "message": "78.2 % right, at least 83.5 % required", "waiver": waiver}
    rules[2] |= {
        "outcome": "fail",
        "message": "the strongest attack finds 43.8 % at 1 % false alarms, at most 5 % allowed",
    }
    rules[3] |= {"outcome": "fail", "message": "78.6 % right without protection, at least 84.5 % required"}
    value["ledger"] |= {"epsilon": 1.0}
    return value


def inconclusive() -> dict:
    """The audit's control failed, one attack was refused, and another one's control failed as well."""
    value = passing()
    *_, loss, rmia, _lira, _auc, audit = value["measurements"]
    audit |= {"value": 0.04}
    audit["control"] |= {"value": 0.31, "passed": False}
    loss["control"] |= {"value": 0.0121, "interval": interval(0.0099, 0.0147), "passed": False}
    loss["details"]["roc"]["control_tpr"] = curve(0.07)[1]
    rmia |= {
        "value": None,
        "interval": None,
        "control": None,
        "refused": "too few rows kept apart to measure 1 % false alarms",
        "details": {},
    }
    value["verdict"] = {
        "outcome": "inconclusive",
        "summary": "The audit could not be relied on: its control, an unprotected model, was not found out either.",
    }
    value["rules"][0] |= {
        "outcome": "inconclusive",
        "message": "the positive control of audit.epsilon reached 0.31 and had to exceed 3",
    }
    value["rules"][2] |= {"outcome": "inconclusive", "message": "membership.rmia was refused"}
    return value


def main() -> None:
    for name, value in (("pass", passing()), ("fail", failing()), ("inconclusive", inconclusive())):
        (HERE / f"evidence_{name}.json").write_bytes(canonical_json(value) + b"\n")


if __name__ == "__main__":
    main()
